"""docs/architecture.md is true of the tree: the rooms exist, none is missing, imports follow the order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cesma_sb3"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)` \|", PAGE[PAGE.index("## Rooms") : PAGE.index("## One run")], flags=re.M)
OUTSIDE = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py") if path not in OUTSIDE)


def room_of(name):
    """The room of a dotted name; None for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(tree):
    """Every dotted name that is imported: at the top, inside functions, for type checkers, by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
            "import_module",
            "__import__",
        ):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def wrong_imports(source, room):
    """What a module of a room imports and must not: what is below it, in no room, or relative."""
    for name in imports(ast.parse(source)):
        if name.startswith("."):
            yield f"{name} is relative"
        elif name.split(".")[0] == "cesma_sb3":
            other = room_of(name)
            if other not in ROOMS:
                yield f"{name} belongs to no room"
            elif ROOMS.index(other) > ROOMS.index(room):
                yield f"{name} is of a room below {room}"


def test_every_room_exists_once():
    assert len(ROOMS) == len(set(ROOMS)) == 16
    for room in ROOMS:
        assert (PACKAGE / room / "__init__.py").exists() != (PACKAGE / f"{room}.py").exists(), room


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_lies_in_a_room_and_imports_only_from_rooms_above(module):
    room = module.with_suffix("").parts[1]
    assert room in ROOMS
    assert list(wrong_imports((ROOT / module).read_text(), room)) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from cesma_sb3.imitation import Batch", "cesma_sb3.imitation.Batch is of a room below envs"),
        ("import cesma_sb3.imitation.losses", "cesma_sb3.imitation.losses is of a room below envs"),
        ("from cesma_sb3 import cli", "cesma_sb3.cli is of a room below envs"),
        ("def f():\n    from cesma_sb3.cli import main", "cesma_sb3.cli.main is of a room below envs"),
        ("if TYPE_CHECKING:\n    import cesma_sb3.cli", "cesma_sb3.cli is of a room below envs"),
        ("importlib.import_module('cesma_sb3.cli')", "cesma_sb3.cli is of a room below envs"),
        ("__import__('cesma_sb3.cli')", "cesma_sb3.cli is of a room below envs"),
        ("import cesma_sb3", "cesma_sb3 belongs to no room"),
        ("from cesma_sb3 import run", "cesma_sb3.run belongs to no room"),
        ("from cesma_sb3.nowhere import x", "cesma_sb3.nowhere.x belongs to no room"),
        ("from . import factory", "..factory is relative"),
        ("from ..imitation import losses", "..imitation.losses is relative"),
    ],
)
def test_a_wrong_import_is_found(source, wrong):
    assert list(wrong_imports(source, "envs")) == [wrong]


def test_right_imports_are_not():
    right = "import torch\nfrom cesma_sb3.errors import SpaceError\nfrom cesma_sb3.spaces.layout import Part"
    assert list(wrong_imports(right, "envs")) == []


def test_every_file_named_exists():
    for name in re.findall(r"`((?:cesma_sb3|registry)/[\w/.-]+)`", PAGE):
        assert name == "registry/NAME.yaml" or (ROOT / name).exists(), name


def test_files_that_the_pipeline_writes_are_the_ones_named():
    from cesma_sb3.training import run_folder as files

    for name in (files.CONFIG, files.RUN, files.REPORT, files.FIGURE, files.EVALUATIONS):
        assert f"`{name}`" in PAGE
    for folder in (files.EXPERT, files.STUDENTS):
        assert f"`{folder}/`" in PAGE
