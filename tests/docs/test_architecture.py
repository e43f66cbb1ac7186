"""docs/architecture.md is true of the tree: the rooms exist, none is missing, imports follow the order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cesma_sb3"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)` \|", PAGE[PAGE.index("## Rooms") : PAGE.index("## One run")], flags=re.M)
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(name):
    """The room of a dotted name; None for the package itself and for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "cesma_sb3" and len(parts) > 1 else None


def imports(tree, module):
    """Every dotted name that is imported, at the top and inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_exists_once():
    assert len(ROOMS) == len(set(ROOMS)) > 10
    for room in ROOMS:
        assert (PACKAGE / room / "__init__.py").exists() != (PACKAGE / f"{room}.py").exists(), room


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_lies_in_a_room_and_imports_only_from_rooms_above(module):
    room = module.with_suffix("").parts[1]
    assert room in ROOMS
    for name in imports(ast.parse((ROOT / module).read_text()), module):
        if name.split(".")[0] != "cesma_sb3":
            continue
        other = room_of(name)
        assert other in ROOMS, f"{module} imports {name}, which belongs to no room"
        assert ROOMS.index(other) <= ROOMS.index(room), f"{module} imports {name}, from a room below its own"


def test_every_file_named_exists():
    for name in re.findall(r"`((?:cesma_sb3|registry)/[\w/.-]+)`", PAGE):
        assert name == "registry/NAME.yaml" or (ROOT / name).exists(), name


def test_files_that_the_pipeline_writes_are_the_ones_named():
    from cesma_sb3 import runs

    for name in (runs.CONFIG, runs.RUN, runs.REPORT, runs.FIGURE, runs.EVALUATIONS):
        assert f"`{name}`" in PAGE
    for folder in (runs.EXPERT, runs.STUDENTS):
        assert f"`{folder}/`" in PAGE
