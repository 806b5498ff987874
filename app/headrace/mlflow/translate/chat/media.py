"""Pictures, sounds and files in a message, in the forms of each library → what MLflow's UI can show of them. No I/O."""

import re
from collections.abc import Mapping
from typing import Any

Block = Mapping[str, Any]
Part = dict[str, Any]
"""A part of a message's content, in OpenAI's form: `text`, `image_url` or `input_audio`."""

_MIME = re.compile(r"[a-z]+/[\w.+-]{1,80}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-][A-Za-z0-9+/_=\s-]*", re.ASCII)
_LOOKED_AT = 80
"""Characters of data by which base64 is told from a placeholder such as `<redacted>`."""
_SHOWN = re.compile(r"https?://|data:image/|mlflow-attachment://", re.IGNORECASE)
"""Addresses that a browser may load as an image."""
_IN_MARKDOWN = str.maketrans({" ": "%20", "(": "%28", ")": "%29", "\n": "%0A", "\r": "%0D", "<": "%3C", ">": "%3E"})
"""MLflow's UI writes an image as Markdown, `![](url)`, which these would end."""
_SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_TYPES = ("mime_type", "mimeType", "media_type", "mediaType", "image_mimetype", "contentType")
_OF_DATA = re.compile(r"data:([a-z]+/[\w.+-]{1,80})[;,]", re.ASCII)
_FILE_NAMES = ("filename", "file_name", "name", "title", "file_id", "id")
_NAMED_KINDS = ("image", "audio", "video", "document", "file")
MADE_IMAGE = "image_generation_call"
"""The picture that a tool of OpenAI's made."""
_FILES = ("blob", "uri", "file", "binary", "media", "input_file", "file_url")
MEDIA = frozenset({*_NAMED_KINDS, *(f"{kind}_url" for kind in _NAMED_KINDS), *_FILES, "input_image", "input_audio", MADE_IMAGE})
"""Types of blocks that `media_of` knows."""


def text_part(text: str) -> Part:
    """A part that is text."""
    return {"type": "text", "text": text}


def media_of(block: Block) -> Part | None:
    """The part that a picture, a sound or a file becomes. None: the block is none of them."""
    kind = str(block.get("type") or block.get("kind") or block.get("block_type") or "").replace("-", "_")
    if kind in ("image_url", "input_image") or (not kind and "image_url" in block):
        return _image_at(_url(block.get("image_url")) or _url(block.get("url")), block)
    if kind == "input_audio":
        return _sound(block)
    if kind == MADE_IMAGE and isinstance(block.get("result"), str):
        return _named("image", {"data": block["result"], "format": block.get("output_format") or "png"})
    for name in ("inlineData", "inline_data", "fileData", "file_data", "media"):  # Gemini; Genkit
        if isinstance(inner := block.get(name), dict):
            return _named("", inner)
    for name in _NAMED_KINDS:  # Bedrock: {"image": {"format": "png", "source": {"bytes": …}}}
        if isinstance(inner := block.get(name), dict) and not kind:
            return _named(name, inner)
    return _typed(kind, block)


def _typed(kind: str, block: Block) -> Part | None:
    if kind in _FILES:
        inner = block.get("file")
        file = inner if isinstance(inner, dict) else block
        return _named(str(block.get("modality") or ""), file)
    name = kind.removesuffix("_url")
    return _named(name, block) if name in _NAMED_KINDS else None


def _named(kind: str, block: Block) -> Part:
    """A picture or a file of the fields that libraries give it."""
    inner = block.get("source")
    source: Block = inner if isinstance(inner, dict) else block
    mime = _mime(source) or _mime(block) or _mime_of_format(kind, block.get("format")) or _mime_of_data(_url(source.get("url")))
    if not kind or kind in ("file", "document"):
        told = mime.partition("/")[0]
        kind = told if told in _NAMED_KINDS else kind or "file"
    url, data = _url(_first(source, "url", "uri", "file_uri", "fileUri", "file_url", "image_url")), _data(source)
    if kind == "image":
        if data and data.startswith("data:"):
            return _image_at(data, block)
        if data and not _SHOWN.match(data) and (text := _base64(data)):
            return _image_at(f"data:{mime if mime.startswith('image/') else 'image/png'};base64,{text}", block)
        return _image_at(url or (data if "://" in data[:_LOOKED_AT] else ""), block)
    if kind == "audio" and data and mime in _SOUNDS and (text := _base64(data)):
        return {"type": "input_audio", "input_audio": {"data": text, "format": _SOUNDS[mime]}}
    return text_part(_placeholder(kind, _first(block, *_FILE_NAMES) or url or mime))


def _image_at(url: str, block: Block) -> Part:
    if not _SHOWN.match(url):
        return text_part(_placeholder("image", "" if url.startswith("data:") else url or _first(block, "file_id", "id")))
    image = {"url": url if url.startswith("data:") and ")" not in url else url.translate(_IN_MARKDOWN)}
    inner = block.get("image_url")
    detail = block.get("detail") or (inner.get("detail") if isinstance(inner, dict) else None)
    return {"type": "image_url", "image_url": image | ({"detail": detail} if detail in ("auto", "low", "high") else {})}


def _sound(block: Block) -> Part:
    sound = block.get("input_audio")
    if isinstance(sound, dict) and isinstance(data := sound.get("data"), str) and sound.get("format") in ("wav", "mp3"):
        return {"type": "input_audio", "input_audio": {"data": data, "format": sound["format"]}}
    return text_part(_placeholder("audio", ""))


_PLACEHOLDER = re.compile(rf"\[({'|'.join(_NAMED_KINDS)})(: [^\n]*)?\]")


def is_placeholder(text: str) -> bool:
    """Whether a text only says that there is something that cannot be shown."""
    return _PLACEHOLDER.fullmatch(text) is not None


def _placeholder(kind: str, name: str) -> str:
    return f"[{kind}: {name}]" if name else f"[{kind}]"


def _url(value: Any) -> str:
    """An address, or the one in `{"url": …}`."""
    if isinstance(value, dict):
        value = value.get("url")
    return value if isinstance(value, str) else ""


def _first(block: Block, *keys: str) -> str:
    return next((value for key in keys if isinstance(value := block.get(key), str) and value), "")


def _data(source: Block) -> str:
    return _first(source, "data", "bytes", "base64", "content", "image", "blob", "file_data")


def _base64(data: str) -> str:
    """The data, if it looks like base64, in its common alphabet. Empty: it does not."""
    return data.replace("-", "+").replace("_", "/") if _BASE64.fullmatch(data[:_LOOKED_AT]) else ""


def _mime(block: Block) -> str:
    mime = _first(block, *_TYPES).lower().partition(";")[0].strip()
    return mime if _MIME.fullmatch(mime) else ""


def _mime_of_data(url: str) -> str:
    found = _OF_DATA.match(url)
    return found[1] if found else ""


def _mime_of_format(kind: str, name: Any) -> str:
    mime = f"{kind}/{name}".lower()
    return mime if isinstance(name, str) and _MIME.fullmatch(mime) else ""
