"""What OTLP asks of a server, line by line, and what Headrace promises beyond it: the rows of docs/conformance.md.

Lines are those of release 1.11.0 of https://github.com/open-telemetry/opentelemetry-proto. `key` begins the ids of the cases
in `conformance.cases` that show the requirement: `L90` → `L90-gzip[grpc]`.
"""

from dataclasses import dataclass

TREE = "https://github.com/open-telemetry/opentelemetry-proto/blob/v1.11.0"


@dataclass(frozen=True)
class Requirement:
    """One row. `lines` are those of docs/specification.md with a keyword of RFC 2119 that it answers for."""

    key: str
    level: str
    """MUST, SHOULD or MAY; "" where the specification does not use these words."""
    says: str
    meets: str
    place: str
    """Where it stands: the text of a link."""
    url: str
    lines: tuple[int, ...] = ()


def _spec(line: int, level: str, says: str, meets: str, *lines: int) -> Requirement:
    url = f"{TREE}/docs/specification.md?plain=1#L{line}"
    return Requirement(f"L{line}", level, says, meets, f"L{line}", url, lines or ((line,) if level else ()))


def _proto(file: str, line: int, level: str, says: str, meets: str) -> Requirement:
    name = file.rpartition("/")[2]
    return Requirement(
        f"{name}-L{line}", level, says, meets, f"{name}.proto L{line}", f"{TREE}/opentelemetry/proto/{file}.proto#L{line}"
    )


def _beyond(key: str, says: str, meets: str, place: str, url: str) -> Requirement:
    return Requirement(key, "", says, meets, place, url)


MUST, SHOULD, MAY = "MUST", "SHOULD", "MAY"

GRPC_RULES = (
    _spec(
        90,
        MUST,
        "Servers accept requests without compression, and requests in gzip.",
        "Headrace supports both over every transport. It also supports deflate and zstd "
        "everywhere, and several encodings at once over HTTP.",
    ),
    _spec(
        121,
        MUST,
        "gRPC messages are limited in size, also after decompression.",
        "`HEADRACE_MAX_BODY_BYTES` limits the message as received, and again after decompression.",
    ),
    _spec(
        125,
        SHOULD,
        "64 MiB is the recommended default of that limit; it can be configured.",
        "64 MiB by default, `HEADRACE_MAX_BODY_BYTES` sets it.",
        125,
        126,
    ),
    _spec(
        127,
        MUST,
        "Over the limit: `RESOURCE_EXHAUSTED`, as an error that is not retried.",
        "The answer is `RESOURCE_EXHAUSTED` without `RetryInfo`.",
    ),
    _spec(
        149,
        SHOULD,
        "Concurrent unary calls are supported.",
        "A connection may have as many as it can carry. Each is acknowledged by itself.",
    ),
    _spec(180, MUST, "The answer is the message that belongs to the case.", "Checked on every answer of these tests."),
    _spec(
        193,
        MUST,
        "The size of responses is limited, 4 MiB recommended; a long `error_message` is shortened.",
        "No answer is larger than 16 KiB: messages consist of fixed sentences, and a quotation of what a "
        "client sent is cut. So there is nothing to configure, and every answer fits.",
        *(193, 194, 195, 197, 198, 201),
    ),
    _spec(212, SHOULD, "An empty request is a success.", "The answer is `OK`, whichever part of the request is empty."),
    _spec(214, MUST, "Success is an `Export<signal>ServiceResponse`.", "Yes, an empty one."),
    _spec(220, MUST, "`partial_success` is unset on success.", "Unset: the answer has 0 bytes."),
    _spec(227, MUST, "A partial success is the same message.", "Yes; the good spans of the request are stored."),
    _spec(
        231,
        MUST,
        "On a partial success `partial_success` is set, and `rejected_spans` is the number of spans rejected.",
        "It is the exact number: one for each span that was not stored.",
        231,
        234,
    ),
    _spec(
        239,
        SHOULD,
        "`error_message` says in English why, and how to mend it.",
        "For example: `1 of 1000 spans rejected: span_id must be 8 bytes, not all zero (1).`",
    ),
    _spec(
        245,
        MAY,
        "`partial_success` may carry warnings on a full success.",
        "Headrace sends a warning in two cases: the "
        "experiment is deleted in MLflow, or only some of a resource's attributes "
        "became tags. All other repairs are only counted.",
    ),
    _spec(
        247,
        MUST,
        "A warning has `rejected_spans` 0 and a message.",
        "A warning of Headrace has both.",
        247,
        248,
    ),
    _spec(
        270,
        SHOULD,
        "Retryable errors are `UNAVAILABLE`, with `RetryInfo` if the server likes.",
        "Headrace answers `UNAVAILABLE`, and no other retryable code. `RetryInfo` is in "
        "`grpc-status-details-bin` and, for the Python exporter, in `google.rpc.retryinfo-bin`.",
        270,
        271,
    ),
    _spec(
        289,
        SHOULD,
        "Errors that are not retryable are `INVALID_ARGUMENT`, with `BadRequest` if the server likes.",
        "Wrong data is answered with `INVALID_ARGUMENT` and `BadRequest`.",
        290,
    ),
    _spec(
        309,
        MAY,
        "Other codes may be used where they fit better.",
        "Headrace uses `UNAUTHENTICATED` and `PERMISSION_DENIED` for API keys, `RESOURCE_EXHAUSTED` "
        "for size, and `UNIMPLEMENTED` for services that it does not have.",
    ),
    _spec(
        351,
        SHOULD,
        "A server that cannot keep up says so: `UNAVAILABLE`, with `RetryInfo` if it likes.",
        "Headrace says so when the queue is full, its disk fails, too many bodies are in memory, or a rate is exceeded.",
        351,
        354,
        356,
    ),
    _spec(
        407,
        SHOULD,
        "`retry_delay` gives the server time to recover, and does not make the client drop data.",
        "It is 1 to 5 s, because exporters give a batch up after 10 s in all.",
    ),
    _spec(
        413,
        "",
        "The gRPC services are those of the proto files.",
        "Headrace has `TraceService`, `MetricsService` and `LogsService`. Profiles are still in "
        "development in OTLP, so Headrace does not have their service.",
    ),
    _spec(423, "", "The default port of OTLP/gRPC is 4317.", "`HEADRACE_GRPC_PORT`, 4317."),
)

HTTP_RULES = (
    _spec(
        433,
        MAY,
        "Requests are POSTs, over HTTP/1.1 or HTTP/2.",
        "Headrace speaks HTTP/1.1 and 1.0. It declines an upgrade to HTTP/2 in the way "
        "that HTTP defines: it answers the request over 1.1.",
        433,
        434,
    ),
    _spec(
        442,
        MUST,
        "Protobuf bodies are `application/x-protobuf`.",
        "Requests and answers have this type. `application/protobuf` is accepted as well.",
    ),
    _spec(
        451,
        "",
        "In JSON, trace and span ids are hex in either case, in all messages.",
        "Headrace accepts both cases for the ids of spans, parents and links.",
    ),
    _spec(
        460,
        MUST,
        "In JSON, enums are integers; names must not be used.",
        "Headrace accepts and sends integers, even those that no enum has yet. It also accepts names.",
        460,
        464,
    ),
    _spec(
        468,
        MUST,
        "JSON fields of unknown names are ignored.",
        "They are ignored at every level of the request, whatever they hold.",
    ),
    _spec(
        473,
        "",
        "JSON keys are lowerCamelCase; the original names are not valid.",
        "Headrace accepts and sends lowerCamelCase. It also accepts snake_case.",
    ),
    _spec(
        480,
        "",
        "64-bit integers in JSON may be strings or numbers.",
        "Headrace accepts both, and keeps them exact: no integer passes through a float.",
    ),
    _spec(
        485,
        MUST,
        "JSON bodies are `application/json`.",
        "Requests and answers have this type. `text/plain`, which browsers send, is read as JSON.",
    ),
    _spec(496, "", "Traces are POSTed to `/v1/traces`.", "Yes."),
    _spec(
        501,
        "",
        "Metrics are POSTed to `/v1/metrics`, logs to `/v1/logs`.",
        "Both are answered as OTLP defines it. Records that have no place in MLflow "
        "are counted in `partial_success`, with the reason.",
    ),
    _spec(
        507,
        "",
        "Profiles are POSTed to `/v1development/profiles`.",
        "Profiles are still in development in OTLP. The answer is 404.",
    ),
    _spec(
        515,
        MAY,
        "Other URL paths may be configured.",
        "`HEADRACE_PATH_PREFIX` sets another path. Headrace also accepts paths that come from a "
        "wrongly set endpoint: a slash at the end, or `/v1/traces` twice.",
    ),
    _spec(
        518,
        MUST,
        "Request bodies are limited in size, also after decompression.",
        "`HEADRACE_MAX_BODY_BYTES` limits the body as received, in chunks or not. It "
        "limits the body again after each encoding is undone.",
    ),
    _spec(
        521,
        SHOULD,
        "64 MiB is the recommended default of that limit; it can be configured.",
        "64 MiB by default, `HEADRACE_MAX_BODY_BYTES` sets it.",
    ),
    _spec(
        522,
        MUST,
        "Over the limit: 413.",
        "The answer is 413. It comes before the body is read if Content-Length is over "
        "the limit, else as soon as the body is over the limit.",
    ),
    _spec(533, MUST, "The response's body is the message that belongs to the case.", "Checked on every answer of these tests."),
    _spec(
        544,
        MUST,
        "The size of responses is limited, 4 MiB recommended; a long `error_message` is shortened.",
        "As for gRPC: no answer is over 16 KiB.",
        *(544, 545, 546, 548, 549, 552),
    ),
    _spec(
        556,
        MUST,
        "The response has the Content-Type of the request.",
        "Checked on every answer of these tests. If a POST has a Content-Type that "
        "OTLP does not know, the answer is in protobuf.",
        *(556, 557, 559),
    ),
    _spec(563, MAY, "Responses may be gzipped.", "They are not gzipped, because they are too short to gain from it."),
    _spec(
        572,
        SHOULD,
        "An empty request is a success.",
        "A body of 0 bytes, `{}`, and resources and scopes without spans are answered 200.",
    ),
    _spec(574, MUST, "Success is 200 with an `Export<signal>ServiceResponse`.", "Yes, an empty one."),
    _spec(581, MUST, "`partial_success` is unset on success.", "Unset: the answer's body has 0 bytes, or is `{}`."),
    _spec(588, MUST, "A partial success is 200 with the same message.", "Yes; the good spans of the request are stored."),
    _spec(
        592,
        MUST,
        "On a partial success `partial_success` is set, and `rejected_spans` is the number of spans rejected.",
        "It is the exact number: one for each span that was not stored.",
        592,
        595,
    ),
    _spec(599, SHOULD, "`error_message` says in English why, and how to mend it.", "As for gRPC."),
    _spec(605, MAY, "`partial_success` may carry warnings on a full success.", "As for gRPC."),
    _spec(607, MUST, "A warning has `rejected_spans` 0 and a message.", "As for gRPC.", 607, 608),
    _spec(
        615,
        MUST,
        "Failures are 4xx or 5xx.",
        "Headrace answers 400, 401, 403, 404, 405, 408, 411, 413, 415, 429, 431 or "
        "503. 500 is only for errors that nobody foresaw.",
        615,
    ),
    _spec(
        619,
        MUST,
        "The body of every 4xx and 5xx is a `google.rpc.Status`.",
        "This holds for every one, in the request's own encoding, even if the bytes that came are not HTTP.",
    ),
    _spec(624, MAY, "`Status.code` may be omitted.", "It is set to the code that gRPC would have."),
    _spec(628, SHOULD, "`Status.message` is for developers.", "It says what is wrong and what to do."),
    _spec(631, MAY, "`Status.details` may hold more.", "`BadRequest` on 400, `RetryInfo` on 429 and 503."),
    _spec(634, SHOULD, "The status code tells whether to retry.", "429 and 503 tell the client to retry, all others not to."),
    _spec(642, MUST, "Only 429, 502, 503 and 504 are retried.", "Headrace asks for a retry with 429 and 503.", 640, 642),
    _spec(
        655,
        MUST,
        "Bad data that no retry can mend is answered 400.",
        "The answer is 400, also if not one span of the request can be stored.",
    ),
    _spec(656, SHOULD, "A 400 has `BadRequest` in its details.", "It has, with a description of what is wrong."),
    _spec(
        666,
        SHOULD,
        "Overload is 429 or 503.",
        "The answer is 503 if Headrace cannot take more, and 429 if the client may not send more.",
    ),
    _spec(667, MAY, "`Retry-After` may say how long to wait.", "It says 1 to 5 s, as a number of seconds."),
    _spec(
        681,
        "",
        "All other responses are those of HTTP.",
        "404, 405 with `Allow`, 408 if the body does not come, 411 if its length is unknown, and 415 with `Accept-Encoding`.",
    ),
    _spec(
        694,
        "",
        "Clients keep connections alive.",
        "Headrace keeps an idle connection for 65 s, after an error too. Clients may send requests "
        "without waiting for answers. The answers come in the order of the requests.",
    ),
    _spec(696, SHOULD, "Protobuf and JSON are served on the same port, told apart by Content-Type.", "Yes, on one connection."),
    _spec(701, MAY, "gRPC and HTTP may share a port.", "They do not: gRPC has port 4317, HTTP has port 4318."),
    _spec(707, "", "Clients may send over several connections at the same time.", "Up to `HEADRACE_MAX_CONNECTIONS`."),
    _spec(713, "", "The default port of OTLP/HTTP is 4318.", "`HEADRACE_HTTP_PORT`, 4318."),
    _spec(746, MAY, "Empty envelopes may be ignored.", "They are ignored. Spans beside them are stored.", 746),
    _spec(
        755,
        "",
        "Clients send again what was not acknowledged, which may make duplicates.",
        "It makes no duplicates: a span is stored once, however often it comes.",
    ),
    _spec(
        771,
        MUST,
        "All versions of OTLP 1.x work together.",
        "Fields of later versions are ignored, in protobuf as in JSON.",
    ),
)

PROTO_RULES = (
    _proto(
        "trace/v1/trace",
        91,
        "",
        "A trace id has 16 bytes, not all zero. A span id has 8 (L99). All other ids are invalid.",
        "Only the span with the invalid id is rejected.",
    ),
    _proto(
        "trace/v1/trace",
        111,
        "",
        "A root span has no parent id.",
        "A span with no parent id, or with one of zeroes, is a root. A span whose parent id has a wrong "
        "length is rejected. A span that names itself as its parent is stored as a root.",
    ),
    _proto("trace/v1/trace", 133, MUST, "Bits 10 to 31 of `flags` may be set (L286: in links).", "They are kept as they came."),
    _proto("trace/v1/trace", 145, "", "A name should not be empty; empty means unknown.", "Stored as it came."),
    _proto("trace/v1/trace", 155, MAY, "`SPAN_KIND_UNSPECIFIED` may be taken as INTERNAL.", "It is kept as it came."),
    _proto(
        "trace/v1/trace",
        191,
        "",
        "A span ends after it starts.",
        "A span that does not is stored as ending where it starts. What was sent is kept "
        "beside it: see [what is repaired](#what-is-repaired).",
    ),
    _proto(
        "trace/v1/trace",
        210,
        "",
        "Attribute keys are unique. A receiver may do anything with duplicates.",
        "All duplicates are kept. MLflow shows the last.",
    ),
    _proto("trace/v1/trace", 301, "", "A span without a status is one whose status is unset.", "It is stored as `UNSET`."),
    _proto(
        "common/v1/common",
        29,
        "",
        "Attribute values may be empty, bytes, arrays of anything, and lists of keys and values, nested.",
        "All are stored exactly.",
    ),
    _proto(
        "common/v1/common",
        42,
        SHOULD,
        "A reference to the string table of profiles (L89: as a key) must not make "
        "the request fail. It counts as absent or empty.",
        "It counts as empty, as a value and as a key.",
    ),
)

RFC9110 = "https://www.rfc-editor.org/rfc/rfc9110.html"
RFC9112 = "https://www.rfc-editor.org/rfc/rfc9112.html"

MORE_RULES = (
    _beyond(
        "rfc9110-8.3",
        "Media types are case-insensitive and may have parameters.",
        "`Application/JSON; charset=utf-8` is JSON.",
        "RFC 9110, 8.3",
        f"{RFC9110}#section-8.3",
    ),
    _beyond(
        "rfc9110-8.4",
        "Content codings are case-insensitive, can be stacked; gzip bodies can have several members.",
        "Headrace accepts gzip, x-gzip, zstd, identity and deflate. Clients disagree whether "
        "deflate has zlib's header; Headrace accepts it with and without.",
        "RFC 9110, 8.4",
        f"{RFC9110}#section-8.4",
    ),
    _beyond(
        "rfc9110-10.1.1",
        "`Expect: 100-continue` asks before a body is sent.",
        "Headrace answers 100. If the headers alone cause an error, it answers with that error at once.",
        "RFC 9110, 10.1.1",
        f"{RFC9110}#section-10.1.1",
    ),
    _beyond(
        "rfc9112-7.1",
        "Bodies may come in chunks, of unknown length.",
        "Headrace reads them as they come, up to the same limit.",
        "RFC 9112, 7.1",
        f"{RFC9112}#section-7.1",
    ),
    _beyond(
        "rfc9112-9.6",
        "A server that answers before it has read the body goes on reading, so that the answer arrives.",
        "Headrace does so. So a client sees the 413. It would otherwise see a broken connection, and send the batch again.",
        "RFC 9112, 9.6",
        f"{RFC9112}#section-9.6",
    ),
    _beyond(
        "js-4202",
        'Exporters send 64-bit integers as `{"low": …, "high": …}`.',
        "Headrace reads the integer.",
        "opentelemetry-js#4202",
        "https://github.com/open-telemetry/opentelemetry-js/issues/4202",
    ),
    _beyond(
        "collector-8720",
        "Exporters send ids in base64, as protobuf's own JSON mapping has them.",
        "Headrace accepts an id in base64 if its padding shows that it is not hex.",
        "opentelemetry-collector#8720",
        "https://github.com/open-telemetry/opentelemetry-collector/issues/8720",
    ),
    _beyond(
        "js-2321",
        "Browsers' `sendBeacon` says `text/plain`.",
        "Headrace reads such a body as JSON, and answers in JSON.",
        "opentelemetry-js#2321",
        "https://github.com/open-telemetry/opentelemetry-js/issues/2321",
    ),
    _beyond(
        "cors",
        "Web pages of other origins may send only where the server allows it.",
        "`HEADRACE_CORS_ORIGINS` allows origins. For these, the answers to preflights and requests, errors "
        "included, have the CORS headers. Other pages are answered 403, without these headers.",
        "Fetch, 3.2",
        "https://fetch.spec.whatwg.org/#http-cors-protocol",
    ),
    _beyond(
        "health",
        "gRPC servers tell their health.",
        "`grpc.health.v1.Health` says the same as `/readyz`, for the server and for each of its services.",
        "gRPC health checking",
        "https://grpc.io/docs/guides/health-checking/",
    ),
    _beyond(
        "one-bad-span",
        "One bad span costs one span.",
        "The other spans of the request are stored. The bad span is counted in `partial_success`, with the reason.",
        "README",
        "../README.md#what-a-200-promises",
    ),
    _beyond(
        "hostile-json",
        "No body ends in a 500, and none takes the receiver down.",
        "The depth of nesting is limited. A body that is not OTLP is answered 400.",
        "README",
        "../README.md#what-a-200-promises",
    ),
    _beyond(
        "slow-clients",
        "Slow clients do not keep a connection for long.",
        "The headers must come within `HEADRACE_HEADER_SECONDS`, the body within `HEADRACE_BODY_SECONDS`.",
        "Settings",
        "configuration.md",
    ),
    _beyond(
        "keys",
        "Requests are accepted from known senders only.",
        "`HEADRACE_API_KEYS` names the file of API keys.",
        "Settings",
        "configuration.md",
    ),
    _beyond(
        "tls",
        "Requests are encrypted on their way.",
        "`HEADRACE_TLS_CERT` and `HEADRACE_TLS_KEY` switch on TLS.",
        "Settings",
        "configuration.md",
    ),
)

RULES = "operations.md#metrics"
REPAIR_RULES = (
    _beyond(
        "repair-utf8",
        "A text anywhere in a request has bytes that are not UTF-8: a path in latin-1, or a character that was cut.",
        "U+FFFD replaces the wrong bytes, as Unicode recommends (section 3.9). The wrong bytes are not kept.",
        "`invalid_bytes_replaced`",
        RULES,
    ),
    _beyond(
        "repair-times",
        "A span has no end, ends before it starts, or has no start. Or an event has no time. Or a time is after 2262.",
        "If the end is missing or impossible, the start is stored as the end. If the start is missing, the end is "
        "stored as the start. If both are missing, both are the time when Headrace received the span. The times that "
        "were sent are kept in `otlp.times` in `spans.content`. With `HEADRACE_ENRICH=false` the row is as MLflow "
        "itself writes it: only an end after 2262 is replaced by the start.",
        "`end_time_missing`, `end_before_start`, `end_time_out_of_range`, "
        "`start_time_missing`, `event_time_missing`, `time_beyond_otlp`",
        RULES,
    ),
    _beyond(
        "repair-unfinished",
        "A span is sent without an end while it runs, and again as a whole when it has ended.",
        "The whole span is stored, in whatever order the two come, in one request or in several. With "
        "`HEADRACE_ENRICH=false` the one that came last is stored, as in MLflow.",
        "`unfinished_superseded`, `duplicate_span`",
        RULES,
    ),
    _beyond(
        "repair-ids",
        "An id in JSON is written as a UUID with dashes, or with `0x` in front.",
        "The same id is stored in hex. After `0x`, leading zeros may be missing.",
        "`id_rewritten`",
        RULES,
    ),
    _beyond(
        "repair-go",
        "A value, of any kind and at any depth, is written as Go's `encoding/json` does it: "
        '`{"Value": {"StringValue": "x"}}`.',
        "The value is stored. By the rules of OTLP/JSON it would be no value at all.",
        "`go_value_read`",
        RULES,
    ),
    _beyond(
        "repair-json",
        "A value anywhere in a JSON request has another type than OTLP's: a number where a text belongs, an integer "
        "beyond 64 bits, a bare `NaN`, attributes as an object, the short name of an enum.",
        "Headrace reads the value that is obviously meant. An integer that OTLP cannot hold "
        "becomes text. If a span's time cannot be read, the span is rejected.",
        "`json_value_read`",
        RULES,
    ),
    _beyond(
        "repair-deep",
        "A list or map anywhere in a protobuf request is nested in more than a "
        "hundred messages. Protobuf cannot read that deep.",
        "The value is stored as text, in JSON.",
        "`deep_value_as_text`",
        RULES,
    ),
    _beyond(
        "repair-old-name",
        "Spans are in `instrumentationLibrarySpans`, or in field 1000 of "
        "`ResourceSpans`. That was the name of `scopeSpans` until OTLP 0.15.",
        "Headrace reads them as `scopeSpans`. If a request has both, the spans of both are stored.",
        "`old_name_read`",
        RULES,
    ),
    _beyond(
        "unknown-field",
        "A field that OTLP does not have has spans in it.",
        "They are not stored. They are counted in `partial_success`, which names the field. Other unknown fields are ignored.",
        "`headrace_spans_rejected_total`",
        RULES,
    ),
    _beyond(
        "headers",
        "A header of Headrace comes twice with the same value. Or the headers or metadata are long or many.",
        "The header counts once. Headers and metadata have the same limits over every "
        "transport: 64 KiB, and 128 of them. The answer names the limit.",
        "–",
        "security.md",
    ),
)

REQUIREMENTS = {
    "OTLP/gRPC": GRPC_RULES,
    "OTLP/HTTP, and what concerns both": HTTP_RULES,
    "The messages (proto files)": PROTO_RULES,
    "Beyond OTLP: HTTP, exporters in the wild, Headrace's own": MORE_RULES,
    "What is repaired": REPAIR_RULES,
}
BY_KEY = {requirement.key: requirement for rules in REQUIREMENTS.values() for requirement in rules}

BINDS_CLIENTS = (
    *(130, 131, 132, 133, 138, 150, 157, 171, 175, 184, 188, 189, 250, 259, 264, 268, 311, 333, 337, 344, 386, 511, 512),
    *(525, 526, 527, 528, 537, 539, 540, 541, 542, 610, 626, 636, 660, 673, 676, 684, 685, 690, 694, 707, 709, 724, 726),
    *(744, 747, 792, 794, 799),
)
"""Lines with a keyword that bind clients, forwarders, or capabilities that OTLP does not have yet."""

KEYWORD_LINES = (
    *(90, 121, 125, 126, 127, 130, 131, 132, 133, 138, 149, 150, 157, 171, 175, 180, 184, 188, 189, 193, 194, 195, 197, 198),
    *(201, 212, 214, 220, 227, 231, 234, 239, 245, 247, 248, 250, 259, 264, 268, 270, 271, 290, 309, 311, 333, 337, 344, 351),
    *(354, 356, 386, 407, 433, 434, 442, 460, 464, 468, 485, 511, 512, 515, 518, 521, 522, 525, 526, 527, 528, 533, 537, 539),
    *(540, 541, 542, 544, 545, 546, 548, 549, 552, 556, 557, 559, 563, 572, 574, 581, 588, 592, 595, 599, 605, 607, 608, 610),
    *(
        615,
        619,
        624,
        626,
        628,
        631,
        634,
        636,
        640,
        642,
        655,
        656,
        660,
        666,
        667,
        673,
        676,
        684,
        685,
        690,
        694,
        696,
        701,
        707,
        709,
    ),
    *(724, 726, 744, 746, 747, 771, 792, 794, 799),
)
"""All lines of docs/specification.md, 1.11.0, that have MUST, SHOULD, MAY or RECOMMENDED."""
