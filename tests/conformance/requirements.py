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
        "Servers support no compression and gzip.",
        "Both over every transport. Beyond it: deflate and zstd everywhere, stacks of encodings over HTTP.",
    ),
    _spec(
        121,
        MUST,
        "gRPC messages are limited in size, also after decompression.",
        "`HEADRACE_MAX_BODY_BYTES`, of the message as received and once inflated.",
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
        "`RESOURCE_EXHAUSTED` without `RetryInfo`.",
    ),
    _spec(149, SHOULD, "Concurrent unary calls are supported.", "As many as a connection carries; each is acknowledged alone."),
    _spec(180, MUST, "The answer is the message that belongs to the case.", "Checked on every answer of these tests."),
    _spec(
        193,
        MUST,
        "The size of responses is limited, 4 MiB recommended; a long `error_message` is shortened.",
        "No answer is over 16 KiB: messages are made of fixed sentences, what a client sent is cut when quoted. "
        "There is nothing to configure, and no answer that could not fit.",
        *(193, 194, 195, 197, 198, 201),
    ),
    _spec(212, SHOULD, "An empty request is a success.", "`OK`, in every form of emptiness."),
    _spec(214, MUST, "Success is an `Export<signal>ServiceResponse`.", "Yes, an empty one."),
    _spec(220, MUST, "`partial_success` is unset on success.", "Unset: the answer has 0 bytes."),
    _spec(227, MUST, "A partial success is the same message.", "Yes; the good spans of the request are stored."),
    _spec(
        231,
        MUST,
        "`partial_success` is set then, and `rejected_spans` is the number of spans rejected.",
        "The exact number, one for each span that was not stored.",
        231,
        234,
    ),
    _spec(
        239,
        SHOULD,
        "`error_message` says in English why, and how to mend it.",
        "`1 of 1000 spans rejected: span_id must be 8 bytes, not all zero (1).`",
    ),
    _spec(
        245, MAY, "`partial_success` may carry warnings on a full success.", "Not used: what is repaired is counted instead."
    ),
    _spec(
        247,
        MUST,
        "A warning has `rejected_spans` 0 and a message.",
        "No warnings are sent: where `partial_success` is set, spans were rejected and the message says why.",
        247,
        248,
    ),
    _spec(
        270,
        SHOULD,
        "Retryable errors are `UNAVAILABLE`, with `RetryInfo` if the server likes.",
        "`UNAVAILABLE` with `RetryInfo`, in `grpc-status-details-bin` and, for the Python exporter, in "
        "`google.rpc.retryinfo-bin`; no other retryable code.",
        270,
        271,
    ),
    _spec(
        289,
        SHOULD,
        "Errors that are not retryable are `INVALID_ARGUMENT`, with `BadRequest` if the server likes.",
        "`INVALID_ARGUMENT` with `BadRequest` for wrong data.",
        290,
    ),
    _spec(
        309,
        MAY,
        "Other codes may be used where they fit better.",
        "`UNAUTHENTICATED` and `PERMISSION_DENIED` for API keys, `RESOURCE_EXHAUSTED` for size, `UNIMPLEMENTED` for services "
        "that Headrace does not have.",
    ),
    _spec(
        351,
        SHOULD,
        "A server that cannot keep up says so: `UNAVAILABLE`, with `RetryInfo` if it likes.",
        "When the queue is full, its disk fails, too many bodies are in memory, or a rate is exceeded.",
        351,
        354,
        356,
    ),
    _spec(
        407,
        SHOULD,
        "`retry_delay` gives the server time to recover, and does not make the client drop data.",
        "1 to 5 s: exporters give a batch up after 10 s in all.",
    ),
    _spec(
        413,
        "",
        "The gRPC services are those of the proto files.",
        "`TraceService`, `MetricsService` and `LogsService`. Profiles are in development; their service is not there.",
    ),
    _spec(423, "", "The default port of OTLP/gRPC is 4317.", "`HEADRACE_GRPC_PORT`, 4317."),
)

HTTP_RULES = (
    _spec(
        433,
        MAY,
        "Requests are POSTs, over HTTP/1.1 or HTTP/2.",
        "HTTP/1.1, and 1.0. An upgrade to HTTP/2 is declined as HTTP has it: the request is answered over 1.1.",
        433,
        434,
    ),
    _spec(442, MUST, "Protobuf bodies are `application/x-protobuf`.", "Both ways. `application/protobuf` is taken as well."),
    _spec(
        451,
        "",
        "In JSON, trace and span ids are hex in either case, in all messages.",
        "In spans, as parents and in links.",
    ),
    _spec(
        460,
        MUST,
        "In JSON, enums are integers; names must not be used.",
        "Integers are taken, also those that no enum has yet, and sent. Names are forgiven.",
        460,
        464,
    ),
    _spec(
        468,
        MUST,
        "JSON fields of unknown names are ignored.",
        "At every level of the request, whatever they hold.",
    ),
    _spec(
        473,
        "",
        "JSON keys are lowerCamelCase; the original names are not valid.",
        "lowerCamelCase is taken and sent. snake_case is forgiven.",
    ),
    _spec(480, "", "64-bit integers in JSON may be strings or numbers.", "Both, exactly: none passes through a float."),
    _spec(485, MUST, "JSON bodies are `application/json`.", "Both ways. Browsers' `text/plain` is read as JSON."),
    _spec(496, "", "Traces are POSTed to `/v1/traces`.", "Yes."),
    _spec(
        501,
        "",
        "Metrics are POSTed to `/v1/metrics`, logs to `/v1/logs`.",
        "Both are answered as OTLP has it: records without a place in MLflow are counted in `partial_success`, and told why.",
    ),
    _spec(507, "", "Profiles are POSTed to `/v1development/profiles`.", "In development, not there: 404."),
    _spec(
        515,
        MAY,
        "Other URL paths may be configured.",
        "`HEADRACE_PATH_PREFIX`; and the paths that a wrongly set endpoint makes: a slash at the end, `/v1/traces` twice.",
    ),
    _spec(
        518,
        MUST,
        "Request bodies are limited in size, also after decompression.",
        "`HEADRACE_MAX_BODY_BYTES`, of the body as received (also in chunks) and of each layer once inflated.",
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
        "413, on the header's word before the body is read, or as soon as the body is over it.",
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
        "Checked on every answer of these tests. Where the request has none that OTLP knows: protobuf on a POST.",
        *(556, 557, 559),
    ),
    _spec(563, MAY, "Responses may be gzipped.", "They are not: they are too short to gain from it."),
    _spec(572, SHOULD, "An empty request is a success.", "200: a body of 0 bytes, `{}`, resources and scopes without spans."),
    _spec(574, MUST, "Success is 200 with an `Export<signal>ServiceResponse`.", "Yes, an empty one."),
    _spec(581, MUST, "`partial_success` is unset on success.", "A body of 0 bytes, or `{}`."),
    _spec(588, MUST, "A partial success is 200 with the same message.", "Yes; the good spans of the request are stored."),
    _spec(
        592,
        MUST,
        "`partial_success` is set then, and `rejected_spans` is the number of spans rejected.",
        "The exact number, one for each span that was not stored.",
        592,
        595,
    ),
    _spec(599, SHOULD, "`error_message` says in English why, and how to mend it.", "As for gRPC."),
    _spec(605, MAY, "`partial_success` may carry warnings on a full success.", "Not used."),
    _spec(607, MUST, "A warning has `rejected_spans` 0 and a message.", "No warnings are sent.", 607, 608),
    _spec(
        615,
        MUST,
        "Failures are 4xx or 5xx.",
        "400, 401, 403, 404, 405, 408, 411, 413, 415, 429, 431, 503; 500 only for what nobody foresaw.",
        615,
    ),
    _spec(
        619,
        MUST,
        "The body of every 4xx and 5xx is a `google.rpc.Status`.",
        "Of every one, in the request's own encoding; also where the bytes are no HTTP.",
    ),
    _spec(624, MAY, "`Status.code` may be omitted.", "It is set, to the code that gRPC would have given."),
    _spec(628, SHOULD, "`Status.message` is for developers.", "It says what is wrong and what to do."),
    _spec(631, MAY, "`Status.details` may hold more.", "`BadRequest` on 400, `RetryInfo` on 429 and 503."),
    _spec(634, SHOULD, "The status code tells whether to retry.", "429 and 503: yes; all others: no."),
    _spec(642, MUST, "Only 429, 502, 503 and 504 are retried.", "Headrace asks for a retry with 429 and 503.", 640, 642),
    _spec(655, MUST, "Bad data, for good: 400.", "400, also where not one span of the request can be stored."),
    _spec(656, SHOULD, "A 400 has `BadRequest` in its details.", "With a description of what is wrong."),
    _spec(
        666,
        SHOULD,
        "Overload is 429 or 503.",
        "503 where Headrace cannot take more; 429 where the client may not send more.",
    ),
    _spec(667, MAY, "`Retry-After` may say how long to wait.", "1 to 5 s, in seconds."),
    _spec(
        681,
        "",
        "All other responses are those of HTTP.",
        "404, 405 with `Allow`, 408 for a body that does not come, 411 for one of unknown length, 415 with `Accept-Encoding`.",
    ),
    _spec(
        694,
        "",
        "Clients keep connections alive.",
        "They are kept for 65 s; after an error, too. Requests may be pipelined; answers come in their order.",
    ),
    _spec(696, SHOULD, "Protobuf and JSON are served on the same port, told apart by Content-Type.", "Yes, on one connection."),
    _spec(701, MAY, "gRPC and HTTP may share a port.", "They do not: 4317 and 4318."),
    _spec(707, "", "Clients may send over several connections at the same time.", "Up to `HEADRACE_MAX_CONNECTIONS`."),
    _spec(713, "", "The default port of OTLP/HTTP is 4318.", "`HEADRACE_HTTP_PORT`, 4318."),
    _spec(746, MAY, "Empty envelopes may be ignored.", "They are; spans beside them are stored.", 746),
    _spec(
        755,
        "",
        "Clients send again what was not acknowledged, which may make duplicates.",
        "It does not: a span is stored once, however often it comes.",
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
        "A trace id has 16 bytes, not all zero; a span id 8 (L99); else it is invalid.",
        "That span is rejected, by itself.",
    ),
    _proto(
        "trace/v1/trace",
        111,
        "",
        "A root span has no parent id.",
        "None, or one of zeroes. Any other length: rejected. A span that names itself is stored as a root.",
    ),
    _proto("trace/v1/trace", 133, MUST, "Bits 10 to 31 of `flags` may be set (L286: in links).", "They are kept as they came."),
    _proto("trace/v1/trace", 145, "", "A name should not be empty; empty means unknown.", "Stored as it came."),
    _proto("trace/v1/trace", 155, MAY, "`SPAN_KIND_UNSPECIFIED` may be taken as INTERNAL.", "It is kept as it came."),
    _proto(
        "trace/v1/trace",
        191,
        "",
        "A span ends after it starts.",
        "One that does not ends where it starts; what was sent is kept beside it: see [what is repaired](#what-is-repaired).",
    ),
    _proto(
        "trace/v1/trace",
        210,
        "",
        "Attribute keys are unique; of duplicates anything may become.",
        "All are kept; MLflow shows the last.",
    ),
    _proto("trace/v1/trace", 301, "", "A span without a status is one whose status is unset.", "As `UNSET`."),
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
        "A reference to the profiles' string table (L89: as a key) is no reason to fail; it counts as absent or empty.",
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
        "gzip, x-gzip, deflate (with zlib's header and without, about which clients disagree), zstd, identity.",
        "RFC 9110, 8.4",
        f"{RFC9110}#section-8.4",
    ),
    _beyond(
        "rfc9110-10.1.1",
        "`Expect: 100-continue` asks before a body is sent.",
        "100, or at once the error that is known from the headers.",
        "RFC 9110, 10.1.1",
        f"{RFC9110}#section-10.1.1",
    ),
    _beyond(
        "rfc9112-7.1",
        "Bodies may come in chunks, of unknown length.",
        "Read as they come, up to the same limit.",
        "RFC 9112, 7.1",
        f"{RFC9112}#section-7.1",
    ),
    _beyond(
        "rfc9112-9.6",
        "A server that answers before it has read the body goes on reading, so that the answer arrives.",
        "So that a 413 is seen, rather than a broken connection, after which a client would send the batch again.",
        "RFC 9112, 9.6",
        f"{RFC9112}#section-9.6",
    ),
    _beyond(
        "js-4202",
        'Exporters send 64-bit integers as `{"low": …, "high": …}`.',
        "Taken for the integer that they are.",
        "opentelemetry-js#4202",
        "https://github.com/open-telemetry/opentelemetry-js/issues/4202",
    ),
    _beyond(
        "collector-8720",
        "Exporters send ids in base64, as protobuf's own JSON mapping has them.",
        "Taken where base64's padding tells it from hex.",
        "opentelemetry-collector#8720",
        "https://github.com/open-telemetry/opentelemetry-collector/issues/8720",
    ),
    _beyond(
        "js-2321",
        "Browsers' `sendBeacon` says `text/plain`.",
        "Read as JSON, and answered in JSON.",
        "opentelemetry-js#2321",
        "https://github.com/open-telemetry/opentelemetry-js/issues/2321",
    ),
    _beyond(
        "cors",
        "Web pages of other origins may send only where the server allows it.",
        "`HEADRACE_CORS_ORIGINS`: preflight, answers and errors have the headers. Other pages get 403, without them.",
        "Fetch, 3.2",
        "https://fetch.spec.whatwg.org/#http-cors-protocol",
    ),
    _beyond(
        "health",
        "gRPC servers tell their health.",
        "`grpc.health.v1.Health`, for the server and each of its services: what `/readyz` says.",
        "gRPC health checking",
        "https://grpc.io/docs/guides/health-checking/",
    ),
    _beyond(
        "one-bad-span",
        "One bad span costs one span.",
        "The others of its request are stored; it is counted in `partial_success`, with the reason.",
        "README",
        "../README.md#what-a-200-promises",
    ),
    _beyond(
        "hostile-json",
        "No body ends in a 500, and none takes the receiver down.",
        "Nesting is bounded; what is no OTLP is 400.",
        "README",
        "../README.md#what-a-200-promises",
    ),
    _beyond(
        "slow-clients",
        "Slow clients keep no place.",
        "Headers have `HEADRACE_HEADER_SECONDS`, bodies `HEADRACE_BODY_SECONDS`.",
        "Settings",
        "configuration.md",
    ),
    _beyond("keys", "Requests are taken from known senders only.", "`HEADRACE_API_KEYS`.", "Settings", "configuration.md"),
    _beyond("tls", "Requests are encrypted on their way.", "`HEADRACE_TLS_CERT`.", "Settings", "configuration.md"),
)

RULES = "operations.md#metrics"
REPAIR_RULES = (
    _beyond(
        "repair-utf8",
        "A text with bytes that are no UTF-8: a path in latin-1, a character that is cut. Anywhere in a request.",
        "U+FFFD stands in the place of what is wrong, as Unicode wants it (section 3.9). The bytes themselves are not kept.",
        "`invalid_bytes_replaced`",
        RULES,
    ),
    _beyond(
        "repair-times",
        "A span without an end, that ends before it starts, or has no start; an event without a time; a time after 2262.",
        "No end, or an impossible one: the end is the start. No start: the start is the end, or else the time when Headrace "
        "received it. The times that were sent stand in the span's note (`otlp.times` in `spans.content`). With "
        "`HEADRACE_ENRICH=false` the row is MLflow's own: only an end after 2262 becomes the start.",
        "`end_time_missing`, `end_before_start`, `end_time_out_of_range`, `start_time_missing`, `event_time_missing`, "
        "`time_beyond_otlp`",
        RULES,
    ),
    _beyond(
        "repair-unfinished",
        "A span that was sent without an end while it ran, and is sent again whole.",
        "The whole one stands, whichever came first, in one request or in several. With `HEADRACE_ENRICH=false` the last "
        "stands, as in MLflow.",
        "`unfinished_superseded`, `duplicate_span`",
        RULES,
    ),
    _beyond(
        "repair-ids",
        "An id in JSON as a UUID with dashes, or with `0x` in front.",
        "The same id in hex. `0x` may leave out zeros in front.",
        "`id_rewritten`",
        RULES,
    ),
    _beyond(
        "repair-go",
        'A value as Go\'s `encoding/json` writes it: `{"Value": {"StringValue": "x"}}`, of any kind, at any depth.',
        "The value. Today's OTLP/JSON would make it no value at all.",
        "`go_value_read`",
        RULES,
    ),
    _beyond(
        "repair-json",
        "A value in JSON of another type than OTLP's: a number where a text belongs, an integer beyond 64 bits, a bare `NaN`, "
        "attributes as an object, the short name of an enum. Anywhere in a request.",
        "Read as what it says. What OTLP's integers cannot hold becomes text; what says no time costs its span.",
        "`json_value_read`",
        RULES,
    ),
    _beyond(
        "repair-deep",
        "A list or map in protobuf inside of more than a hundred messages, too deep for protobuf. Anywhere in a request.",
        "It becomes its JSON as text.",
        "`deep_value_as_text`",
        RULES,
    ),
    _beyond(
        "repair-old-name",
        "`instrumentationLibrarySpans`, or field 1000 of `ResourceSpans`: the name of `scopeSpans` until OTLP 0.15.",
        "Read as `scopeSpans`. A request that has both keeps both.",
        "`old_name_read`",
        RULES,
    ),
    _beyond(
        "unknown-field",
        "A field that OTLP does not have, with spans in it.",
        "Not stored. Its spans are counted in `partial_success`, which names the field. Other unknown fields are ignored.",
        "`headrace_spans_rejected_total`",
        RULES,
    ),
    _beyond(
        "headers",
        "A header of ours that comes twice with the same value; long or many headers and metadata.",
        "It says it once. Headers and metadata have the same bounds over every transport, 64 KiB and 128 of them, which "
        "the answer names.",
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
