"""What mkdocs does here besides Markdown: pages of the API, and links that leave the site.

A page for each room of the package, in their order, and one of the public names before them; none of them is
a file, so none can be forgotten.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cesma_sb3"
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the API at the end of the navigation."""
    pages = [{"Public names": "api/index.md"}, *({room: f"api/{room}.md"} for room in _rooms())]
    config.nav = [*(config.nav or []), {"API": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Makes the pages of the API."""
    files.append(File.generated(config, "api/index.md", content=_public()))
    for room in _rooms():
        modules = "\n\n".join(f"::: {module}" for module in _modules(room))
        files.append(File.generated(config, f"api/{room}.md", content=f"# {room}\n\n{modules}\n"))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Leaves the name of a link to a file that is in the repository and not on the site."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        inside = (folder / target).resolve().is_relative_to(ROOT / "docs")
        return link[0] if inside else text

    return _LINK.sub(shown, markdown)


def _rooms() -> list[str]:
    """Rooms in the order of the page on architecture; private ones are left out."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)` \|", page[page.index("## Rooms") : page.index("## One run")], re.M)
    return [room for room in rooms if not room.startswith("_")]


def _modules(room: str) -> list[str]:
    """The room's modules, the package's own docstring first."""
    if not (PACKAGE / room).is_dir():
        return [f"cesma_sb3.{room}"]
    found = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not any(part.startswith("_") and part != "__init__" for part in parts):
            found.append(".".join(part for part in parts if part != "__init__"))
    return found


def _public() -> str:
    sys.path.insert(0, str(ROOT))
    import cesma_sb3  # light: the names are loaded when they are first used

    names = "\n\n".join(f"::: cesma_sb3.{name}" for name in cesma_sb3.__all__)
    return f"# Public names\n\nOf `import cesma_sb3`.\n\n{names}\n"
