"""One centralized Stable-Baselines3 controller into one policy per agent, by multi-agent DAgger (CESMA).

The public names are listed in `__init__.pyi`, which editors and type checkers read. Each is imported when it
is first used, so that `import cesma_sb3` alone imports neither PyTorch nor anything else that is slow.
"""

from importlib import import_module

with open(f"{__path__[0]}/__init__.pyi", encoding="utf-8") as _stub:  # noqa: PTH123  # pathlib takes as long as the rest
    # Each line is `from MODULE import NAME as NAME`.
    _MODULES = {line.split()[3]: line.split()[1] for line in _stub if line.startswith("from ")}
__all__ = sorted(_MODULES)  # noqa: PLE0605  # the stub is what tools read


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
