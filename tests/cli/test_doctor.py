"""`cesma doctor`: what it finds in environments that are whole, broken or odd, and what mends them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import packaging
import pytest

from cesma_sb3 import cli
from cesma_sb3.envs.pettingzoo import EXTRAS
from cesma_sb3.errors import MissingExtraError
from cesma_sb3.multirun.tuning.storage import studies_of
from cesma_sb3.utils import doctor as doctor_module
from cesma_sb3.utils import installation, processes
from cesma_sb3.utils.doctor import Diagnosis, diagnose, machine, packages
from cesma_sb3.utils.doctor.finding import NOTE, OK, WRONG, Finding
from cesma_sb3.utils.doctor.probe import Probe, look

ROOT = Path(__file__).parents[2]
TORCH = {"version": "2.13.0", "cuda": None, "threads": 1, "devices": [], "errors": []}


class Environment:
    """A folder of packages that are nothing but their metadata and one line of code."""

    def __init__(self, folder, needs=(), extras=None):
        self.folder = folder
        lines = ["Requires-Python: >=3.10", *(f"Requires-Dist: {need}" for need in needs)]
        for extra, inside in (extras or {}).items():
            lines += [f"Provides-Extra: {extra}"]
            lines += [f'Requires-Dist: {need}; extra == "{extra}"' for need in inside]
        self.add("cesma-sb3", "0.1.0", None, *lines)
        for package in (click, packaging):
            self.add(package.__name__, "99", None)
            (folder / package.__name__).symlink_to(Path(package.__file__).parent)

    def add(self, name, version, code="", *lines):
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        header = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
        (info / "METADATA").write_text("\n".join(header) + "\n")
        if code is not None:
            (self.folder / f"{name.replace('-', '_')}.py").write_text(code)

    def doctor(self, *arguments):
        """Calls the command in a Python that has these packages alone: exit status, output, errors."""
        done = subprocess.run(
            [sys.executable, "-S", "-m", "cesma_sb3", *(arguments or ("doctor", "--json"))],
            cwd=self.folder.parent,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def findings(self):
        """What the command found, by name; the topics that depend on the machine are left out."""
        code, out, err = self.doctor()
        assert err == ""
        told = json.loads(out)
        found = [Finding(**each) for each in told["findings"]]
        assert told["ok"] == (code == 0) == all(each.status != WRONG for each in found)
        return {each.name: each for each in found if each.topic in ("python", "packages", "extras")}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "packages").mkdir()
    return tmp_path / "packages"


def test_a_broken_environment_is_described_and_mended(folder):
    needs = ("gone>=1.2", "old>=2.0", "torn>=1", "lacks>=1", "crashes>=1", "friend>=1", "packaging>=23")
    extras = {"whole": ["fine>=1"], "absent": ["fine>=1", "nowhere>=3"], "stale": ["aged>=2"], "test": ["x"]}
    environment = Environment(folder, needs, extras)
    environment.add("old", "1.9")
    environment.add("torn", "1.0", "print('noise')\nraise RuntimeError('no half of me')")
    environment.add("lacks", "1.0", "import something_else")
    environment.add("crashes", "1.0", "import os\nos._exit(7)")
    environment.add("friend", "1.0", "", "Requires-Dist: old>=1.95", "Requires-Dist: unseen")
    environment.add("fine", "1.0")
    environment.add("aged", "1.0")
    found = environment.findings()
    assert found["packaging"].status == found["whole"].status == OK
    assert found["set"].text == "pinned"
    expected = {
        "gone": ("is not installed: expected >=1.2", "pip install 'gone>=1.2'"),
        "torn": (
            "1.0: cannot be imported: RuntimeError: no half of me",
            "pip install --force-reinstall --no-deps torn==1.0",
        ),
        "lacks": (
            "1.0: cannot be imported: ModuleNotFoundError: No module named",
            "pip install something_else",
        ),
        "crashes": (
            "1.0: cannot be imported: importing it ends Python (exit status 7)",
            "pip install --force-reinstall --no-deps crashes==1.0",
        ),
        "old": ("1.9: friend 1.0 expects >=1.95", "pip install 'old>=1.95'"),  # and this package expects 2.0
        "unseen": ("is not installed: friend 1.0 expects it", "pip install unseen"),
        "stale: aged": ("1.0: expected >=2", "pip install 'aged>=2'"),
    }
    assert {name for name, each in found.items() if each.status == WRONG} == {*expected}
    for name, (text, fix) in expected.items():
        assert found[name].text.startswith(text)
        assert found[name].fix == fix
    assert found["absent"] == Finding(
        "extras", "absent", "is not installed: nowhere", NOTE, "pip install 'cesma-sb3[absent]'"
    )


def test_what_is_whole_is_tried_with_this_package_itself(folder):
    found = Environment(folder, ["click>=8.1", "packaging>=23"]).findings()
    (wrong,) = [each for each in found.values() if each.status == WRONG]
    assert wrong.name.startswith("cesma_sb3.")
    assert wrong.text.startswith("cannot be imported: ModuleNotFoundError: No module named")
    assert wrong.fix.startswith("pip install ")


def test_set_modern_gets_commands_that_keep_it(folder):
    environment = Environment(folder, ["imitation>=1.0.1", "mpe2>=1.0,<1.1"], {"onnx": ["nowhere>=3"]})
    asks = (
        "Requires-Dist: gymnasium~=0.29",
        "Requires-Dist: stable-baselines3~=2.2.1",
        "Requires-Dist: sacred",
    )
    environment.add("imitation", "1.0.1", "raise ImportError('half')", *asks)
    environment.add("gymnasium", "1.4.0")
    environment.add("stable-baselines3", "2.9.2")
    environment.add("mpe2", "1.1.1")
    environment.add("pygame-ce", "2.5")
    found = environment.findings()
    assert found["set"].text == "modern"
    assert found["mpe2"].status == OK
    assert found["onnx"].fix == "pip install 'nowhere>=3'"
    assert {name for name, each in found.items() if each.status == WRONG} == {"imitation"}
    environment.add("pygame", "2.6")
    shutil.rmtree(folder / "imitation-1.0.1.dist-info")
    found = environment.findings()
    assert found["pygame"].fix.endswith("pip install pygame-ce")
    assert found["imitation"].fix == "pip install --no-deps 'imitation>=1.0.1'"


def test_without_click_packaging_or_metadata(folder):
    environment = Environment(folder, ["click>=8.1"])
    (folder / "click").unlink()
    code, out, err = environment.doctor("list")
    assert (code, out, err) == (2, "", "error: click cannot be imported; `cesma doctor` says what is wrong\n")
    shutil.rmtree(folder / "packaging-99.dist-info")
    code, out, err = environment.doctor("doctor")
    assert (code, err) == (1, "")
    wrong = "WRONG      packaging is not installed: versions are not compared"
    assert f"{wrong}\n             pip install packaging\n" in out
    shutil.rmtree(folder / "cesma_sb3-0.1.0.dist-info")
    assert environment.findings()["cesma-sb3"].fix.startswith("pip install -e ")


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        return caught.value.code, capsys.readouterr().out

    return run


def test_the_environment_of_the_tests_is_well(call, monkeypatch):
    monkeypatch.setattr(doctor_module, "look", lambda modules, after: Probe(torch=TORCH))
    monkeypatch.setattr(machine, "_driver", lambda: (None, None))
    monkeypatch.delenv("SC2PATH", raising=False)
    code, out = call("doctor")
    assert (code, out.splitlines()[-1]) == (0, "nothing is wrong")
    assert "set pinned" in out or "set modern" in out
    code, out = call("doctor", "--json")
    assert json.loads(out)["ok"]
    names = {each["name"] for each in json.loads(out)["findings"]}
    assert names >= {"Python", "cesma-sb3", "torch", "onnx", "smax", "video", "cores", "temporary", "SMAC"}


def test_an_error_of_the_search_is_a_finding(monkeypatch):
    def torn():
        raise ValueError("no such header")

    monkeypatch.setattr(packages, "python", torn)
    monkeypatch.setattr(doctor_module, "version_of", lambda name: None)
    wrong = diagnose().wrong
    assert [(each.topic, each.text) for each in wrong] == [
        (
            "python",
            "cannot be looked at: ValueError: no such header (tests/cli/test_doctor.py:"
            + wrong[0].text.rpartition(":")[2],
        )
    ]
    assert Diagnosis(tuple(wrong)).to_text().splitlines()[-1] == "wrong: 1"


STUB = """\
import warnings
from types import SimpleNamespace as Space
__version__, version = "2.13.0", Space(cuda="13.0")
get_num_threads = lambda: 3
class Card:
    sum = lambda self: self
    def item(self): raise RuntimeError("no kernel image")
ones = lambda size, device: Card()
def is_available():
    warnings.warn("an old driver")
    return COUNT > 0
names = {"get_device_name": lambda index: "NVIDIA H200"}
cuda = Space(is_available=is_available, device_count=lambda: COUNT, **names)
"""


@pytest.mark.parametrize(
    ("count", "devices", "errors"),
    [(0, [], ["an old driver"]), (1, ["NVIDIA H200"], ["cuda:0: no kernel image"])],
)
def test_what_pytorch_says_of_gpus(tmp_path, monkeypatch, count, devices, errors):
    (tmp_path / "torch.py").write_text(f"COUNT = {count}\n{STUB}")
    monkeypatch.syspath_prepend(tmp_path)
    probe = look(["torch", "json"], ["shlex"])
    expected = {"version": "2.13.0", "cuda": "13.0", "threads": 3, "devices": devices, "errors": errors}
    assert (probe.errors, probe.missing, probe.torch) == ({}, {}, expected)


def test_own_modules_are_those_of_the_package():
    names = packages.own_modules()
    assert {"cesma_sb3", "cesma_sb3.cli", "cesma_sb3.errors", "cesma_sb3.training.run"} <= {*names}
    assert "cesma_sb3.__main__" not in names


def found(findings, name):
    return [each for each in findings if each.name == name]


def test_threads(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    seen = list(machine.threads({**TORCH, "threads": 8}))
    assert [each.status for each in found(seen, "OMP_NUM_THREADS")] == [OK]
    assert found(seen, "torch threads")[1].fix.endswith("OMP_NUM_THREADS=2")
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    (wrong,) = found(machine.threads(None), "OMP_NUM_THREADS")
    assert (wrong.status, wrong.text) == (WRONG, "'all': expected a number of threads")


CARD = "NVIDIA H200, 570.1"


@pytest.mark.parametrize(
    ("driver", "torch", "status", "text"),
    [
        ((None, None), {}, OK, "no GPU, built for the processor alone"),
        ((CARD, None), {"cuda": "13.0", "devices": ["NVIDIA H200"]}, OK, "NVIDIA H200; built for CUDA 13.0"),
        ((CARD, None), {}, NOTE, "built for the processor alone: finds no GPU"),
        (
            (CARD, None),
            {"cuda": "13.0", "errors": ["driver is too old"]},
            WRONG,
            "CUDA 13.0: driver is too old",
        ),
        (
            (CARD, None),
            {"cuda": "11.8", "devices": ["NVIDIA H200"], "errors": ["cuda:0: no kernel image"]},
            WRONG,
            "built for CUDA 11.8: cuda:0: no kernel image",
        ),
    ],
)
def test_gpus(monkeypatch, driver, torch, status, text):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(machine, "_driver", lambda: driver)
    last = found(machine.gpu({**TORCH, **torch}), "torch")[-1]
    assert (last.status, text in last.text) == (status, True)


def test_gpus_that_are_hidden_or_whose_driver_was_updated(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(machine, "_driver", lambda: (CARD, None))
    assert found(machine.gpu({**TORCH, "cuda": "13.0"}), "torch")[0].fix == "unset CUDA_VISIBLE_DEVICES"
    monkeypatch.setattr(machine, "_driver", lambda: (None, "Driver/library version mismatch"))
    assert [each.status for each in machine.gpu(None)] == [WRONG]


@pytest.mark.skipif(os.name == "nt", reason="the tool is a shell script")
def test_what_the_tool_of_the_driver_says(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for code, expected in ((0, ("NVIDIA H200, 570.1", None)), (9, (None, "NVIDIA H200, 570.1"))):
        tool.write_text(f"#!/bin/sh\necho 'NVIDIA H200, 570.1'\nexit {code}\n")
        tool.chmod(0o755)
        assert machine._driver() == expected


def test_folders_that_cannot_be_written(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 5})())
    seen = {each.name: each for each in machine.folders()}
    assert seen["data"].status == WRONG
    assert "runs are not known as yours" in seen["data"].text
    assert seen["cache"].status == seen["temporary"].status == OK
    assert seen["free space"].text == "5 bytes: expected 1.0 GiB"
    assert not (tmp_path / "new").exists()


def test_starcraft(monkeypatch, tmp_path):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert found(machine.starcraft(), "game")[0].status == WRONG
    (tmp_path / "Versions" / "Base75689").mkdir(parents=True)
    assert "Base75689" in found(machine.starcraft(), "game")[0].text
    (tmp_path / "smac").mkdir()
    (tmp_path / "smac" / "__init__.py").write_text("raise AssertionError('is not imported')")
    assert found(machine.starcraft(), "SMAC")[0].text.endswith("hyperparameter optimiser of that name")
    (tmp_path / "smac" / "env").mkdir()
    assert found(machine.starcraft(), "SMAC")[0].status == OK
    assert found(machine.starcraft(), "maps")[0].status == WRONG
    (tmp_path / "Maps" / "SMAC_Maps").mkdir(parents=True)
    assert all(each.status == OK for each in machine.starcraft())


def test_a_package_that_cannot_be_imported_is_one_line(call, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cesma_sb3.config.registry", None)
    monkeypatch.setitem(sys.modules, "numpy", None)

    def broken():
        import numpy  # noqa: F401

    monkeypatch.setitem(
        sys.modules, "cesma_sb3.config.registry", type("Registry", (), {"describe_experiments": broken})
    )
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("; `cesma doctor` says what is wrong with this installation\n")


def test_the_command_for_an_extra_keeps_the_set(monkeypatch):
    (which,) = {installation.set_of_dependencies()} & {"pinned", "modern"}
    expected = {"pinned": "pip install 'cesma-sb3[video]'", "modern": "pip install 'av>=12'"}
    assert installation.install_command("video") == expected[which]
    error = installation.missing_extra("a video in MP4", "video", ImportError("No module named 'av'"))
    assert str(error) == (
        f"a video in MP4 needs the extra [video]: No module named 'av'; try: {expected[which]}"
    )


def test_every_extra_is_asked_for_by_name():
    sources = [path.read_text() for path in (ROOT / "cesma_sb3").rglob("*.py")]
    asked = {name for text in sources for name in re.findall(r'missing_extra\(.+?, "(\w+)", error\)', text)}
    assert asked | set(EXTRAS.values()) == {*packages._extras()}


def test_postgresql_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"^storage: PostgreSQL needs the extra \[postgres\]: "):
        studies_of("postgresql://somebody@localhost/studies")


def test_findings_name_neither_home_nor_passwords(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(doctor_module, "version_of", lambda name: None)
    texts = f"in {tmp_path}/here, not in {tmp_path}-there, at https://me:mine@host/"
    monkeypatch.setattr(packages, "python", lambda: [Finding("python", "Python", texts, NOTE, texts)])
    first = diagnose().findings[0]
    assert first.text == first.fix == f"in ~/here, not in {tmp_path}-there, at https://me:***@host/"


def test_a_container_may_have_a_share_of_the_processor(monkeypatch, tmp_path):
    there = processes.cores()
    monkeypatch.setattr(processes, "_QUOTA", tmp_path / "cpu.max")
    for text, expected in (("100000 100000", 1), ("20000 100000", 1), ("max 100000", there), ("", there)):
        (tmp_path / "cpu.max").write_text(text)
        assert processes.cores() == expected
