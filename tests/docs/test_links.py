"""Every link of every page leads to a file that exists, and to a heading that it has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "tuning").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)


def headings(page):
    """The anchors of a page, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            assert anchor in headings(found), target


def test_every_test_that_is_selected_by_name_is_there():
    """Those that mutants are tried on (`[tool.mutmut]`)."""
    named = re.findall(r'"(tests/[\w/]+\.py)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_links_to_pages_that_are_missing_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Bring `it`: a story\n\n```\n# no heading\n```\n## The 2nd one, at last\n")
    assert headings(page) == {"bring-it-a-story", "the-2nd-one-at-last"}
