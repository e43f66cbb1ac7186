"""One centralized Stable-Baselines3 controller into one policy per agent, by multi-agent DAgger (CESMA).

The public names are listed in `__init__.pyi`, which editors and type checkers read. Each is imported when it
is first used, so that `import cesma_sb3` alone imports neither PyTorch nor anything else that is slow.
"""

from importlib import import_module
from pathlib import Path

# Each line of the stub is `from MODULE import NAME as NAME`.
_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8").splitlines()
_IMPORTS = (line.split() for line in _STUB if line.startswith("from "))
_MODULES = dict(sorted((words[3], words[1]) for words in _IMPORTS))
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
