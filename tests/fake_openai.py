"""A server with one path of OpenAI's API. It asks for a tool first, and answers once it has the tool's result."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "The weather in Paris is sunny, 21 degrees."
_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


@contextmanager
def fake_openai() -> Iterator[str]:
    """The URL of a server that runs until the end of the block, for `OPENAI_BASE_URL`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Every path is that of chat completions."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(_completion(asked["messages"][-1]["role"] == "tool")).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _completion(answers: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER if answers else None}
    if not answers:
        message["tool_calls"] = [_CALL]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if answers else "tool_calls"}],
        "usage": {"prompt_tokens": 42, "completion_tokens": 17, "total_tokens": 59},
    }
