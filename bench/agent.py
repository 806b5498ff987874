"""An agent's trace, in the form of OpenTelemetry's conventions for generative AI: ten turns of a chat and the call of a tool.

Each chat sends the whole conversation so far, as agents do: 4 KiB of messages in the first, 40 KiB in the last. From the fifth
turn on an image is among them, in base64. Source: https://github.com/open-telemetry/semantic-conventions-genai (gen-ai-spans,
gen-ai-agent-spans).
"""

import base64
import json
import random
from functools import cache
from typing import Any, NamedTuple

_TURNS, _FIRST_KIB, _LAST_KIB, _IMAGE_BYTES = 10, 4, 40, 9 * 1024
_LETTERS = "eeeetttaaaooiinnsshhrrddllu      "
_QUOTED = '"\\\n'  # what JSON in JSON escapes, as code and results of tools have
_TOOLS = ("search_papers", "read_page", "run_python", "take_screenshot")


class Planned(NamedTuple):
    """A span of the trace; `parent` is the number of one, or None for the root."""

    name: str
    parent: int | None
    attributes: dict[str, Any]


def agent(rng: random.Random) -> list[Planned]:
    """Thirty spans in the order of their ends, the root last: per turn a chat, a request of the tool, and the tool."""
    conversation, spans, last = rng.randbytes(8).hex(), list[Planned](), 3 * _TURNS - 1
    for turn in range(_TURNS):
        call = f"call_{rng.randbytes(9).hex()}"
        tool = rng.choice(_TOOLS)
        spans.append(Planned("chat gpt-4o", last, _chat(rng, conversation, turn, call, tool)))
        if turn < _TURNS - 1:  # the last turn's tool needs no request: 30 spans with the root
            spans.append(Planned("GET", len(spans) + 1, _request(rng)))
        spans.append(Planned(f"execute_tool {tool}", last, _tool(rng, conversation, call, tool)))
    return [*spans, Planned("invoke_agent researcher", None, _root(rng, conversation))]


def _root(rng: random.Random, conversation: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai", "gen_ai.agent.name": "researcher",
        "gen_ai.agent.id": "asst_5j66UpCpwteGg4YSxUnt7lPY", "gen_ai.conversation.id": conversation,
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.input.messages": json.dumps([_message("user", _text(rng, 2048))]),
        "gen_ai.output.messages": json.dumps([_message("assistant", _text(rng, 2048), finish_reason="stop")]),
    }  # fmt: skip


def _chat(rng: random.Random, conversation: str, turn: int, call: str, tool: str) -> dict[str, Any]:
    size = 1024 * (_FIRST_KIB + turn * (_LAST_KIB - _FIRST_KIB) // (_TURNS - 1))
    arguments = {"query": _words(rng, 200), "limit": rng.randrange(5, 50)}
    asked = _conversation(rng, turn, size - 1024)
    answered = {"type": "tool_call", "id": call, "name": tool, "arguments": arguments}
    output = [{"role": "assistant", "parts": [_text(rng, 700), answered], "finish_reason": "tool_call"}]
    return {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.conversation.id": conversation,
        "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 4096, "gen_ai.response.id": f"chatcmpl-{rng.randrange(10**12)}",
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.usage.input_tokens": size // 4, "gen_ai.usage.output_tokens": rng.randrange(40, 400),
        "gen_ai.system_instructions": json.dumps([_text(rng, 600)]), "gen_ai.tool.definitions": _definitions(),
        "gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(output),
    }  # fmt: skip


def _conversation(rng: random.Random, turn: int, size: int) -> list[dict[str, Any]]:
    """What has been said so far, of about `size` characters: of user, assistant and tool in turn."""
    messages = []
    if turn >= 4:
        image = base64.b64encode(rng.randbytes(_IMAGE_BYTES)).decode()
        blob = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": image}
        messages.append(_message("user", {"type": "text", "content": "What is on this page?"}, blob))
        size -= len(image)
    each = size // (2 * turn + 1)
    messages.append(_message("user", _text(rng, each)))
    for _ in range(turn):
        call = f"call_{rng.randbytes(9).hex()}"
        asked = {"type": "tool_call", "id": call, "name": rng.choice(_TOOLS), "arguments": {"query": _words(rng, each)}}
        messages.append(_message("assistant", asked))
        messages.append(_message("tool", {"type": "tool_call_response", "id": call, "response": _words(rng, each)}))
    return messages


def _tool(rng: random.Random, conversation: str, call: str, tool: str) -> dict[str, Any]:
    result = [{"title": _words(rng, 60), "score": rng.random(), "text": _words(rng, 400)} for _ in range(rng.randrange(2, 8))]
    return {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, "gen_ai.tool.call.id": call,
        "gen_ai.tool.type": "function", "gen_ai.conversation.id": conversation,
        "gen_ai.tool.call.arguments": json.dumps({"query": _words(rng, 200), "limit": rng.randrange(5, 50)}),
        "gen_ai.tool.call.result": json.dumps(result),
    }  # fmt: skip


def _request(rng: random.Random) -> dict[str, Any]:
    return {
        "http.request.method": "GET", "url.full": f"https://papers.example/search?page={rng.randrange(10**6)}",
        "server.address": "papers.example", "server.port": 443, "http.response.status_code": 200,
    }  # fmt: skip


def _message(role: str, *parts: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"role": role, "parts": list(parts), **more}


def _text(rng: random.Random, length: int) -> dict[str, Any]:
    return {"type": "text", "content": _words(rng, length)}


def _words(rng: random.Random, length: int) -> str:
    text = _book()
    start = rng.randrange(len(text) - length)
    return text[start : start + length]


@cache
def _book() -> str:
    """Text from which pieces are cut: to make each message letter by letter would take long. JSON escapes one letter in 33."""
    return "".join(random.Random(21).choices(_LETTERS * 3 + _QUOTED, k=2**18))


@cache
def _definitions() -> str:
    """The tools that the model may call, about 2 KiB."""
    rng = random.Random(22)
    query = {"type": "string", "description": _words(rng, 150)}
    limit = {"type": "integer", "description": _words(rng, 80)}
    schema = {"type": "object", "properties": {"query": query, "limit": limit}, "required": ["query"]}
    return json.dumps(
        [{"type": "function", "name": name, "description": _words(rng, 120), "parameters": schema} for name in _TOOLS]
    )
