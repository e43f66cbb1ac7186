"""Builds the distribution files once and installs the wheel into an environment of its own."""

import sysconfig

import pytest

from tests.packaging.built import ROOT, Distribution, Installed, python


@pytest.fixture(scope="package")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The sdist of this checkout, and the wheel that is built from that sdist, as installers do."""
    out = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Distribution(wheel, sdist)


@pytest.fixture(scope="package")
def installed(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a new environment, which borrows the other packages from the one that runs the tests."""
    environment = tmp_path_factory.mktemp("environment")
    python("-m", "venv", "--without-pip", str(environment))
    interpreter = environment / "bin" / "python"
    python(
        "-m",
        "pip",
        "--python",
        str(interpreter),
        "install",
        "--no-deps",
        "--no-index",
        str(distribution.wheel),
    )
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # Written after the install, or pip would take the checkout's own entry there for the installed package.
    # Python reads no .pth file of a folder that a .pth file names, so the checkout does not come along.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(paths)) + "\n")
    return Installed(interpreter.parent, site_packages, tmp_path_factory.mktemp("elsewhere"))
