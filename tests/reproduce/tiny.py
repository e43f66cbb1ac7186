"""A figure whose runs take seconds, and run folders that were never run."""

import json

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.training.run_folder import EVALUATIONS, RunFolder

TINY = {
    "dagger.total_timesteps": 128,
    "dagger.n_envs": 8,
    "students.network": "feed-forward",
    "students.hidden_sizes": [8],
    "evaluation": {"n_final_episodes": 4, "n_eval_episodes": 2, "eval_freq": 64, "n_envs": 2},
}
SEEDS = {"quick": 1, "registered": 2, "full": 3}
FAILS = {**TINY, "dagger.labels": "soft", "env.kwargs.continuous_actions": True}  # numbers have none


def as_words(values):
    """Values as the command line takes them."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def line(label="CESMA", kind="students", overrides=TINY, experiment="spread-3-scripted", **more):
    return {"experiment": experiment, "label": label, "kind": kind, "overrides": overrides, **more}


def panel(name, *lines, **more):
    return {"name": name, "title": name.title(), "lines": list(lines), **more}


def write_figure(path, *panels, **more):
    content = {"title": "A figure", "source": "Figure 0", "seeds": SEEDS, "panels": list(panels), **more}
    path.write_text(write_mapping(content))
    return path


def write_run(
    path,
    *,
    seed=0,
    expert=(),
    students=(),
    final=-20.0,
    losses=None,
    experiment="spread-3-scripted",
    wins=None,
):
    """A finished run's folder.

    Points of a curve are samples and return, of students perhaps gradient steps too.
    `wins` is the students' final win rate; on the way it was the return plus 50, in hundredths.
    """
    run = RunFolder.create(load_experiment(experiment, {"seed": seed}, check_names=False), path)
    offset = expert[-1][0] if expert else 0
    rows = [("expert", x, y, None) for x, y in expert]
    rows += [("students", x + offset, y, *(updates or [None])) for x, y, *updates in students]
    won = {} if wins is None else {"win_rate": lambda score: score / 100 + 0.5}
    run.write_csv(
        EVALUATIONS,
        [
            {"stage": s, "env_samples": x, "updates": u, "return": y}
            | {name: of(y) for name, of in won.items()}
            for s, x, y, u in rows
        ],
    )
    if losses is not None:
        run.write_csv("logs/students/progress.csv", losses)
    own = {"expert": offset, "decentralize": students[-1][0]} if expert else {"students": students[-1][0]}
    returns = {
        "students": final,
        "random": -50.0,
        "reference": 0.0,
        **({"expert": final + 1} if expert else {}),
    }
    scores = {policy: value / 50 + 1 for policy, value in returns.items()}
    report = {"return": returns, "normalized": scores, "env_samples": own, "seconds": dict.fromkeys(own, 2.0)}
    if wins is not None:
        rate = {"rate": wins, "low": wins - 0.1, "high": wins + 0.1}
        report["win_rate"] = dict.fromkeys(returns, rate)
    run.finish(report)
    return json.loads((path / "report.json").read_text())
