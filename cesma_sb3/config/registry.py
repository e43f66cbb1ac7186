"""Named experiments: one YAML file each, found, read, merged and validated.

A name is looked up in this project's `registry/` and in the folders that other packages register under the
entry-point group `cesma_sb3.registry`: a path, an `importlib.resources` folder, or a function that gives one.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cesma_sb3.config.schema import PATHS, Experiment
from cesma_sb3.config.validation import plain, schema_of, validate
from cesma_sb3.config.yaml import check_finite, read_mapping
from cesma_sb3.errors import ConfigError, DuplicateNameError, UnknownNameError, short_repr, unknown_name
from cesma_sb3.utils import modules
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.plugins import entry_points

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable
else:
    from importlib.abc import Traversable

ENTRY_POINT_GROUP = "cesma_sb3.registry"

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100
"""Letters: with a time and a seed behind it, a folder is called so."""
LARGEST = 2**18
"""Bytes of a file of values: thousands of keys, and YAML is read slowly."""
_DEPENDENTS = {
    (part, key): dependents
    for part, field in Experiment.model_fields.items()
    for key, dependents in getattr(schema_of(field.annotation), "dependents", {}).items()
}
"""By a part's key, the keys beside it that start anew with another value of it."""
_NOT_INHERITED = ("name", "description", "baseline_of", "extends")


@dataclasses.dataclass(frozen=True)
class Document:
    """One YAML file of an experiment, or of other data that is looked up by name."""

    name: str
    file: Traversable
    label: str
    """What errors call the file."""
    registered: bool = True
    """False for a file that was named by its path."""

    @property
    def folder(self) -> Path | None:
        """Where the file lies; None inside of an archive."""
        return self.file.absolute().parent if isinstance(self.file, Path) else None

    def read(self) -> dict[str, Any]:
        """What the file holds.

        Raises:
            ConfigError: It cannot be read, or is not a mapping in YAML.
        """
        try:
            with self.file.open("rb") as file:
                content = file.read(LARGEST + 1)
            text = content.decode("utf-8-sig")
        except FileNotFoundError:
            raise ConfigError(f"{self.label}: no such file") from None
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no name of a file
            told = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{self.label}: cannot be read: {told}") from None
        if len(content) > LARGEST:
            raise ConfigError(f"{self.label}: cannot be read: expected at most {LARGEST:,} bytes")
        return read_mapping(text, self.label)


def list_experiments() -> dict[str, Traversable]:
    """Every registered name and its file, sorted by name.

    Raises:
        DuplicateNameError: Two files have one name.
        ConfigError: A folder that a package registers cannot be read.
    """
    return {name: document.file for name, document in sorted(_documents().items())}


def describe_experiments() -> Iterator[tuple[str, str]]:
    """Every registered name and its description, unvalidated; for a broken file, what is wrong with it."""
    for name, document in sorted(_documents().items()):
        try:
            yield name, str(document.read().get("description", ""))
        except ConfigError as error:
            yield name, f"error: {error}"


def load_experiment(
    name_or_path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    check_names: bool = True,
    searches: bool = True,
    overridden_by: str = "override",
) -> Experiment:
    """The experiment of that name or in that file, validated.

    Args:
        name_or_path: A registered name, or a YAML file: a `Path`, or text that ends with `.yaml`.
        overrides: Values that replace those of the file; keys nested, or dotted (`expert.n_envs`), or both.
            Arguments of an environment or a class stand below `kwargs`: `env.kwargs.n_agents`.
        check_names: Also check the names of classes and of their arguments, which imports PyTorch and SB3.
        searches: Whether modules are looked for in the folder of the file, which is the user's own.
        overridden_by: What errors call the place of the overrides.

    Raises:
        UnknownNameError: No such name is registered.
        DuplicateNameError: Two files have one name.
        ConfigError: A key or value is wrong, or the file cannot be read.
    """
    if overrides is not None and "name" in overrides:
        raise ConfigError(f"{overridden_by}: name: an experiment keeps the name of its file")
    document = find_document(name_or_path, _folders(), "experiment")
    values = _resolve(document, (), searches=searches and check_names)
    return _experiment(values, document.label, overrides, check_names, overridden_by)


def make_experiment(values: Mapping[str, Any], overrides: Mapping[str, Any], *, called: str) -> Experiment:
    """An experiment that stands in no file, validated: see `load_experiment`.

    Args:
        values: As a file would hold them.
        overrides: What the user said, on top of them.
        called: What errors call both.

    Raises:
        ConfigError: A key or value is wrong.
    """
    return _experiment(located(values, Path.cwd()), called, overrides, True, called)


def _experiment(
    data: Mapping[str, Any],
    label: str,
    overrides: Mapping[str, Any] | None,
    check_names: bool,
    overridden_by: str,
) -> Experiment:
    """Values with others on top of them, validated."""
    overrides = overrides or {}
    overridden = [path for path, _ in flatten(overrides)]
    change = located(nested(overrides), Path.cwd())
    check_finite(change, overridden_by)
    data = plain(data)
    check_finite(data, label)
    data = _merge(data, change)

    def source(path: tuple[str, ...]) -> str:
        return overridden_by if any(_overlap(path, changed) for changed in overridden) else label

    experiment = validate(Experiment, data, source)
    if (length := len(experiment.name)) > _LONGEST_NAME:
        raise ConfigError(
            f"{source(('name',))}: name: expected at most {_LONGEST_NAME} letters, got {length}"
        )
    if not is_name(experiment.name):
        name = short_repr(experiment.name)
        raise ConfigError(f"{source(('name',))}: name: expected letters, digits and - _ . only, got {name}")
    if check_names:
        from cesma_sb3.config import resolve  # imports PyTorch

        problem = resolve.find_problem(experiment)
        if problem is not None:
            path, message = problem
            raise ConfigError(f"{source(path)}: {'.'.join(path)}: {message}")
        if change := resolve.whole_arguments(experiment):
            experiment = validate(Experiment, _merge(data, change), source)
    return experiment


def is_name(text: str) -> bool:
    """Whether it can be a name, which files and folders are called by: letters, digits and - _ . only."""
    return _NAME.fullmatch(text) is not None


def data_folder(name: str) -> Path:
    """A folder of this project's data: inside of the package in a wheel, at the top of a checkout."""
    installed, checkout = _PACKAGE / "_data" / name, _PACKAGE.parent / name
    return installed if installed.is_dir() else checkout


def find_document(
    name_or_path: str | Path, folders: Iterable[tuple[Traversable, str]], kind: str
) -> Document:
    """The YAML file of that name in one of the folders, or at that path.

    Args:
        name_or_path: A name, or a YAML file: a `Path`, or text that ends with `.yaml`.
        folders: Where to look for a name, and what errors call it.
        kind: Of thing that is looked for, as errors call it.

    Raises:
        UnknownNameError: There is none.
        DuplicateNameError: Two files have one name.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(_SUFFIXES):
        path = as_path(name_or_path)
        return Document(path.stem, path, str(name_or_path), registered=False)
    documents = _named(folders, kind)
    if name_or_path not in documents:
        beside = [file for file in map(f"{name_or_path}{{}}".format, _SUFFIXES) if Path(file).is_file()]
        hint = f"; there is a file {beside[0]}: did you mean that?" if beside else ""
        told = unknown_name(kind, name_or_path, documents)
        raise UnknownNameError(f"{told}, or a file that ends with .yaml{hint}")
    return documents[name_or_path]


def _documents() -> dict[str, Document]:
    """Every registered experiment by name."""
    return _named(_folders(), "experiment")


def _named(folders: Iterable[tuple[Traversable, str]], kind: str) -> dict[str, Document]:
    """Every YAML file by name."""
    found: dict[str, Document] = {}
    for folder, label in folders:
        for file in folder.iterdir():
            if not file.name.endswith(_SUFFIXES) or file.name.startswith("."):
                continue
            name = file.name.rpartition(".")[0]
            if not is_name(name):
                raise ConfigError(f"{label}/{file.name}: a name has letters, digits and - _ . only")
            if name in found:
                raise DuplicateNameError(
                    f"{kind} {name!r} is registered twice: by {found[name].file} and {file}"
                )
            found[name] = Document(name, file, f"{label}/{file.name}")
    return found


def _folders() -> Iterator[tuple[Traversable, str]]:
    """Folders of experiments, and what errors call them."""
    yield data_folder("registry"), "registry"
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        who = f"entry point {entry.name!r} of {ENTRY_POINT_GROUP} ({entry.value})"
        try:
            loaded = entry.load()
            folder = loaded() if callable(loaded) else loaded
            folder = Path(folder) if isinstance(folder, str) else folder
        except Exception as error:  # whatever a foreign module raises while it is imported or called
            raise ConfigError(
                f"{who}: cannot be loaded: {type(error).__name__}: {short_repr(str(error))}"
            ) from error
        if not (isinstance(folder, Traversable) and folder.is_dir()):
            raise ConfigError(f"{who}: expected a folder, got {short_repr(folder)}")
        yield folder, str(folder)


def _resolve(document: Document, chain: tuple[str, ...] = (), *, searches: bool = False) -> dict[str, Any]:
    """A file's values on top of those of the experiment that it extends.

    Where it `searches`, modules are found beside each file of the chain from now on.
    """
    data = document.read()
    if document.folder is not None:
        data = located(data, document.folder)
    _check_name(document, data)
    mine = document.folder if searches and not document.registered else None
    if "extends" not in data:
        if mine is not None:
            modules.look_in(mine)
        return {"name": document.name, **data}
    called = document.name if document.registered else str(Path(str(document.file)).resolve())
    if called in chain:
        names = (Path(each).name for each in (*chain, called))
        raise ConfigError(f"{document.label}: extends: a circle: {' -> '.join(names)}")
    parent = _resolve(_extended(document, data["extends"]), (*chain, called), searches=searches)
    if mine is not None:  # before the folders of what it extends
        modules.look_in(mine)
    inherited = {key: value for key, value in parent.items() if key not in _NOT_INHERITED}
    own = {key: value for key, value in data.items() if key != "extends"}
    return {"name": document.name, "description": "", **_merge(inherited, own)}


def _extended(document: Document, name: Any) -> Document:
    """What a file extends: a registered experiment, or a file that lies beside it."""
    if not isinstance(name, str):
        raise ConfigError(
            f"{document.label}: extends: expected the name of an experiment, got {short_repr(name)}"
        )
    if name.endswith(_SUFFIXES) and document.folder is not None:
        path = document.folder / as_path(name)
        return Document(path.stem, path, str(Path(document.label).parent / name), registered=False)
    documents = _documents()
    if name not in documents:
        told = unknown_name("experiment", name, documents)
        raise ConfigError(f"{document.label}: extends: {told}, or a file that ends with .yaml")
    return documents[name]


def located(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Values whose paths (`PATHS`) are absolute.

    Args:
        values: Nested, as a file holds them.
        folder: What a relative path is relative to.
    """
    found = dict(values)
    for section, key in PATHS:
        inner = found.get(section)
        if isinstance(inner, Mapping) and isinstance(path := inner.get(key), str) and path:
            found[section] = {**inner, key: str((folder / as_path(path)).resolve())}
    return found


def _check_name(document: Document, data: Mapping[str, Any]) -> None:
    # Only in a registry is a file called as its experiment: a run folder's config.yaml can be run as it is.
    if document.registered and data.get("name", document.name) != document.name:
        given = short_repr(data["name"])
        raise ConfigError(
            f"{document.label}: name: expected {document.name!r}, as the file is called, got {given}"
        )


def _merge(base: Mapping[str, Any], change: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """`change` on top of `base`: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, dependents in ((at[-1], _DEPENDENTS[at]) for at in _DEPENDENTS if at[:-1] == path):
        if key in change and change[key] != base.get(key, change[key]):
            merged = {name: value for name, value in merged.items() if name not in dependents}
    for key, value in change.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value, (*path, key)) if both else value  # type: ignore[arg-type]  # checked
    return merged


def flatten(
    overrides: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves of nested and dotted keys, as paths."""
    for key, value in overrides.items():
        here = (*path, *str(key).split("."))
        if isinstance(value, Mapping) and value:
            yield from flatten(value, here)
        else:
            yield here, value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested and dotted keys as a file would hold them: nested, of YAML's kinds of values."""
    found: dict[str, Any] = {}
    for path, value in flatten(values):
        found = _merge(found, _nest(path, plain(value)))
    return found


def _nest(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value  # type: ignore[no-any-return]  # a path has at least one key


def _overlap(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    return all(x == y for x, y in zip(a, b, strict=False))
