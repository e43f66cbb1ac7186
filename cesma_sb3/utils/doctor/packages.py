"""Python, this package, what it needs, and its extras."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3.utils.doctor.finding import NOTE, OK, WRONG, Finding
from cesma_sb3.utils.doctor.probe import Probe
from cesma_sb3.utils.installation import (
    NAME,
    install_command,
    pip_install,
    requirements_of,
    set_of_dependencies,
    version_of,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DEVELOPERS = ("test", "lint")
"""Extras of whoever changes this package."""
_MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""Modules that are not called as their distributions are."""
_PACKAGE = Path(__file__).parents[2]


def module_of(distribution: str) -> str:
    """Return the module that a distribution is imported as."""
    return _MODULES.get(distribution.lower(), distribution.lower().replace("-", "_"))


def own_modules() -> list[str]:
    """Return the names of all modules of this package. None of them needs an extra to be imported."""
    files = sorted(path.relative_to(_PACKAGE.parent).with_suffix("") for path in _PACKAGE.rglob("*.py"))
    names = [".".join(path.parts).removesuffix(".__init__") for path in files if path.name != "__main__"]
    return [name for name in names if "._data" not in name]


def modules_to_try() -> list[str]:
    """Return the modules of all that this package needs, and of the extras that are there.

    Raises:
        ImportError: The package `packaging` is missing.
    """
    needs = [*requirements_of(NAME), *(need for extra in _extras() for need in requirements_of(NAME, extra))]
    return list(dict.fromkeys(module_of(need.name) for need in needs if version_of(need.name)))


def python() -> Iterator[Finding]:
    """This Python and this package: what they are, and where the package lies."""
    about = f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}"
    yield Finding("python", "Python", about)
    version = version_of(NAME)
    if version is None:
        text = f"is not installed; its files lie in {_PACKAGE}"
        fix = f"pip install -e {shlex.quote(str(_PACKAGE.parent))}"
        yield Finding("python", NAME, text, WRONG, fix)
        return
    yield Finding("python", NAME, f"{version} in {_PACKAGE}")
    found = metadata.distribution(NAME)
    place = _place(found)
    if place.resolve() != _PACKAGE.resolve():
        text = f"is installed in {place}, but imported from {_PACKAGE}"
        yield Finding("python", NAME, text, NOTE)
    names = found.metadata.get_all("Classifier") or []
    tried = [name.split(" :: ")[-1] for name in names if re.search(r":: Python :: 3\.\d+$", name)]
    if tried and "{}.{}".format(*sys.version_info) not in tried:
        yield Finding("python", "Python", f"is none that was tried: {', '.join(tried)}", NOTE)


def _place(found: metadata.Distribution) -> Path:
    """Return the folder that a distribution installed this package as."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        origin = {}
    if origin.get("dir_info", {}).get("editable"):
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(origin["url"]).path)) / _PACKAGE.name
    return Path(str(found.locate_file(_PACKAGE.name)))


def packages(probe: Probe) -> Iterator[Finding]:
    """What this package needs: the versions, whether they fit each other, and whether they can be imported.

    Raises:
        ImportError: The package `packaging` is missing.
    """
    yield _set()
    required = metadata.metadata(NAME)["Requires-Python"]
    if required is not None:
        from packaging.specifiers import SpecifierSet

        if not SpecifierSet(required).contains(platform.python_version(), prereleases=True):
            text = f"{platform.python_version()}: expected {required}"
            yield Finding("packages", "Python", text, WRONG, "make an environment with another Python")
    for need in requirements_of(NAME):
        yield _finding("packages", need, probe)
    yield from _own(probe)
    yield from _neighbours()
    if version_of("pygame") and version_of("pygame-ce"):
        keep = "pygame" if set_of_dependencies() == "pinned" else "pygame-ce"
        text = "and pygame-ce install the same folder, and break each other"
        fix = f"pip uninstall -y pygame pygame-ce && pip install {keep}"
        yield Finding("packages", "pygame", text, WRONG, fix)


def _set() -> Finding:
    which = set_of_dependencies()
    if which == "mixed":
        text = "mixed: Gymnasium is of pinned and Stable-Baselines3 of modern, or the other way round"
        return Finding("packages", "set", text, NOTE, "pip install 'gymnasium>=1' 'stable-baselines3>=2.4'")
    return Finding("packages", "set", which)


def _finding(topic: str, need: Requirement, probe: Probe) -> Finding:
    version, module = version_of(need.name), module_of(need.name)
    alone = "--no-deps " if need.name == "imitation" and set_of_dependencies() != "pinned" else ""
    fix = pip_install(need).replace("install ", f"install {alone}", 1)
    if version is None:
        return Finding(topic, need.name, f"is not installed: expected {need.specifier or 'any'}", WRONG, fix)
    if not need.specifier.contains(version, prereleases=True) and not _is_modern_mpe2(need):
        return Finding(topic, need.name, f"{version}: expected {need.specifier}", WRONG, fix)
    if module in probe.errors:
        return _broken(topic, need, module, probe)
    return Finding(topic, need.name, version)


def _is_modern_mpe2(need: Requirement) -> bool:
    """Whether mpe2 is above the ceiling, which is there for pygame, and pygame-ce is installed."""
    return need.name == "mpe2" and version_of("pygame-ce") is not None


def _broken(topic: str, need: Requirement, module: str, probe: Probe) -> Finding:
    """A distribution that is there and cannot be imported: it lacks another one, or is torn."""
    lacks = (probe.missing[module] or module).partition(".")[0]
    version = version_of(need.name)
    again = f"pip install --force-reinstall --no-deps {need.name}=={version}"
    fix = f"pip install {lacks}" if lacks != module else pip_install(need) if need.extras else again
    return Finding(topic, need.name, f"{version}: cannot be imported: {probe.errors[module]}", WRONG, fix)


def _own(probe: Probe) -> Iterator[Finding]:
    """The first module of this package that cannot be imported, though what it needs can be."""
    for module, error in probe.errors.items():
        if module.partition(".")[0] == _PACKAGE.name:
            lacks = (probe.missing[module] or _PACKAGE.name).partition(".")[0]
            fix = None if lacks == _PACKAGE.name else f"pip install {lacks}"
            yield Finding("packages", module, f"cannot be imported: {error}", WRONG, fix)


def _neighbours() -> Iterator[Finding]:
    """Versions that do not fit each other among all that is needed here, as `pip check` has them.

    imitation is left out: set `modern` has newer releases than its metadata allows. What it really needs is
    seen when it is imported.
    """
    waiting = [need.name for extra in ("", *_extras()) for need in requirements_of(NAME, extra)]
    seen = {"imitation"}
    while waiting:
        owner = waiting.pop()
        if owner.lower() in seen or version_of(owner) is None:
            continue
        seen.add(owner.lower())
        for need in requirements_of(owner):
            version = version_of(need.name)
            waiting.append(need.name)
            if version is not None and need.specifier.contains(version, prereleases=True):
                continue
            has = "is not installed" if version is None else version
            text = f"{has}: {owner} {version_of(owner)} expects {need.specifier or 'it'}"
            yield Finding("packages", need.name, text, WRONG, pip_install(need))


def _extras() -> list[str]:
    names = metadata.metadata(NAME).get_all("Provides-Extra") or []
    return [name for name in names if name not in _DEVELOPERS]


def extras(probe: Probe) -> Iterator[Finding]:
    """The optional parts: which are there, and how to add the others.

    Raises:
        ImportError: The package `packaging` is missing.
    """
    for extra in _extras():
        needs = list(requirements_of(NAME, extra))
        absent = [need.name for need in needs if version_of(need.name) is None]
        if not needs:
            yield Finding("extras", extra, "is not for this Python", NOTE)
        elif absent:
            text = f"is not installed: {', '.join(absent)}"
            yield Finding("extras", extra, text, NOTE, install_command(extra))
        else:
            found = [_finding(extra, need, probe) for need in needs]
            wrong = [each for each in found if each.status != OK]
            for each in wrong:
                yield Finding("extras", f"{extra}: {each.name}", each.text, each.status, each.fix)
            if not wrong:
                versions = ", ".join(f"{need.name} {version_of(need.name)}" for need in needs)
                yield Finding("extras", extra, f"({versions})")
