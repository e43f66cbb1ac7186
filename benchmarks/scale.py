"""What 1,000 workers would ask of storage, object store and run folders, from what few ask on this machine.

A worker is a process; a trial or run of it takes ten minutes. Measured are run folders (files, bytes, seconds
to write one), and what a study's storage takes with 1 to 8 processes that run trials which cost nothing: five
values, four attributes, ten reports. PostgreSQL is measured if `CESMA_POSTGRES` holds the URL of a database;
each time studies are added to it.

`python -m benchmarks.scale URL STUDY SECONDS` is one of these processes.
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.main_job import run_command
from cesma_sb3.multirun.ray import _Done
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.utils import atomic

if TYPE_CHECKING:
    import optuna

WORKERS, TRIAL_SECONDS, DAY_SECONDS = 1_000, 600, 86_400
PER_SECOND = WORKERS / TRIAL_SECONDS
PROCESSES = (1, 2, 4, 8)
MEASURED_SECONDS = 6.0
RUNNING = 200
"""Trials that are under way while the others are looked at."""
LOOKS, LOOKS_OF_PRUNER, IDLE_SECONDS = 6, 10, 0.5
"""At all trials of a study: for each trial (`tuning`, `_claims`, sampler); one more for each report with a
pruner; between two of a worker that finds nothing to do, each of which is half of `LOOKS`."""
CORES = 8
"""Of a database's server."""
MAX_CONNECTIONS = 97
"""PostgreSQL's default, less those that are kept for its superuser."""
TINY = ("dagger.total_timesteps=2000", "evaluation.n_final_episodes=8", "evaluation.n_eval_episodes=8")
KEPT = Path(__file__).parents[1] / "docs" / "reproduced" / "runs"
Row = dict[str, Any]


def run_scale() -> dict[str, Any]:
    """`ours` is the trials per second that the fastest measured storage takes, `theirs` what is needed."""
    with tempfile.TemporaryDirectory() as folder:
        folders = _folders(Path(folder))
        urls = {
            "sqlite": f"sqlite:///{folder}/study.db",
            "journal": f"journal:///{folder}/study.journal",
            **({"postgresql": os.environ["CESMA_POSTGRES"]} if "CESMA_POSTGRES" in os.environ else {}),
        }
        storages = [_storage(name, url) for name, url in urls.items()]
    best = max(row[f"{PROCESSES[-1]} processes"] for row in storages)
    return {
        "ours": best,
        "theirs": round(PER_SECOND, 2),
        "ratio": round(best / PER_SECOND, 1),
        "unit": "trials per second: measured with 8 processes, and needed by 1,000 workers",
        "busy": f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end, other jobs included",
        "folders": folders,
        "storages": storages,
        "at_1000": _on_paper(folders[1], storages),
        "compared": {
            "trials per second": f"of processes that do nothing else, for {MEASURED_SECONDS:.0f} s each",
            "look": f"reading the state of all trials, {RUNNING} of which are under way; elsewhere: less the "
            "processor's time of who looks, which is the server's, and that of other jobs",
            "join": "what a worker that comes later reads, for each trial that there is",
            "on the wire": "what a run's task on Ray gives, pickled",
            "write": "seconds to put a run folder in its place, each file and folder flushed to the disk",
            "share": "of the room that is there; more than 1 does not fit",
        },
    }


def _folders(folder: Path) -> list[Row]:
    """A tiny run, one as registered, and what is kept of published ones."""
    rows = []
    for label, settings in (("tiny", TINY), ("registered", ())):
        run = folder / label
        run_command("spread-3-scripted", 0, run, *settings)
        rows.append({"spread-3-scripted": label, **_folder(run, folder / "copy")})
    kept = [_folder(report.parent, folder / "copy") for report in sorted(KEPT.glob("*/*/report.json"))]
    means = {key: round(statistics.mean(row[key] for row in kept), 3) for key in kept[0]}
    return [*rows, {"spread-3-scripted": f"{len(kept)} published runs, mean", **means}]


def _folder(run: Path, copy: Path) -> Row:
    paths = [path for path in run.rglob("*") if path.is_file()]
    files = {path.relative_to(run).as_posix(): path.read_bytes() for path in paths}
    folders = 1 + sum(path.is_dir() for path in run.rglob("*"))
    return {
        "files": len(paths),
        "folders": folders,
        "kB": round(sum(map(len, files.values())) / 1000, 1),
        "kB on disk": round(sum(path.stat().st_blocks for path in run.rglob("*")) * 512 / 1000, 1),
        "kB on the wire": round(len(pickle.dumps(_Done(0, 1.0, files, b""))) / 1000, 1),
        "write s": round(_median_seconds(lambda: atomic.write_folder(copy, files), 5), 3),
    }


def _storage(name: str, url: str) -> Row:
    """Trials per second by number of processes, and what looking and joining cost."""
    row: Row = {"storage": name}
    trials, before = 0, _size(url)
    study = f"scale-{os.getpid()}"
    for count in PROCESSES:
        done, seconds = _together(url, study, count)
        trials += done
        row[f"{count} processes"] = round(done / seconds, 1)
    row["kB each"] = round((_size(url) - before) / trials / 1000, 2)
    with optuna_storage.quiet():
        began = time.perf_counter()
        found = optuna_storage.open_study(study, url, {})
        found.get_trials(deepcopy=False)
        row["join ms each"] = round(1000 * (time.perf_counter() - began) / trials, 3)
        for _ in range(RUNNING):
            _work(found.ask())
        began, own = time.perf_counter(), time.process_time()
        for _ in range(10):
            found.get_trials(deepcopy=False)
        wall, own = (time.perf_counter() - began) / 10, (time.process_time() - own) / 10
        row["look ms"], row["look ms elsewhere"] = round(1000 * wall, 2), round(1000 * max(0, wall - own), 2)
    return row


def _together(url: str, study: str, count: int) -> tuple[int, float]:
    """Trials of processes that begin at the same time, and for how long."""
    with optuna_storage.quiet():
        optuna_storage.open_study(study, url, {})
    command = [sys.executable, "-m", "benchmarks.scale", url, study, str(MEASURED_SECONDS)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [json.loads(process.communicate()[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return sum(each["trials"] for each in found), max(each["seconds"] for each in found)


def _process(url: str, name: str, seconds: float) -> None:
    """Runs trials that cost nothing, as `cesma tune` runs others."""
    with optuna_storage.quiet():
        study = optuna_storage.open_study(name, url, {})
        study.sampler = optuna_storage.make_sampler("random", [os.getpid()])
        print("ready", flush=True)
        sys.stdin.readline()
        began, trials = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            study.optimize(_work, n_trials=1)
            trials += 1
        print(json.dumps({"trials": trials, "seconds": time.perf_counter() - began}))


def _work(trial: optuna.Trial) -> float:
    values = [trial.suggest_float(f"value_{number}", 0, 1) for number in range(5)]
    for number in range(4):
        trial.set_user_attr(f"attribute_{number}", values)
    for step in range(10):
        trial.report(values[0], step)
    return values[0]


def _size(url: str) -> int:
    """Bytes of a storage."""
    if url.startswith("postgresql://"):
        import psycopg

        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return int(found[0]) if found else 0
    path = Path(url.partition(":///")[2])
    return path.stat().st_size if path.exists() else 0


def _on_paper(folder: Row, storages: Sequence[Row]) -> list[Row]:
    """What 1,000 workers need, what there is, and the share."""
    disk = os.statvfs(tempfile.gettempdir())
    a_day, disk_gb = PER_SECOND * DAY_SECONDS, disk.f_blocks * disk.f_frsize / 1e9
    wire_mb = folder["kB on the wire"] / 1000
    rows = [
        _row("PostgreSQL: connections", WORKERS, MAX_CONNECTIONS),
        _row("run folders: s of each second in which one driver writes", PER_SECOND * folder["write s"], 1),
        _row(
            "run folders: inodes a day, of this disk",
            a_day * (folder["files"] + folder["folders"]),
            disk.f_files,
        ),
        _row("run folders: GB a day, of this disk", a_day * folder["kB on disk"] / 1e6, disk_gb),
        _row("object stores: MB of all tasks in flight, of 1,000 x 200", 1.5 * WORKERS * wire_mb, 200_000),
        _row("network: MB/s to the driver, of 1 Gbit/s", PER_SECOND * wire_mb, 125),
    ]
    for each in storages:
        name, scale = each["storage"], WORKERS / RUNNING / 1000
        look, server = each["look ms"] * scale, each["look ms elsewhere"] * scale
        looks = LOOKS + LOOKS_OF_PRUNER
        idle = WORKERS / 2 * LOOKS / 2 / (IDLE_SECONDS + LOOKS / 2 * look)
        joins = a_day * each["join ms each"] / 1000
        rows += [
            _row(f"{name}: trials per second", PER_SECOND, each[f"{PROCESSES[-1]} processes"]),
            _row(f"{name}: GB a day, of this disk", a_day * each["kB each"] / 1e6, disk_gb),
            _row(f"{name}: s of a trial in which it looks at others (pruner)", looks * look, TRIAL_SECONDS),
            _row(f"{name}: s to join after a day, of a trial's", joins, TRIAL_SECONDS),
        ]
        if name == "postgresql":
            rows += [
                _row(f"{name}: cores of its server that answer looks", PER_SECOND * looks * server, CORES),
                _row(f"{name}: the same at the end, half of the workers idle", idle * server / 2, CORES),
            ]
    return rows


def _row(what: str, needed: float, there: float) -> Row:
    return {"at 1,000 workers": what, "needed": float(needed), "there": float(there), "share": needed / there}


def _median_seconds(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    _process(sys.argv[1], sys.argv[2], float(sys.argv[3]))
