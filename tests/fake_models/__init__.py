"""A server that speaks as models do: OpenAI's chat, responses and embeddings, Anthropic's messages, Gemini's generateContent.

It asks for the tool that it is offered, and answers once it has the tool's result. The same question gets the same answer.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fake_models import anthropic, gemini, openai_chat, openai_responses
from fake_models.said import ANSWER

__all__ = ["ANSWER", "fake_models"]

Answer = Callable[[dict[str, Any], str], dict[str, Any]]
Stream = Callable[[dict[str, Any]], Iterable[str]]
PATHS: dict[str, tuple[Answer, Stream]] = {
    "chat/completions": (openai_chat.answer, openai_chat.stream),
    "embeddings": (openai_chat.embed, openai_chat.stream),
    "responses": (openai_responses.answer, openai_responses.stream),
    "messages": (anthropic.answer, anthropic.stream),
    "enerateContent": (gemini.answer, gemini.stream),
}
"""How a path ends → what is answered there, and the same as server-sent events. Gemini's paths end in `:generateContent`."""


@contextmanager
def fake_models() -> Iterator[str]:
    """The URL of a server that runs until the end of the block, without a path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """What a model says."""
        body = self.rfile.read(int(self.headers["content-length"]))
        path = self.path.partition("?")[0]
        for ending, (answer, stream) in PATHS.items():
            if path.endswith(ending):
                asked = json.loads(body)
                said = answer(asked, path)
                if asked.get("stream") or ":stream" in path:
                    return self._send(200, "text/event-stream", "".join(stream(said)))
                return self._send(200, "application/json", json.dumps(said))
        return self._send(404, "application/json", json.dumps({"error": {"message": f"No model at {path}"}}))

    def do_GET(self) -> None:
        """Nothing is here."""
        self._send(404, "application/json", json.dumps({"error": {"message": f"Nothing at {self.path}"}}))

    def _send(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
