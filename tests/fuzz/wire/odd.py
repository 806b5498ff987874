"""Odd names, values, paths and targets: what both protocols share, and what HTTP/1.1 has of its own. `|` separates them."""

import gzip
from random import Random

from fuzz.wire.http2 import EXPORT

Table = list[tuple[bytes, list[bytes]]]
"""Names of headers, and what each may say."""


def _table(*rows: bytes) -> Table:
    """`name=value|value` → a name and its values."""
    return [(name, values.split(b"|")) for name, _, values in (row.partition(b"=") for row in rows)]


_VALUES = (
    b"| |\xbe|/\xbe|\xff\xfe|\xc3(|\xed\xa0\x80|\xf4\x90\x80\x80|\xc3\xbc|\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e|"
    b"\x00|a\x00b|a\r\nb: c|a\nb|\r|\t|\x7f|\x01\x02|%ff|%00|%|%zz|../../etc|*|-1|0|+5|99999999999999999999|1e9|"
    b'0x10|1.5|NaN|\xd9\xa3|1,1|1, 2|null|"|{}'
).split(b"|")
_LONG = [b"a" * 300, b"a" * 4000, b"a" * 7900, b"\xff" * 500, b"," * 3000, b"a=b;" * 500, b" " * 3000, b"(" * 900]
_NAMES = (
    b"| |:|:path|:status|:unknown|:method|:authority|X-Upper|a b|a:b|\xff|\x00|\xc3\xbc|a\r\nb|-bin|x-bin|grpc-|"
    b"grpc-internal-x|_|x-mlflow-|((((((((("
).split(b"|")
_NAMES += [b"x" * 200, b"x" * 5000]
_ANY = [bytes([number]) for number in range(256)]

_OTHER_PATHS = (
    b"|/|//|*|/\xbe|/\xff/Export|/a/b/c/d|/%FF/%00|/a\x00b/c|/grpc.health.v1.Health/Check|"
    b"/grpc.health.v1.Health/Watch|/grpc.health.v1.Health/List|/grpc.health.v1.Health/X|"
    b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo|http://x/y|/\xc3\xbc/\xc3\xbc|/../..|/a b/c|#|"
    b"/\r\n"
).split(b"|")
_SERVICES = [EXPORT.replace(b"Trace", name).replace(b"trace", name.lower()) for name in (b"Metrics", b"Logs")]
_NEAR = [EXPORT + tail for tail in (b"\xbe", b"/", b"?x=1", b"\0")] + [EXPORT[1:], b"/" + EXPORT, EXPORT.lower(), EXPORT[:-6]]
PATHS = [*_OTHER_PATHS, *_NEAR, *_SERVICES, b"/" + b"a" * 4000]
"""Of gRPC methods."""

HEADERS = _table(
    b"grpc-timeout=|0n|1n|1u|1m|-1S|99999999H|999999999S|1|S|1X|1.5S|\xff| 1S|00000001m",
    b"grpc-encoding=gzip|deflate|identity|br|zstd|snappy|\xff|gzip,gzip|",
    b"grpc-accept-encoding=|,|gzip,,|identity|*|\xff|gzip;q=0",
    b"grpc-status=0|99|-1|x|\xff",
    b"grpc-message=%|%zz|\xff|%00",
    b"grpc-status-details-bin=!!!|AAAA|A|====|\xff",
    b"grpc-previous-rpc-attempts=1|-1|x|99999999999",
    b"grpc-retry-pushback-ms=-1|x|99999999999999",
    b"grpc-trace-bin=AAAA|!|\x00\xff|AAA=A",
    b"grpc-tags-bin=|AA|\xff\xff",
    b"x-odd-bin=|!!!!|A|AAA|AAAA,BBBB|\x00\x01\x02|\xff\xfe|====",
    b"te=|gzip|trailers, deflate|TRAILERS|\xff",
    (
        b"content-type=|application/grpc+json|application/grpc+proto;x=y|application/grpc-web|text/html|APPLICATION/GRPC|"
        b"application/grpc\xff"
    ),
    b"content-length=0|1|-1|99999999999999999999|x",
    b"connection=close|keep-alive, te|upgrade",
    b"transfer-encoding=chunked|gzip",
    b"expect=100-continue|\xff",
    b"host=|a|a:b:c|\xff|[::1",
    b"cookie=a=b",
    b"user-agent=|\xff",
    b"authorization=|Bearer|Bearer \xff|Basic|Basic \xff|Basic ====|Basic OnA=",
    b"x-mlflow-experiment-id=|\xff|-1| 0 |0,0|1111111111111111111|9223372036854775808|\xd9\xa0",
    b"x-mlflow-experiment-name=|\xff|a\x00b|\xc3\xbc|%C3%BC|Default",
    b"x-mlflow-run-id=|\xff|a\x00b|' OR 1=1",
    b"x-mlflow-workspace=|\xff|default|a\x00b",
    (
        b"traceparent=|\xff|00-00000000000000000000000000000000-0000000000000000-00|"
        b"00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01|ff-x"
    ),
    b"tracestate=|\xff",
    b"baggage=a=%ff|\xff",
    b"x-forwarded-for=::|\xff",
    b"origin=null|http://x|\xff",
    b"lb-cost-bin=AAAAAAAAAAA=|!|",
    b"lb-token=\xff|x",
    b"endpoint-load-metrics-bin=AAAA|!!",
    b"grpc-internal-encoding-request=gzip|\xff",
    b"proxy-authorization=\xff",
)
HTTP_HEADERS = HEADERS + _table(
    (
        b"content-type=application/json|application/x-protobuf; charset=\xff|application/json; charset=utf-16|;|text/plain|"
        b"\xff|multipart/form-data"
    ),
    b"content-encoding=gzip|deflate|zstd|br|gzip, gzip, gzip, gzip, gzip, gzip|\xff|GZIP|identity||gzip,",
    b"accept=\xff|*/*;q=x|application/openmetrics-text; version=9",
    b"accept-encoding=gzip;q=nan|\xff|*",
    b"upgrade=h2c|websocket||\xff|TLS/1.0",
    b"http2-settings=AAMAAABkAAQAAP__|\xff",
    b"sec-websocket-key=dGhlIHNhbXBsZSBub25jZQ==",
    b"access-control-request-method=POST|\xff",
    b"access-control-request-headers=\xff",
    b"trailer=x|content-length",
    b"range=bytes=0-|bytes=-1,\xff",
    b"keep-alive=timeout=\xff",
)

METHODS = (
    b"GET|HEAD|PUT|DELETE|OPTIONS|TRACE|CONNECT|PATCH|PRI|post|POST | POST||\xff|PO\x00ST|M-SEARCH|SOURCE|GET GET|"
    b"QUERY|PROPFIND"
).split(b"|")
METHODS += [b"A" * 3000]
TARGETS = (
    b"/|*||//|/v1/traces?|/v1/traces?a=%ff&b=\xff|/v1/traces#x|/v1/traces/|/v1/traces/v1/traces|/v1/%74races|"
    b"/v1/traces%ff|/v1/traces%00|/v1/traces%|/v1/\xff|/v1/\xc3\xbc|/v1/tra\x00ces|/v1/./traces|"
    b"http://127.0.0.1/v1/traces|http://x:99999/v1/traces|http://[::1/v1/traces|https://x|http://\xff/|x:y|:80|"
    b"127.0.0.1:80|/%2e%2e/%2e%2e/etc/passwd|/v1/logs|/v1/metrics|/v1/x|/healthz|/readyz|/metrics|"
    b"/metrics?name[]=\xff|/metrics?name[]=%ff|/openapi.json|/docs|/v1/traces\\|\\|/v1/traces;x|"
    b"/v1/traces HTTP/1.1 x|/v1/traces\thttp|/%c0%af|/%ed%a0%80|/?%ed%a0%80|///v1/traces|?"
).split(b"|")
TARGETS += [b"/" + b"a" * 70_000, b"/?" + b"b" * 9000]
VERSIONS = (
    b"HTTP/1.0|HTTP/1.1|HTTP/0.9|HTTP/1.2|HTTP/2.0|HTTP/1|HTTP/11.1|http/1.1|HTTP/1.1 ||HTTP/|ICE/1.0|RTSP/1.0|"
    b"HTTP/\xff|HTTP/1.1\x00|HTTP/9.9"
).split(b"|")
LENGTHS = (
    b"|0|1|-1|+5| 5|5 |0x5|5,5|5, 6|1e3|99999999999999999999999|\xd9\xa3|5\x00|9223372036854775807|"
    b"18446744073709551616|67108865"
).split(b"|")
TRANSFERS = (
    b"chunked|Chunked|CHUNKED |gzip, chunked|chunked, gzip|identity|chunked, chunked|\xffchunked|x||,chunked|chunked;q=1"
).split(b"|")

TLS_SHAPES = b"\x16\x03\x01|\x15\x03\x03\x00\x02\x02(|\x80.\x01\x03\x01|\x17\x03\x03\xff\xff|\x14\x03\x03\x00\x01\x01".split(
    b"|"
)
TLS_SHAPES += [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"\x16" * 600]
"""Records of TLS, and what begins like one, at a port that speaks none."""


def gzipped(data: bytes) -> bytes:
    """The same in each second: gzip's header holds the time."""
    return gzip.compress(data, 9, mtime=0)


def odd_value(random: Random) -> bytes:
    """A header's value."""
    if random.random() < 0.2:
        return b"a" + random.choice(_ANY) + b"b"
    return (
        random.choice(_VALUES if random.random() < 0.7 else _LONG)
        if random.random() < 0.8
        else random.randbytes(random.choice((1, 4, 30)))
    )


def odd_name(random: Random) -> bytes:
    """A header's name."""
    if random.random() < 0.2:
        return b"x" + random.choice(_ANY) + b"y"
    return random.choice(_NAMES) if random.random() < 0.7 else random.choice(HEADERS)[0]
