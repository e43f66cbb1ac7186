"""Sweeps on a real cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.training.run_folder import RunFolder
from tests.reproduce.tiny import TINY

pytest.importorskip("ray", reason="Ray is not installed: pip install 'cesma-sb3[ray]'")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc"),
    # Ray's cluster forks, perhaps where tests before these have used JAX; the new processes do not use it.
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),
]

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600.0
# Each run leaves a mark when it begins.
MARK = """\
import os, sys
if "CESMA_TEST_MARKS" in os.environ and sys.orig_argv[1:4] == ["-m", "cesma_sb3", "run"]:
    name, seed = os.path.basename(sys.orig_argv[4]), sys.orig_argv[sys.orig_argv.index("--seed") + 1]
    with open(os.path.join(os.environ["CESMA_TEST_MARKS"], f"{name}-{seed}"), "a") as file:
        file.write(f"{os.getpid()}\\n")
"""
# Some seconds of work.
SHORT = {
    **TINY,
    "dagger.total_timesteps": 6_000,
    "dagger.samples_per_update": 4,
    "evaluation.eval_freq": 10_000,
}
SEEDS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(folder) -> Iterator:
    """A head with one CPU; workers leave marks in `folder`/marks, and temporary folders in `folder`/tmp."""
    for name in ("site", "marks", "tmp"):
        (folder / name).mkdir()
    (folder / "site" / "sitecustomize.py").write_text(MARK)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
            "CESMA_TEST_MARKS": str(folder / "marks"),
            "TMPDIR": str(folder / "tmp"),
            "RAY_TMPDIR": "/tmp",  # names of sockets are short
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
        }.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        found = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        try:
            yield found
        finally:
            found.shutdown()


def start(cluster, out, *names, seeds=1, values=TINY) -> subprocess.Popen:
    """A sweep, as a command."""
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    words = ["sweep", *map(str, names), "--seeds", str(seeds), *settings, "--ray", cluster.address]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "cesma_sb3", *words, "--out", str(out), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def result(driver) -> tuple[int, dict, str]:
    """Its exit status, what it printed for a program, and for a person."""
    try:
        printed, told = driver.communicate(timeout=PATIENCE_SECONDS)
    finally:
        driver.kill()
    return driver.returncode, json.loads(printed[printed.index("{\n") :]) if "{\n" in printed else {}, told


def marks(folder) -> dict[str, list[int]]:
    """By run, the processes that have begun it."""
    return {path.name: [int(line) for line in path.read_text().split()] for path in folder.glob("marks/*")}


def ancestors(process: int) -> list[int]:
    """The process's parent, its parent's, and so on."""
    found = []
    while process > 1:
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(process)
    return found


def wait_for(driver, condition):
    """What a condition gives when it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def is_gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def come_true(condition) -> bool:
    """Whether a condition holds soon: a node ends a task's processes after its driver has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS / 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_node_is_lost_in_the_middle(cluster, folder):
    node = cluster.add_node(num_cpus=1)
    raylet = node.all_processes["raylet"][0].process.pid
    driver = start(cluster, folder / "out", "spread-3-scripted", seeds=SEEDS, values=SHORT)

    def on_the_node():
        return [
            (run, processes[-1])
            for run, processes in marks(folder).items()
            if raylet in ancestors(processes[-1])
        ]

    try:
        ((lost, process),) = wait_for(driver, on_the_node)
    finally:
        cluster.remove_node(node, allow_graceful=False)
    status, told, error = result(driver)
    assert status == 0, error
    assert (told["ran"], told["rows"][0]["seeds"], told["failures"]) == (SEEDS, SEEDS, [])
    # Each is there once, and the one that was lost was begun again; whoever began it is gone.
    finished = sorted((folder / "out" / "runs").rglob("report.json"))
    assert [path.parent.name for path in finished] == [f"seed-{seed}" for seed in range(SEEDS)]
    assert all(RunFolder.open(path.parent).status == "finished" for path in finished)
    begun = marks(folder)
    assert set(begun) == {f"spread-3-scripted-{seed}" for seed in range(SEEDS)}
    assert {run for run, processes in begun.items() if len(processes) > 1} == {lost}
    assert all(is_gone(each) for processes in begun.values() for each in (*processes, process))
    command = RunFolder.open(finished[0].parent).info["command"]
    assert command.startswith("python -m cesma_sb3 run spread-3-scripted --seed 0 --set ")

    status, told, _ = result(start(cluster, folder / "out", "spread-3-scripted", seeds=SEEDS, values=SHORT))
    assert (status, told["ran"]) == (0, 0)
    assert marks(folder) == begun


def write_file(folder, name, **content) -> Path:
    """An experiment that the nodes don't have."""
    path = folder / f"{name}.yaml"
    path.write_text(write_mapping({"extends": "spread-3-scripted", **content}))
    return path


def test_files_go_along_and_failures_are_told(cluster, folder):
    numbers = {"kwargs": {"continuous_actions": True}}  # which have no soft labels
    mine = write_file(folder, "mine")
    fails = write_file(folder, "fails", env=numbers, dagger={"labels": "soft"})
    status, told, error = result(start(cluster, folder / "files", mine, fails))
    assert status == 1, error
    assert [(row["experiment"], row["seeds"]) for row in told["rows"]] == [("mine", 1), ("fails", 0)]
    (failure,) = told["failures"]
    assert failure["run"].startswith("fails-")
    assert "has no `probabilities`" in failure["cause"]
    assert "has no `probabilities`" in Path(failure["log"]).read_text()
    (run,) = (folder / "files" / "runs").glob("mine-*/seed-0")
    assert RunFolder.open(run).experiment.dagger.total_timesteps == TINY["dagger.total_timesteps"]


def test_when_stopped_nothing_is_left_on_the_nodes(cluster, folder):
    long = {**TINY, "dagger.total_timesteps": 10**9}
    of_lost_nodes = set((folder / "tmp").glob("cesma-*"))
    driver = start(cluster, folder / "stopped", write_file(folder, "long"), seeds=3, values=long)
    processes = wait_for(driver, lambda: marks(folder).get("long.yaml-0"))
    assert not any(is_gone(each) for each in processes)
    driver.send_signal(signal.SIGINT)
    status, _, error = result(driver)
    assert status == 130
    assert "to resume: python -m cesma_sb3 sweep " in error
    assert {run: found for run, found in marks(folder).items() if run.startswith("long")} == {
        "long.yaml-0": processes
    }
    assert come_true(lambda: all(is_gone(each) for each in processes))
    assert come_true(lambda: set((folder / "tmp").glob("cesma-*")) == of_lost_nodes)
