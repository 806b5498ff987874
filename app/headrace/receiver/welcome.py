"""What a browser sees at the receiver's port: a page that leads to the console and the MLflow UI, and the lines to copy.

Everybody else is answered as at any other path where nothing is.
"""

import base64
import hashlib
import re
from html import escape
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from headrace.config import Config
from headrace.receiver.lines import KEY, environment, otlp_url

_CALLED = re.compile(r"(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")
_STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f7f8f9; --card: #fff; --ink: #1a2027; --muted: #56616d; --line: #dfe3e8; --link: #14588c; --code: #f1f3f5;
}
@media (prefers-color-scheme: dark) {
  :root { --bg: #0f1317; --card: #161b21; --ink: #e4e9ee; --muted: #9ba7b4; --line: #2b333d; --link: #7ab8ea; --code: #1d242c; }
}
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 720px; margin: 8vh auto; padding: 0 20px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 15px; margin: 28px 0 8px; }
p { margin: 0; color: var(--muted); }
pre + p { margin-top: 8px; }
a { color: var(--link); text-underline-offset: 2px; }
ul { list-style: none; margin: 20px 0 0; padding: 0; border: 1px solid var(--line); border-radius: 8px; }
ul { background: var(--card); }
li { padding: 12px 16px; display: grid; grid-template-columns: 130px 1fr; gap: 4px 16px; }
li + li { border-top: 1px solid var(--line); }
li a { font-weight: 600; }
li span { color: var(--muted); }
pre { margin: 0; padding: 14px 16px; overflow-x: auto; background: var(--code); border-radius: 8px; }
pre { font: 12.5px/1.6 ui-monospace, Menlo, Consolas, monospace; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media (max-width: 560px) { main { margin: 24px auto; } li { grid-template-columns: 1fr; } }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "vary": "accept",
}


def is_browser(request: Request) -> bool:
    """Whether the request asks for a page: no client of OTLP does."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "").lower()


def welcome(request: Request, config: Config) -> Response:
    """The page."""
    called = request.headers.get("host", "")
    endpoint = otlp_url(config, called if _CALLED.fullmatch(called) else "")
    links = [
        (config.console_link, "Console", "status, traces, comparison, map of services; `headrace console` serves it"),
        (config.ui_link, "MLflow UI", "experiments, runs, traces"),
        ("/readyz", "Health", "whether requests are taken; also /healthz and /metrics"),
        ("/openapi.json", "API", "what can be sent; the documentation is in docs/ beside the code"),
    ]
    items = "".join(_item(*link) for link in links if urlsplit(link[0]).scheme in ("http", "https", ""))
    lines = escape(environment(endpoint, "0", config.api_keys is not None))
    key = f" Put an API key in the place of {KEY}." if config.api_keys is not None else ""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Headrace</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        "<h1>Headrace</h1><p>The OTLP intake for MLflow. Services send their spans to this port.</p>"
        f'<ul>{items}</ul><h2>Point a service at it</h2><pre tabindex="0">{lines}</pre>'
        f"<p>The spans go to experiment 0, Default: name another one by its id.{key}</p></main></body></html>\n"
    )
    return HTMLResponse(page, headers=_HEADERS)


def _item(link: str, name: str, said: str) -> str:
    return f'<li><a href="{escape(link)}" rel="noreferrer">{name}</a><span>{said}</span></li>'
