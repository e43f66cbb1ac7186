"""What a step and an update cost in battles of 3, 8 and 27 units, beside JaxMARL's and EPyMARL's own.

Each battle is measured in a process of its own (`battle_costs`), with one thread for PyTorch: SMAX's compiled
step with all that the joint environment adds, and updates of the recurrent learner on whole episodes, as
`registry/smax-3m-sum-of-q.yaml` has them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.battle_costs import BATCH, N_ENVS

MAPS = ("3m", "3s5z", "27m_vs_30m")


def run_battles() -> dict[str, Any]:
    """`ours` is the steps per second with 3 units, `theirs` with 27."""
    rows = [_measure(name) for name in MAPS]
    profiles = [{"map": row["map"], **row.pop("profile")} for row in rows]
    few, many = rows[0], rows[-1]
    grown = {key: round(many[key] / few[key], 1) for key in ("joint observation", "step us", "act us")}
    grown["update"] = round(few["updates per second"] / many["updates per second"], 1)
    return {
        "ours": few["steps per second"],
        "theirs": many["steps per second"],
        "unit": "environment steps per second, 3 against 3 and 27 against 30",
        "ratio": round(few["steps per second"] / many["steps per second"], 2),
        "times as much with 27": grown,
        "battles": rows,
        "where the time of learning goes": profiles,
        "compared": {
            "steps": f"{N_ENVS} battles in one jitted call, random available actions; medians",
            "JaxMARL's own": "its jitted step of as many battles, which draws actions too; in turns",
            "act": "of the expert's greedy actions for one battle",
            "updates": f"of the sum-of-Q expert, {BATCH} whole episodes each; medians",
            "EPyMARL's IQL": "its updates on episodes of the same number and length, in turns with ours; the "
            "variable EPYMARL names its checkout",
            "compile s": "of the first reset and step",
        },
    }


def _measure(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.battle_costs", name],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row
