"""Named experiments: one YAML file each, found, merged with what it extends, overridden and validated.

A name is looked up in this project's `registry/` and in the folders that other packages register under the
entry-point group `cesma_sb3.registry`: a path, an `importlib.resources` folder, or a function that returns
one.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cesma_sb3.config.documents import SUFFIXES, Document, data_folder, documents_in, find_document, is_name
from cesma_sb3.config.overrides import flatten, merge, nest
from cesma_sb3.config.schema import PATHS, RANDOM, Experiment
from cesma_sb3.config.validation import KeyPath, plain, validate
from cesma_sb3.config.yaml import check_finite
from cesma_sb3.errors import ConfigError, short_repr, unknown_name
from cesma_sb3.utils import modules
from cesma_sb3.utils.file_names import as_path

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable
else:
    from importlib.abc import Traversable

ENTRY_POINT_GROUP = "cesma_sb3.registry"
_KIND = "experiment"
_LONGEST_NAME = 100
"""Most letters of an experiment's name: folders have it in their names, with a time and a seed behind it."""
_NOT_INHERITED = ("name", "description", "baseline_of", "extends")


def list_experiments() -> dict[str, Traversable]:
    """Return every registered name and its file, sorted by name.

    Raises:
        DuplicateNameError: Two files have the same name.
        ConfigError: A folder that a package registers cannot be read.
    """
    return {name: document.file for name, document in sorted(documents_in(_folders(), _KIND).items())}


def describe_experiments() -> Iterator[tuple[str, str]]:
    """Yield every registered name and its description, unvalidated; of a broken file, the error."""
    for name, document in sorted(documents_in(_folders(), _KIND).items()):
        try:
            yield name, str(document.read().get("description", ""))
        except ConfigError as error:
            yield name, f"error: {error}"


def list_baselines(names: Collection[str]) -> list[str]:
    """Return the registered baselines of experiments, sorted by name.

    Args:
        names: The names of the experiments, which `baseline_of` of their baselines holds.

    Raises:
        ConfigError: A registered file cannot be read.
    """
    documents = sorted(documents_in(_folders(), _KIND).items())
    return [name for name, document in documents if document.read().get("baseline_of") in names]


def load_experiment(
    name_or_path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    check_names: bool = True,
    searches: bool = True,
    overridden_by: str = "override",
) -> Experiment:
    """Load and validate a registered experiment, or one in a file.

    Args:
        name_or_path: A registered name, or a YAML file: a `Path`, or text that ends with `.yaml`.
        overrides: Values that replace those of the file; keys nested, or dotted (`expert.n_envs`), or both.
            Arguments of an environment or a class stand below `kwargs`: `env.kwargs.n_agents`.
        check_names: Also check the names of classes and of their arguments, which imports PyTorch and SB3.
        searches: Import modules from the file's folder too, which is the user's own.
        overridden_by: The place of the overrides in error messages.

    Raises:
        UnknownNameError: No such name is registered.
        DuplicateNameError: Two files have the same name.
        ConfigError: A key or value is wrong, or the file cannot be read.
    """
    if overrides is not None and "name" in overrides:
        raise ConfigError(f"{overridden_by}: name: an experiment keeps the name of its file")
    document = find_document(name_or_path, _folders(), _KIND)
    values = _resolve(document, (), searches=searches and check_names)
    return _experiment(values, document.label, overrides or {}, check_names, overridden_by)


def make_experiment(values: Mapping[str, Any], overrides: Mapping[str, Any], *, called: str) -> Experiment:
    """Make and validate an experiment that stands in no file.

    Args:
        values: Nested values, as a file would hold them.
        overrides: The user's values in place of them, by dotted key or nested.
        called: The place of both in error messages.

    Raises:
        ConfigError: A key or value is wrong.
    """
    return _experiment(_with_absolute_paths(values, Path.cwd()), called, overrides, True, called)


def _experiment(
    values: Mapping[str, Any],
    label: str,
    overrides: Mapping[str, Any],
    check_names: bool,
    overridden_by: str,
) -> Experiment:
    """Validate values with overrides on top of them; `label` and `overridden_by` name them in errors."""
    overridden = [tuple(key.split(".")) for key in flatten(overrides)]
    change = _with_absolute_paths(nest(overrides), Path.cwd())
    check_finite(change, overridden_by)
    values = plain(values)
    check_finite(values, label)
    values = merge(values, change)

    def source(path: KeyPath) -> str:
        return overridden_by if any(_overlap(path, changed) for changed in overridden) else label

    experiment = validate(Experiment, values, source)
    if (length := len(experiment.name)) > _LONGEST_NAME:
        raise ConfigError(
            f"{source(('name',))}: name: expected at most {_LONGEST_NAME} letters, got {length}"
        )
    if not is_name(experiment.name):
        name = short_repr(experiment.name)
        raise ConfigError(f"{source(('name',))}: name: expected letters, digits and - _ . only, got {name}")
    if check_names:
        from cesma_sb3.config.resolve import KeyPathError, checked_arguments  # imports PyTorch

        try:
            integers = checked_arguments(experiment)
        except KeyPathError as error:
            raise ConfigError(f"{source(error.path)}: {'.'.join(error.path)}: {error}") from None
        if integers:
            experiment = validate(Experiment, merge(values, integers), source)
    return experiment


def _overlap(a: KeyPath, b: KeyPath) -> bool:
    return all(x == y for x, y in zip(a, b, strict=False))


def _folders() -> Iterator[tuple[Traversable, str]]:
    """Yield the folders of experiments and their names in error messages."""
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
    """Return a file's values on top of those of the experiment that it extends.

    Args:
        document: The file.
        chain: The files that extend this one, to find a circle.
        searches: Import modules from the folder of each file that was given by its path, from now on.

    Raises:
        ConfigError: A file cannot be read, has another name than its experiment, or extends itself.
    """
    values = document.read()
    if document.folder is not None:
        values = _with_absolute_paths(values, document.folder)
    _check_name(document, values)
    own_folder = document.folder if searches and not document.registered else None
    if "extends" not in values:
        if own_folder is not None:
            modules.look_in(own_folder)
        return {"name": document.name, **values}
    called = document.name if document.registered else str(Path(str(document.file)).resolve())
    if called in chain:
        names = (Path(each).name for each in (*chain, called))
        raise ConfigError(f"{document.label}: extends: a circle: {' -> '.join(names)}")
    parent = _resolve(_extended(document, values["extends"]), (*chain, called), searches=searches)
    if own_folder is not None:  # before the folders of what it extends
        modules.look_in(own_folder)
    inherited = {key: value for key, value in parent.items() if key not in _NOT_INHERITED}
    own = {key: value for key, value in values.items() if key != "extends"}
    return {"name": document.name, "description": "", **merge(inherited, own)}


def _extended(document: Document, name: Any) -> Document:
    """Find what a file extends: a registered experiment, or a file, relative to the first one's folder."""
    label = f"{document.label}: extends"
    if not isinstance(name, str):
        raise ConfigError(f"{label}: expected the name of an experiment, got {short_repr(name)}")
    if name.endswith(SUFFIXES) and document.folder is not None:
        path = document.folder / as_path(name)
        return Document(path.stem, path, str(Path(document.label).parent / name), registered=False)
    documents = documents_in(_folders(), _KIND)
    if name not in documents:
        problem = unknown_name(_KIND, name, documents)
        raise ConfigError(f"{label}: {problem}, or a file that ends with .yaml")
    return documents[name]


def _with_absolute_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return nested values in which the paths (`PATHS`), relative to `folder`, are absolute."""
    located = dict(values)
    for section, key in PATHS:
        inner = located.get(section)
        if isinstance(inner, Mapping) and isinstance(path := inner.get(key), str) and path:
            is_run = key == "init_from"
            found = _located_run(path, folder) if is_run else str((folder / as_path(path)).resolve())
            located[section] = {**inner, key: found}
    env = located.get("env")
    if isinstance(env, Mapping) and isinstance(others := env.get("others"), str):
        located["env"] = {**env, "others": _located_others(others, folder)}
    return located


def _located_others(others: str, folder: Path) -> str:
    """Return `env.others` with an absolute path, where it is a folder and no name."""
    is_name = not others or others == RANDOM or modules.NAME.fullmatch(others) is not None
    return others if is_name else _located_run(others, folder)


def _located_run(run: str, folder: Path) -> str:
    """Return a run folder's absolute path; a name that no folder has may be a pretrained team's: it stays."""
    path = folder / as_path(run)
    return run if path.name == run and not path.exists() else str(path.resolve())


def _check_name(document: Document, values: Mapping[str, Any]) -> None:
    # A registered file has the name of its experiment; a run folder's config.yaml can be run as it is.
    if document.registered and values.get("name", document.name) != document.name:
        given = short_repr(values["name"])
        raise ConfigError(f"{document.label}: name: expected {document.name!r}, the file's name, got {given}")
