"""What `make site` adds to the pages of docs/: a hook of MkDocs.

The pages are written for a reader of the repository: they link to the README, to examples and to files of code. Here the README
becomes the first page, the other Markdown files outside docs/ become pages, and each file that a page links to is put beside
them. So a link leads to the same in the repository and on the site, and MkDocs checks all of them.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "proto/README.md")
"""Outside docs/ and examples/."""
FILES = "files"
"""The folder of the site with the files that are no pages."""
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]+)(?P<anchor>(?:#[^)\s]*)?)\)")
OUTSIDE = re.compile(r"[a-z]+:")
LIST = re.compile(r"( *)([-*]|\d+\.) ")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """MkDocs' event: the settings are read. Adds the decisions, which need no list of their own in mkdocs.yml."""
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    (design,) = (section["Design"] for section in config.nav or [] if "Design" in section)
    design.append({"Decisions": ["adr/README.md", *(f"adr/{name}" for name in decisions)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs' event: all files are known. Adds those that stand outside docs/."""
    pages = [*PAGES, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("examples/**/README.md")))]
    for source in (page for page in pages if "node_modules" not in page and (ROOT / page).exists()):
        files.append(File.generated(config, place_of(source), content=(ROOT / source).read_text()))
    for file in files.documentation_pages():
        for target in links(source_of(file.src_uri), file.content_string):
            uri = place_of(target)
            if uri.startswith(FILES) and files.get_file_from_path(uri) is None and (ROOT / target).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """MkDocs' event: a page is read. Its links are turned to where their targets stand on the site."""
    source = source_of(page.file.src_uri)
    folder = posixpath.dirname(page.file.src_uri)

    def turned(match: "re.Match[str]") -> str:
        if OUTSIDE.match(match["path"]):
            return match[0]
        target = target_of(source, match["path"])
        if (ROOT / target).is_dir():  # a site does not list folders
            return match["text"]
        place = posixpath.relpath(place_of(target), folder or ".")
        return f"[{match['text']}]({place}{match['anchor']})"

    return LINK.sub(turned, with_blank_lines(markdown))


def source_of(uri: str) -> str:
    """A page's place on the site → its path in the repository."""
    if uri == "index.md":
        return "README.md"
    return uri if uri in PAGES or uri.startswith("examples/") else f"docs/{uri}"


def place_of(path: str) -> str:
    """A path in the repository → its place on the site."""
    if path == "README.md":
        return "index.md"
    if path in PAGES or (path.startswith("examples/") and path.endswith("README.md")):
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{FILES}/{path}"


def target_of(source: str, link: str) -> str:
    """A link in a page of the repository → the path that it leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def links(source: str, markdown: str) -> Iterator[str]:
    """The paths in the repository that a page links to."""
    return (target_of(source, link) for _, link, _ in LINK.findall(markdown) if not OUTSIDE.match(link))


def with_blank_lines(markdown: str) -> str:
    """A list may follow a paragraph at once in the repository; Python-Markdown wants an empty line between them."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        before = lines[-1] if lines else ""
        if not fenced and LIST.match(line) and before.strip() and not before.startswith((" ", "#")) and not LIST.match(before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
