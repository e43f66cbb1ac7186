"""A sweep on a real cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cesma_sb3.runs import RunFolder

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
SEEDS = 4
# Runs of some seconds, each of which leaves a mark where it was made.
MARK = """\
import os
if os.environ.get("CESMA_TEST_MARKS") and "-m" in os.sys.orig_argv and "run" in os.sys.orig_argv:
    seed = os.sys.orig_argv[os.sys.orig_argv.index("--seed") + 1]
    with open(os.path.join(os.environ["CESMA_TEST_MARKS"], f"seed-{seed}"), "a") as file:
        file.write(f"{os.getpid()}\\n")
"""
SWEEP = """\
import sys
from cesma_sb3.sweep import sweep
result = sweep(
    ["spread-3-scripted"], seeds=int(sys.argv[2]), address=sys.argv[1], out=sys.argv[3], progress=True,
    **{"dagger.total_timesteps": 20_000, "students.network": "feed-forward", "students.hidden_sizes": [8],
       "dagger.n_envs": 8, "dagger.samples_per_update": 4,
       "evaluation": {"episodes": 4, "curve_episodes": 2, "every": 10_000, "n_envs": 2}},
)
assert not result.failures, result.failures
print(result.ran, result.rows[0]["seeds"])
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A head and another node, each with one CPU; their workers leave marks of the runs that they begin."""
    (tmp_path / "site").mkdir()
    (tmp_path / "marks").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MARK)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    for name, value in {
        "PYTHONPATH": path,
        "CESMA_TEST_MARKS": str(tmp_path / "marks"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
    }.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
        shutdown_at_exit=False,
    )
    yield found
    found.shutdown()


def marks(folder: Path) -> dict[str, list[int]]:
    """By run, the processes that have begun it."""
    return {path.name: [int(line) for line in path.read_text().split()] for path in folder.iterdir()}


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


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_node_is_lost_in_the_middle(cluster, tmp_path):
    node = cluster.add_node(num_cpus=1)
    raylet = node.all_processes["raylet"][0].process.pid
    driver = subprocess.Popen(
        [sys.executable, "-c", SWEEP, cluster.address, str(SEEDS), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.extend(driver.communicate()))
    reader.start()
    lost = None
    while lost is None and driver.poll() is None:
        for run, processes in marks(tmp_path / "marks").items():
            if raylet in ancestors(processes[-1]):
                lost = (run, processes[-1])
        time.sleep(0.2)
    assert lost is not None, printed
    cluster.remove_node(node, allow_graceful=False)
    reader.join()
    assert driver.returncode == 0, printed[1]
    assert printed[0].splitlines()[-1] == f"{SEEDS} {SEEDS}"  # above it, what Ray tells of the lost node
    # All are there, each once, and the one that was lost was begun again.
    finished = sorted((tmp_path / "out" / "runs").glob("*/seed-*/report.json"))
    assert [path.parent.name for path in finished] == [f"seed-{seed}" for seed in range(SEEDS)]
    assert all(RunFolder.open(path.parent).status == "finished" for path in finished)
    begun = marks(tmp_path / "marks")
    assert len(begun[lost[0]]) >= 2
    assert not Path(f"/proc/{lost[1]}").exists()  # nothing is left behind on the lost node
    again = subprocess.run(
        [sys.executable, "-c", SWEEP, cluster.address, str(SEEDS), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.splitlines()[-1] == f"0 {SEEDS}"
    assert marks(tmp_path / "marks") == begun
