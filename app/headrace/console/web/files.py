"""The templates, and the files that pages ask for. Both are read once, from the package."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headrace import __version__
from headrace.config import Config
from headrace.console.web import format as formats

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class File:
    """A file of the package, and its media type."""

    body: bytes
    kind: str

    @property
    def mark(self) -> str:
        """It changes when the file does: browsers keep a file for as long as its mark stays."""
        return hashlib.sha256(self.body).hexdigest()[:12]


def _file(name: str, kind: str) -> File:
    return File((_HERE / "static" / name).read_bytes(), kind)


FILES: Mapping[str, File] = {
    "console.css": _file("console.css", "text/css; charset=utf-8"),
    "console.js": _file("console.js", "text/javascript; charset=utf-8"),
    "icon.svg": _file("icon.svg", "image/svg+xml"),
}
"""By name, below `/static/`."""


class Rendering:
    """Templates → HTML. Whatever a trace says, it is escaped."""

    def __init__(self, config: Config) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        names = ("duration", "signed", "count", "rate", "figure", "size", "share", "moment", "age")
        self._environment.filters |= {name: getattr(formats, name) for name in names} | {"cut": formats.shortened}
        self._environment.globals |= {
            "url": formats.url,
            "file": lambda name: f"/static/{name}?v={FILES[name].mark}",
            "version": __version__,
            "ui_link": _http_only(config.ui_link),
        }

    def html(self, template: str, values: Mapping[str, Any]) -> str:
        """A template and its values → HTML."""
        return self._environment.get_template(template).render(values)


def _http_only(link: str) -> str:
    """A link that a browser may follow; never one to a script."""
    return link if urlsplit(link).scheme in ("http", "https") else ""
