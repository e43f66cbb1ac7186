"""Checkpoints that are bad, hostile or cannot be written; folders that two want, or that go away."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3 import cli
from cesma_sb3.errors import CheckpointWarning, ConfigError, Interrupted, StorageError
from cesma_sb3.training.checkpoint import StageCheckpoints
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.locks import exclusive_lock
from tests.faults.interrupted import Cut, results

TINY = {
    "checkpoint.save_freq": 64,
    "evaluation": {"n_final_episodes": 4, "n_eval_episodes": 2, "eval_freq": 64, "n_envs": 2},
    "dagger.n_envs": 8,
    "dagger.batch_size": 16,
    "dagger.total_timesteps": 320,
    "students.network": "feed-forward",
    "students.hidden_sizes": [8],
}
NAME = "spread-3-scripted"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    return cesma_sb3.run(NAME, out=tmp_path_factory.mktemp("whole") / "run", **TINY).run_dir


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    """A run that was cut off when it had two checkpoints; to be copied."""
    out, save_if_due = tmp_path_factory.mktemp("cut") / "run", StageCheckpoints.save_if_due

    def visit_thrice(self, timesteps):
        save_if_due(self, timesteps)
        if timesteps >= 200:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save_if_due", visit_thrice)
        with pytest.raises(Cut):
            cesma_sb3.run(NAME, out=out, **TINY)
    assert len(checkpoints(out)) == 2
    return out


@pytest.fixture(autouse=True)
def hears_interrupts():
    """Tests in the background are started deaf to them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(cut, tmp_path) -> Path:
    return Path(shutil.copytree(cut, tmp_path / "run"))


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir())


def tear(checkpoint: Path) -> None:
    path = checkpoint / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "arrays.safetensors"
    content = bytearray(path.read_bytes())
    content[-50] ^= 4
    path.write_bytes(content)


def remove_a_file(checkpoint: Path) -> None:
    (checkpoint / "state.json").unlink()


def of_another_experiment(checkpoint: Path) -> None:
    change_manifest(checkpoint, experiment="0" * 64)


def of_another_format(checkpoint: Path) -> None:
    change_manifest(checkpoint, format=99)


def not_json(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("{")


def nested(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("[" * 100_000)


def change_manifest(checkpoint: Path, **values) -> None:
    path = checkpoint / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


BAD = [
    tear,
    change_a_bit,
    remove_a_file,
    of_another_experiment,
    of_another_format,
    not_json,
    nested,
]


@pytest.mark.parametrize("spoil", BAD)
def test_the_one_before_is_used_if_the_last_is_bad(run, whole, spoil):
    spoil(checkpoints(run)[-1])
    with pytest.warns(CheckpointWarning, match=rf"{checkpoints(run)[-1].name}.*; the one before it is used$"):
        cesma_sb3.run(resume=run)
    assert results(run) == results(whole)


def test_without_a_good_one_the_stage_begins_anew(run, whole):
    for each in checkpoints(run):
        tear(each)
    with pytest.warns(CheckpointWarning) as told:
        cesma_sb3.run(resume=run)
    assert len(told) == 2
    assert results(run) == results(whole)


class Canary:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_is_refused_and_not_executed(run, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = pickle.dumps(Canary())
    for name in ("arrays.safetensors", "state.json"):
        last = checkpoints(run)[-1]
        (last / name).write_bytes(hostile)
        sums = json.loads((last / "manifest.json").read_text())["sha256"]
        change_manifest(last, sha256={**sums, name: hashlib.sha256(hostile).hexdigest()})
    with pytest.warns(CheckpointWarning, match="cannot be read"):
        cesma_sb3.run(resume=run)
    assert not Path("executed").exists()
    assert results(run) == results(whole)


def test_a_state_makes_nothing_of_a_class_that_it_names(run):
    last = checkpoints(run)[-1]
    state = (last / "state.json").read_text()
    name = "cesma_sb3.imitation.collector:Collector"
    assert name in state
    hostile = state.replace(name, "os:system").encode()
    (last / "state.json").write_bytes(hostile)
    sums = json.loads((last / "manifest.json").read_text())["sha256"]
    change_manifest(last, sha256={**sums, "state.json": hashlib.sha256(hostile).hexdigest()})
    with pytest.raises(StorageError, match=r"collector: expected .*:Collector, found os:system"):
        cesma_sb3.run(resume=run)


def test_other_packages_are_told(run):
    for each in checkpoints(run):
        change_manifest(each, versions={"torch": "0.1", "numpy": "0.2"})
    with pytest.warns(CheckpointWarning, match=r"made with .*torch 0\.1, now .*numbers may differ"):
        cesma_sb3.run(resume=run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_a_checkpoint_and_says_how_to_go_on(
    tmp_path, whole, number, capsys, monkeypatch
):
    out, save_if_due = tmp_path / "a run", StageCheckpoints.save_if_due

    def visit_and_be_interrupted(self, timesteps):
        if timesteps == 160:
            os.kill(os.getpid(), number)
        save_if_due(self, timesteps)

    monkeypatch.setattr(StageCheckpoints, "save_if_due", visit_and_be_interrupted)
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", NAME, *settings, "--out", str(out)])
    assert ended.value.code == 130
    told = capsys.readouterr().err
    assert "stopping after this step; once more to stop at once" in told
    assert f"run --resume '{out}'\n" in told
    assert told.endswith("error: interrupted\n")
    assert RunFolder.open(out).status == "interrupted"
    manifest = json.loads((checkpoints(out)[-1] / "manifest.json").read_text())
    assert (manifest["steps"], manifest["ended"]) == (160, False)

    monkeypatch.setattr(StageCheckpoints, "save_if_due", save_if_due)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--resume", str(out), "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["run_dir"] == str(out)
    assert results(out) == results(whole)


def test_a_second_interrupt_does_not_wait(tmp_path, monkeypatch):
    def be_interrupted_twice(self, timesteps):
        assert not self.run.interrupt.pending
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    monkeypatch.setattr(StageCheckpoints, "save_if_due", be_interrupted_twice)
    with pytest.raises(Interrupted):
        cesma_sb3.run(NAME, out=tmp_path / "run", **TINY)


def test_without_checkpoints_nothing_waits(tmp_path, monkeypatch):
    def be_interrupted(self, timesteps):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    monkeypatch.setattr(StageCheckpoints, "save_if_due", be_interrupted)
    never = {"checkpoint": {"minutes": None, "save_freq": None}}
    with pytest.raises(Interrupted):
        cesma_sb3.run(NAME, out=tmp_path / "run", **{**TINY, **never, "checkpoint.save_freq": None})
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_where_no_checkpoint_can_come_nothing_waits(tmp_path, monkeypatch):
    """An algorithm whose loop is not SB3's."""
    went_on = []

    def learn(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        went_on.append(True)

    monkeypatch.setattr(PPO, "collect_rollouts", None)
    monkeypatch.setattr(PPO, "learn", learn)
    expert = {"expert.algorithm": "PPO", "expert.policy": "MlpPolicy", "expert.policy_kwargs": {}}
    with pytest.raises(Interrupted):
        cesma_sb3.run("spread-3-ppo", out=tmp_path / "run", **{**TINY, **expert})
    assert not went_on


def test_in_another_thread_a_run_is_no_different(tmp_path, whole):
    thread = threading.Thread(target=lambda: cesma_sb3.run(NAME, out=tmp_path / "run", **TINY))
    thread.start()
    thread.join()
    assert results(tmp_path / "run") == results(whole)


def test_two_runs_do_not_write_to_one_folder(run, tmp_path):
    new = tmp_path / "new"
    for folder, words in ((run, {"resume": run}), (new, {"name": NAME, "out": new})):
        with exclusive_lock(folder, "this test is at work"):
            before = sorted(folder.rglob("*"))
            with pytest.raises(ConfigError, match="another run writes there"):
                cesma_sb3.run(**words)
            assert sorted(folder.rglob("*")) == before


def test_a_folder_that_is_deleted_is_not_made_again(tmp_path, monkeypatch):
    out, save_if_due = tmp_path / "run", StageCheckpoints.save_if_due

    def visit_and_lose_the_folder(self, timesteps):
        if timesteps == 128:
            shutil.rmtree(out)
        save_if_due(self, timesteps)

    monkeypatch.setattr(StageCheckpoints, "save_if_due", visit_and_lose_the_folder)
    with pytest.raises(StorageError, match=r"is no run folder any more: its run\.json was removed") as caught:
        cesma_sb3.run(NAME, out=out, **TINY)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, 2 MB; a function that changes how it is mounted comes with it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> int:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if sys.platform != "linux" or mount("size=2m") != 0:
        pytest.skip("mounting needs Linux, and rights")
    yield folder, mount
    subprocess.run(["umount", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Leaves no room on a disk."""
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


@pytest.mark.integration
def test_a_full_disk_loses_nothing_that_was_saved(disk, whole, monkeypatch):
    (folder, _), write = disk, StageCheckpoints.save
    out, ballast = folder / "run", folder / "ballast"

    def write_then_fill(self, timesteps, *, ended=False):
        write(self, timesteps, ended=ended)
        if not ballast.exists():
            with pytest.raises(OSError, match="No space left"):
                fill(ballast)

    monkeypatch.setattr(StageCheckpoints, "save", write_then_fill)
    with pytest.raises(StorageError, match="cannot be written: No space left on device") as caught:
        cesma_sb3.run(NAME, out=out, **TINY)
    assert "\n" not in str(caught.value)
    assert len(checkpoints(out)) == 1
    ballast.unlink()
    assert atomic.leftovers(out) == []
    monkeypatch.setattr(StageCheckpoints, "save", write)
    cesma_sb3.run(resume=out)
    assert results(out) == results(whole)


@pytest.mark.integration
def test_a_disk_that_cannot_be_written(disk, cut, whole, capsys):
    folder, mount = disk
    out = Path(shutil.copytree(cut, folder / "run"))
    assert mount("remount,ro") == 0
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", NAME, "--out", str(folder / "another")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("another: cannot be made: Read-only file system\n")
    with pytest.raises(StorageError, match="Read-only file system") as caught:
        cesma_sb3.run(resume=out)
    assert "\n" not in str(caught.value)
    assert mount("remount,rw") == 0
    cesma_sb3.run(resume=out)
    assert results(out) == results(whole)
