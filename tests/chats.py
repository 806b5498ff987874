"""Five chats as frameworks send them, each with something in it for which MLflow's UI would show the whole chat raw."""

import base64
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp

_MS = 1_000_000
_DURATION = 900 * _MS


@dataclass(frozen=True)
class Chat:
    """A trace, and what a person must see of it."""

    name: str
    """Of its root."""
    span: str
    """The name of the span whose chat is looked at."""
    spans: list[Span]
    asked: str
    answered: str
    """The previews of the trace."""
    drawn: tuple[str, ...]
    """Texts of the chat, in order."""


def png(width: int = 160, height: int = 90) -> bytes:
    """A picture: a sun above the sea."""
    rows = []
    for y in range(height):
        row = bytearray([0])
        for x in range(width):
            sun = (x - width * 0.7) ** 2 + (y - height * 0.35) ** 2 < (height * 0.2) ** 2
            row += bytes((255, 200, 60) if sun else (40, 90 + x // 4, 160) if y > height * 0.65 else (140, 190 + y // 3, 235))
        rows.append(bytes(row))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def part(kind: str, **fields: Any) -> dict[str, Any]:
    """A part of OpenTelemetry's GenAI conventions."""
    return {"type": kind, **fields}


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """A message of theirs."""
    return {"role": role, "parts": list(parts)}


def chat(sent: list[Any], answered: list[Any], **more: str) -> dict[str, Any]:
    """Attributes of a span that asks a model."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": json.dumps(sent),
        "gen_ai.output.messages": json.dumps(answered),
    } | {key.replace("__", "."): value for key, value in more.items()}


def chats(end: int) -> list[Chat]:
    """All five, so that each ended at this time, in nanoseconds."""
    return [_tools(end), _image(end), _reasoning(end), _turns(end), _agents(end)]


def _one(name: str, end: int, attrs: dict[str, Any]) -> list[Span]:
    return [otlp.span(name, start=end - _DURATION, end=end, attrs=attrs, kind=Span.SPAN_KIND_CLIENT)]


def _tools(end: int) -> Chat:
    """A call whose arguments are a text, a `result` in place of a response, instructions beside the messages."""
    call = part("tool_call", id="call_1", name="get_weather", arguments='{"city": "Paris"}')
    sent = [
        message("user", part("text", content="What is the weather in Paris?")),
        message("assistant", call),
        message("user", part("tool_call_response", id="call_1", name="get_weather", result="sunny, 21 degrees")),
    ]
    answered = [message("assistant", part("text", content="It is sunny in Paris, 21 degrees."))]
    instructions = json.dumps([part("text", content="You are a weather service.")])
    attrs = chat(sent, answered, gen_ai__system_instructions=instructions)
    drawn = (
        "You are a weather service.",
        "What is the weather in Paris?",
        "get_weather",
        "sunny, 21 degrees",
        "It is sunny in Paris",
    )
    return Chat(
        "tools", "tools", _one("tools", end, attrs), "What is the weather in Paris?", answered[0]["parts"][0]["content"], drawn
    )


def _image(end: int) -> Chat:
    """A picture within the message, and a file that nobody can show."""
    picture = part("blob", modality="image", mime_type="image/png", content=base64.b64encode(png()).decode())
    file = part("file", modality="document", file_id="holiday.pdf")
    sent = [message("user", part("text", content="What is in this picture?"), picture, file)]
    answered = [message("assistant", part("text", content="The sun above the sea."))]
    drawn = "What is in this picture?", "[document: holiday.pdf]", "The sun above the sea."
    spans = _one("image", end, chat(sent, answered))
    return Chat("image", "image", spans, drawn[0], drawn[2], drawn)


def _reasoning(end: int) -> Chat:
    """The model's reasoning, before a call and before the answer."""
    sent = [message("user", part("text", content="Is 221 a prime?"))]
    thought = part("reasoning", content="221 is 13 times 17.")
    answered = [message("assistant", thought, part("text", content="No: 13 times 17 is 221."))]
    drawn = "Is 221 a prime?", "No: 13 times 17 is 221."
    return Chat("reasoning", "reasoning", _one("reasoning", end, chat(sent, answered)), *drawn, drawn)


def _turns(end: int) -> Chat:
    """Anthropic's own blocks: instructions beside the messages, thinking, a tool, its result and a text in one message."""
    use = {"type": "tool_use", "id": "t1", "name": "find_flights", "input": {"to": "Rome"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "AZ 611, 09:40"}]}
    messages = [
        {"role": "user", "content": "I want to go to Rome."},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Flights first.", "signature": "x"}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "Not before nine."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "There is one at 09:40."}]},
        {"role": "user", "content": [{"type": "text", "text": "Book it."}]},
    ]
    asked = {"model": "claude", "system": [{"type": "text", "text": "You book flights."}], "messages": messages}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "end_turn",
              "content": [{"type": "text", "text": "Booked: AZ 611."}]}  # fmt: skip
    attrs = {"openinference.span.kind": "LLM", "input.value": json.dumps(asked), "output.value": json.dumps(answer)}
    drawn = ("You book flights.", "I want to go to Rome.", "find_flights", "AZ 611, 09:40", "Not before nine.",
             "There is one at 09:40.", "Book it.", "Booked: AZ 611.")  # fmt: skip
    return Chat("turns", "turns", _one("turns", end, attrs), "Book it.", "Booked: AZ 611.", drawn)


def _agents(end: int) -> Chat:
    """A web framework's root, an agent that hands over to another, each in LangChain's own form."""
    human = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"],
             "kwargs": {"content": "Write a poem on rain.", "type": "human"}}  # fmt: skip
    draft = {"type": "ai", "data": {"content": "Rain, rain.", "type": "ai"}}
    poem = {"type": "ai", "data": {"content": "Soft rain on the roof.", "type": "ai"}}
    http = {
        "http.request.method": "POST",
        "http.route": "/poems/{id}",
        "url.path": "/poems/5",
        "http.response.status_code": 200,
    }
    root = otlp.span("POST /poems/{id}", start=end - _DURATION, end=end, attrs=http, kind=Span.SPAN_KIND_SERVER)

    def agent(name: str, parent: Span, begin: int, until: int, sent: list[Any], answered: list[Any]) -> Span:
        attrs = {"openinference.span.kind": "AGENT", "input.value": json.dumps({"messages": sent}),
                 "output.value": json.dumps({"messages": answered})}  # fmt: skip
        return otlp.span(
            name, root.trace_id, None, parent.span_id, end - _DURATION + begin * _MS, end - _DURATION + until * _MS, attrs
        )

    team = agent("poets", root, 10, 890, [human], [human, draft, poem])
    spans = [root, team, agent("writer", team, 20, 400, [human], [draft]), agent("editor", team, 410, 880, [draft], [poem])]
    drawn = "Write a poem on rain.", "Rain, rain.", "Soft rain on the roof."
    return Chat("poets", "poets", spans, drawn[0], drawn[2], drawn)
