"""Students trained with 6 agents act in teams of other sizes: as they are, and after a short fine-tuning.

`spread-12-scripted` is run with 6 agents once, its students are evaluated with each size, and it is run from
their weights in a team of that size; 24 agents start from the weights that were fine-tuned with 12. Runs that
are there already are used again. Every measurement of cost is a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import cesma_sb3
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.experts import Expert
from cesma_sb3.experts.scripted.steering import columns_of
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Observations, Packed
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.evaluator import Evaluator

TRAINED = 6
EPISODES = 64
TRAINING = 40_000
# Timesteps of fine-tuning by the size of the team; those of 24 agents cost twice those of 12.
FINE_TUNING = {3: 20_000, 6: 0, 12: 20_000, 24: 10_000}
WORLDS = 64
OUT = Path("runs") / "benchmarks" / "growing-teams"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "growing-teams.png"

_COST = f"""
import os, resource, sys, time
import numpy as np, torch
from cesma_sb3.envs import make_vec_env
from cesma_sb3.policies import load_team
torch.set_num_threads(1)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def measure(size):
    env = make_vec_env("spread", kwargs={{"n_agents": size}}, n_envs={WORLDS}, seed=0)
    team = load_team(sys.argv[1], team=env.team)
    observations, times, before = env.reset(), [], peak()
    for _ in range(25):
        started = time.process_time()
        actions, _ = team.predict(observations, deterministic=True)
        times.append(time.process_time() - started)
        observations, *_ = env.step(actions)
    print(np.median(times) / {WORLDS} * 1e6, peak() - before, flush=True)

for size in map(int, sys.argv[2:]):
    if os.fork() == 0:  # a process of its own, whose peak of memory is its own
        measure(size)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def run_growing_teams() -> dict[str, Any]:
    """`ours` is the fine-tuned students' score with 12 agents, `theirs` that of the students as they were.

    Scores are normalised by the scripted reference, which looks out for others.
    """
    trained = _run("spread-12-scripted", OUT / f"trained-{TRAINED}", TRAINED, TRAINING)
    rows, start = [], trained
    for size, timesteps in FINE_TUNING.items():
        tuned = _fine_tuned(size, timesteps, start) if timesteps else start
        if size > TRAINED:
            start = tuned
        rows.append(_row(size, trained, tuned))
    rows = [row | cost for row, cost in zip(rows, _costs(trained), strict=True)]
    twice = next(row for row in rows if row["agents"] == 2 * TRAINED)
    _draw(rows)
    return {
        "ours": twice["tuned score"],
        "theirs": twice["score"],
        "unit": "normalised score with 12 agents: fine-tuned, and as they were trained with 6",
        "teams": rows,
        "compared": {
            "students": f"as they were trained with 6 agents, {TRAINING:,} timesteps of DAgger; returns of "
            f"{EPISODES} episodes",
            "fine-tuned": "after so many timesteps more in that team, the best of before and after it; "
            "with 24 agents from the weights with 12",
            "unseeing": "the scripted reference, if each agent plans with the others' velocities taken for "
            "0: like students it does not see them, but unlike them it knows what all others see else",
            "scores": "(return - random) / (reference - random)",
            "observation": "entries of the joint observation",
            "microseconds": "of the processor, for all agents' actions in one step of one world, of "
            f"{WORLDS} worlds together",
            "megabytes": "by which these steps raise the peak of resident memory",
            "figure": "docs/images/growing-teams.png",
        },
    }


def _fine_tuned(size: int, timesteps: int, start: Path) -> Path:
    """A run in a team of that size from the weights of another."""
    name = "spread-24-scripted" if size == 24 else "spread-12-scripted"
    more = {"students.init_from": str(start), "dagger.learning_rate": 1e-3}
    return _run(name, OUT / f"fine-tuned-{size}", size, timesteps, more)


def _run(name: str, folder: Path, size: int, timesteps: int, more: dict[str, Any] | None = None) -> Path:
    """A run with a team of that size, unless it is there already."""
    if not (folder / "report.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # one that was interrupted
        values = {"env.kwargs.n_agents": size, "dagger.total_timesteps": timesteps, **(more or {})}
        cesma_sb3.run(name, out=folder, overrides={**values, "evaluation.n_final_episodes": EPISODES})
    return folder


def _row(size: int, trained: Path, tuned: Path) -> dict[str, Any]:
    other_team = {"env.kwargs.n_agents": size}
    returns = evaluate_run(trained, episodes=EPISODES, overrides=other_team)["return"]
    # From a smaller team's weights the initial states are the same: those of the seed.
    returns["fine-tuned"] = evaluate_run(tuned, episodes=EPISODES, overrides=other_team)["return"]["students"]
    returns["unseeing"] = _unseeing_return(other_team)
    random, reference = returns["random"], returns["reference"]

    def score(policy: str) -> float:
        return float(round((returns[policy] - random) / (reference - random), 3))

    names = ("students", "fine-tuned", "unseeing", "reference", "random")
    return {
        "agents": size,
        "timesteps": FINE_TUNING[size],
        **{name: round(returns[name], 1) for name in names},
        "score": score("students"),
        "tuned score": score("fine-tuned"),
        "unseeing score": score("unseeing"),
        "observation": 6 * size**2,
    }


def _costs(trained: Path) -> list[dict[str, int]]:
    """Time and memory of a step for each size."""
    command = [sys.executable, "-c", _COST, str(trained / "students"), *map(str, FINE_TUNING)]
    printed = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    lines = [map(float, line.split()) for line in printed.splitlines()]
    return [{"microseconds": round(time), "megabytes": round(memory)} for time, memory in lines]


def _unseeing_return(other_team: dict[str, Any]) -> float:
    """Mean return of the reference if no agent sees the others' velocities."""
    more = {**other_team, "evaluation.n_final_episodes": EPISODES}
    with closing(Evaluator(load_experiment("spread-12-scripted", more))) as evaluator:
        assert evaluator.reference is not None
        return float(evaluator.final(_unseeing(evaluator.reference, evaluator.venv.team)).mean)


def _unseeing(expert: Expert, team: TeamSpaces) -> Callable[[Observations, Masks | None], Packed]:
    """Each agent plans for all as the expert does, and takes the others to stand still."""
    velocities = [columns_of(team, agent, "velocity") for agent in range(team.n_agents)]

    def act(observations: Observations, _: Masks | None) -> Packed:
        actions = np.empty((len(observations), team.n_columns), dtype=np.int64)
        for agent, own in enumerate(velocities):
            seen = observations.copy()
            seen[:, np.concatenate(velocities)] = 0.0
            seen[:, own] = observations[:, own]
            actions[:, agent] = expert.labels(seen)[:, agent]
        return actions

    return act


def _draw(rows: list[dict[str, Any]]) -> None:
    """Score, time and memory against the number of agents."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    scores, time, memory = figure.subplots(1, 3, width_ratios=(1.4, 1, 1))
    agents = [row["agents"] for row in rows]
    for key, label, color in (
        ("tuned score", "fine-tuned in a team of that size", "#009E73"),
        ("score", f"as trained with {TRAINED}", "#D55E00"),
        ("unseeing score", "reference that does not see the others' velocities", "#6b7280"),
    ):
        values = [row[key] for row in rows]
        style = "o--" if key == "unseeing score" else "o-"
        scores.plot(agents, values, style, color=color, label=label, markersize=4)
    scores.set_ylabel("score: 0 random, 1 reference")
    scores.set_ylim(0, 1.05)
    scores.legend(frameon=False, fontsize=8, loc="lower left")
    observation = [row["observation"] for row in rows]
    for axes, key, unit in (
        (time, "microseconds", "microseconds a step, all agents"),
        (memory, "megabytes", f"megabytes, {WORLDS} worlds"),
    ):
        values = [row[key] for row in rows]
        grown = [values[0] * each / observation[0] for each in observation]
        axes.plot(agents, grown, ":", color="#6b7280", label="as the joint observation grows")
        axes.plot(agents, values, "o-", color="#D55E00", markersize=4, label="students")
        axes.set_ylabel(unit)
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    for axes in (scores, time, memory):
        axes.set_xlabel("agents")
        axes.set_xscale("log", base=2)
        axes.set_xticks(agents, [str(n) for n in agents])
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=150)
