"""Students trained with 6 agents act in teams of other sizes: as they are, and after a short fine-tuning.

`cesma run spread-6` once (its run folder is used again), then for each size `cesma evaluate`, and `cesma run`
from the weights of both: in a team of that size, the students learn from the expert for a short while. Every
measurement of cost is a process of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.main_job import run_command

SIZES = (3, 6, 12, 24)
EPISODES = 200
FINE_TUNING = 10_000
WORLDS = 64
POLICIES = ("students", "fine-tuned", "expert", "reference", "random")
OUT = Path("runs") / "benchmarks" / "growing-teams"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "growing-teams.png"

_COST = f"""
import resource, sys, time
import numpy as np, torch
from cesma_sb3.envs import make_vec_env
from cesma_sb3.policies import load_team
torch.set_num_threads(1)
env = make_vec_env("spread", kwargs={{"n_agents": int(sys.argv[2])}}, n_envs={WORLDS}, seed=0)
team = load_team(sys.argv[1], team=env.team)
observations, times = env.reset(), []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(25):
    started = time.perf_counter()
    actions, _ = team.predict(observations, deterministic=True)
    times.append(time.perf_counter() - started)
    observations, *_ = env.step(actions)
print(np.median(times) / {WORLDS} * 1e6, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def run_growing_teams() -> dict[str, Any]:
    """`ours` is the students' return in a team twice as large as theirs, `theirs` the reference's there.

    In a crowd the reference collides as much as a random team does. Scores are therefore normalised by the
    better of the reference and the expert in a team of that size.
    """
    trained = _run("spread-6", OUT / "spread-6")
    rows = [_row(size, trained) for size in SIZES]
    twice = next(row for row in rows if row["agents"] == 12)
    _draw(rows)
    return {
        "ours": twice["students"],
        "theirs": twice["reference"],
        "unit": "return with 12 agents: of students trained with 6, and of the scripted reference",
        "teams": rows,
        "compared": {
            "students, expert": f"as they were trained with 6 agents; returns of {EPISODES} episodes",
            "fine-tuned": f"the students after {FINE_TUNING:,} timesteps of DAgger from that expert in the "
            "team of that size; the best of before and after",
            "score, tuned score": "(return - random) / (best - random), before and after fine-tuning; best "
            "is the greater of reference and expert",
            "microseconds": f"of all agents' actions for one step of one world, of {WORLDS} worlds together, "
            "one thread",
            "megabytes": "by which these steps raise the peak of resident memory",
            "figure": "docs/images/growing-teams.png",
        },
    }


def _row(size: int, trained: Path) -> dict[str, Any]:
    other_team = ("--set", f"env.kwargs.n_agents={size}", "--episodes", str(EPISODES))
    report = json.loads(_cesma("evaluate", str(trained), *other_team, "--json"))
    tuned = _run(
        "spread-6",
        OUT / f"fine-tuned-{size}",
        f"env.kwargs.n_agents={size}",
        f"expert.init_from={trained}",
        "expert.total_timesteps=0",
        f"students.init_from={trained}",
        f"dagger.total_timesteps={FINE_TUNING}",
        "dagger.learning_rate=0.001",
        "dagger.samples_per_update=16",
        f"evaluation.eval_freq={FINE_TUNING}",
        f"evaluation.n_final_episodes={EPISODES}",
    )
    fine_tuned = json.loads((tuned / "report.json").read_text())
    cost = _python("-c", _COST, str(trained / "students"), str(size))
    microseconds, megabytes = map(float, cost.split())
    returns = report["return"] | {"fine-tuned": fine_tuned["return"]["students"]}
    random, best = returns["random"], max(returns["reference"], returns["expert"])
    score, tuned_score = ((returns[name] - random) / (best - random) for name in POLICIES[:2])
    return {
        "agents": size,
        **{name: round(returns[name], 1) for name in POLICIES},
        "score": round(score, 3),
        "tuned score": round(tuned_score, 3),
        "microseconds": round(microseconds),
        "megabytes": round(megabytes),
    }


def _python(*arguments: str) -> str:
    """What a process of Python prints."""
    return subprocess.run(
        [sys.executable, *arguments], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


def _cesma(*arguments: str) -> str:
    return _python("-m", "cesma_sb3", *arguments)


def _run(name: str, folder: Path, *settings: str) -> Path:
    """A run, unless it is there already."""
    if not (folder / "report.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # one that was interrupted
        run_command(name, 0, folder, *settings)
    return folder


def _draw(rows: list[dict[str, Any]]) -> None:
    """Return, score, time and memory against the number of agents."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    returns, scores, time, memory = figure.subplots(1, 4)
    agents = [row["agents"] for row in rows]
    for key, label, color in (
        ("students", "students, trained with 6", "#D55E00"),
        ("fine-tuned", f"fine-tuned, {FINE_TUNING:,} timesteps", "#009E73"),
        ("expert", "expert, trained with 6", "#0072B2"),
        ("reference", "scripted reference", "#6b7280"),
        ("random", "random", "#c4c9d2"),
    ):
        values = [row[key] / row["agents"] for row in rows]
        returns.plot(agents, values, "o-", color=color, label=label, markersize=4)
    returns.set_ylabel("return per agent")
    returns.legend(frameon=False, fontsize=7.5)
    for key, color in (("score", "#D55E00"), ("tuned score", "#009E73")):
        scores.plot(agents, [row[key] for row in rows], "o-", color=color, markersize=4)
    scores.set_ylabel("normalised by the best known policy")
    scores.set_ylim(0, 1.05)
    for axes, key, unit in (
        (time, "microseconds", "microseconds a step, all agents"),
        (memory, "megabytes", "megabytes, 64 worlds"),
    ):
        axes.plot(agents, [row[key] for row in rows], "o-", color="#D55E00", markersize=4)
        axes.set_ylabel(unit)
        axes.set_yscale("log")
    for axes in (returns, scores, time, memory):
        axes.set_xlabel("agents")
        axes.set_xscale("log", base=2)
        axes.set_xticks(agents, [str(n) for n in agents])
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=150)
