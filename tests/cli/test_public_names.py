"""The public names of the package."""

import subprocess
import sys
import types

import pytest

import cesma_sb3


@pytest.mark.parametrize("name", cesma_sb3.__all__)
def test_every_public_name_loads(name):
    value = getattr(cesma_sb3, name)
    assert value.__name__ == name
    assert value.__module__.startswith("cesma_sb3.")
    assert getattr(cesma_sb3, name) is value


def test_all_is_what_is_exported():
    for name in cesma_sb3.__all__:
        getattr(cesma_sb3, name)
    public = {
        name
        for name, value in vars(cesma_sb3).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and hasattr(value, "__module__")
    }
    assert {name for name in public if vars(cesma_sb3)[name].__module__.startswith("cesma_sb3")} == set(
        cesma_sb3.__all__
    )
    assert sorted(cesma_sb3.__all__) == cesma_sb3.__all__
    assert set(cesma_sb3.__all__) <= set(dir(cesma_sb3))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cesma_sb3.nothing  # noqa: B018  # looking it up is the test


def test_the_package_alone_imports_nothing_slow():
    code = (
        "import sys, cesma_sb3\n"
        "slow = {'torch', 'optuna', 'matplotlib', 'stable_baselines3', 'numpy', 'pydantic', 'gymnasium'}\n"
        "sys.exit(f'imported: {found}' if (found := slow & set(sys.modules)) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
