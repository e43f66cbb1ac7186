"""Expert and students of `smax-3s5z` beside JaxMARL's own learners in the same battle.

Each learner of JaxMARL trains twice, in a process of its own: for as many samples as ours need together, and
for as much processor time. What is there already below runs/benchmarks/battle-peers is not made again. The
variable JAXMARL names JaxMARL's checkout (`jaxmarl_peer`), and MAP another battle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jaxmarl_peer import PEERS
from benchmarks.main_job import report_of

OUT = Path("runs/benchmarks/battle-peers")
SEED = 0
LAST = 10
"""Updates at the end of a peer's training whose battles are counted: some 3,000 of them."""
ROUND = 128 * 128
"""Samples of an update of each peer."""


def run_battle_peers() -> dict[str, Any]:
    """`ours` is the students' win rate, `theirs` the best of the peers at as many samples."""
    battle = os.environ.get("MAP", "3s5z")
    name = f"smax-{battle}"
    report = report_of(name, SEED, OUT / f"{name}-seed-{SEED}")
    samples = sum(report["env_samples"].values())
    seconds = sum(report["processor_seconds"].values())
    won = {policy: report["win_rate"][policy]["rate"] for policy in ("expert", "students")}
    rows = [
        {"system": f"ours, {policy}", "as much": "", **_row(samples, rate, seconds)}
        for policy, rate in won.items()
    ]
    for peer in PEERS:
        same = _peer(peer, battle, samples)
        rows.append({"system": f"JaxMARL's {peer}", "as much": "samples", **same})
        longer = max(1, round(samples * seconds / same["processor s"] / ROUND)) * ROUND
        rows.append(
            {"system": f"JaxMARL's {peer}", "as much": "processor time", **_peer(peer, battle, longer)}
        )
    return {
        "ours": won["students"],
        "theirs": max(row["win rate"] for row in rows if row["as much"] == "samples"),
        "unit": f"share of the battles {battle} that are won",
        "systems": rows,
        "compared": {
            "win rate": f"ours: {report['episodes']} battles after training; theirs: of the battles in the "
            f"last {LAST} updates, in which PPO draws its actions, and of greedy tests of PQN",
            "values": "each learner's own, as they are published; rates that fall do so within these samples",
            "processor s": "compilation included, and evaluations in training",
        },
    }


def _peer(peer: str, battle: str, samples: int) -> dict[str, Any]:
    file = OUT / f"{peer}-{battle}-{samples}-seed-{SEED}.json"
    if not file.exists():
        command = [sys.executable, "-m", "benchmarks.jaxmarl_peer", peer, battle, str(samples), str(SEED)]
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
        OUT.mkdir(parents=True, exist_ok=True)
        file.write_text(done.stdout.splitlines()[-1] + "\n")
    curve = json.loads(file.read_text())
    rate = float(np.mean([each["win_rate"] for each in curve[-LAST:]]))
    return _row(curve[-1]["samples"], rate, curve[-1]["processor_seconds"])


def _row(samples: int, rate: float, seconds: float) -> dict[str, Any]:
    return {"samples": samples, "win rate": round(rate, 3), "processor s": round(seconds)}
