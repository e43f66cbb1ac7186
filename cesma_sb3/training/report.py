"""The report and result files of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs import reward_definition
from cesma_sb3.errors import CesmaError, StorageError, error_line
from cesma_sb3.evaluation import Returns, normalized
from cesma_sb3.policies import TeamEnsemble, parameter_counts, team_files
from cesma_sb3.policies.save_util import weights
from cesma_sb3.training.acting_mode import ActingMode, below_random
from cesma_sb3.training.callbacks import Curve, CurvePoint
from cesma_sb3.training.experiment_files import MODEL, STUDENTS_MODEL, names_a_team
from cesma_sb3.training.outcome import NOT_TRAINED, Outcome, TrainedExpert, TrainedStudents
from cesma_sb3.training.pretrained import save_model
from cesma_sb3.training.run_folder import EVALUATIONS, EXPERT, EXPERT_WEIGHTS, FIGURE, STUDENTS, RunFolder
from cesma_sb3.utils.plotting import draw_learning_curves
from cesma_sb3.utils.tables import interval, number


def make_report(
    experiment: Experiment, returns: Mapping[str, Returns], outcome: Outcome | None = None
) -> dict[str, Any]:
    """Makes the content of `report.json`.

    Args:
        experiment: As resolved.
        returns: Returns of `expert`, `students` and `random`, of `reference` where the environment has one,
            and of `imitators`: the students before fine-tuning.
        outcome: What was trained, and what that cost; None where policies are only evaluated again.
    """
    random = returns["random"].mean
    reference = returns["reference"].mean if "reference" in returns else float("nan")
    report: dict[str, Any] = {
        "name": experiment.name,
        "seed": experiment.seed,
        "reward": _reward(experiment),
        "episodes": experiment.evaluation.n_final_episodes,
        "return": {policy: each.mean for policy, each in returns.items()},
        "normalized": {
            policy: normalized(each.mean, random=random, reference=reference)
            for policy, each in returns.items()
        },
        "std": {policy: each.std for policy, each in returns.items()},
        "standard_error": {policy: each.standard_error for policy, each in returns.items()},
        "agent_return": {
            policy: {agent: float(values.mean()) for agent, values in each.agents.items()}
            for policy, each in returns.items()
        },
    }
    if wins := {policy: _win_rate(each) for policy, each in returns.items() if each.wins is not None}:
        report["win_rate"] = wins
    modes = {} if outcome is None else outcome.modes
    notes = _notes(returns, modes)
    if outcome is not None and (imitated := outcome.imitators or outcome.students) is not None:
        notes += [NOT_TRAINED] * (imitated.n_updates == 0)
    if notes:
        report["notes"] = notes
    if outcome is not None:
        report["deterministic"] = {who: mode.deterministic for who, mode in modes.items()}
        if outcome.students is not None:
            report["deterministic"]["students"] = outcome.students.policy.acts_deterministically
        if measured := {who: _measured(mode) for who, mode in modes.items() if mode.alternatives}:
            report["acting_modes"] = measured
        stages = outcome.stages
        report["env_samples"] = {name: stage.env_samples for name, stage in stages.items()}
        report["seconds"] = {name: round(stage.seconds, 2) for name, stage in stages.items()}
        report["processor_seconds"] = {
            name: round(stage.processor_seconds, 2) for name, stage in stages.items()
        }
        report["parameters"] = _parameters(outcome.expert, outcome.students)
        if (imitated := outcome.imitators or outcome.students) is not None:
            report["stopped_early"] = imitated.stopped_early
            if imitated.n_updates is not None:
                report["updates"] = {"decentralize": imitated.n_updates}
                report["experience"] = {"decentralize": imitated.n_experience}
    return report


POLICIES = ("expert", "imitators", "students", "reference", "random")
"""Policies of a report, in the order of their rows."""


def report_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return and normalised score of each policy of a report, and its win rate in battles, as text.

    Returns:
        Titles of the columns, and the rows.
    """
    returns, scores, wins = report["return"], report["normalized"], report.get("win_rate")
    rows = []
    for policy in (policy for policy in POLICIES if policy in returns):
        row = [policy, number(returns[policy]), number(scores.get(policy))]
        if wins is not None:
            won = wins.get(policy, {})  # nobody counted the wins of what was recorded
            row += [number(won.get("rate")), interval(won.get("low"), won.get("high"))]
        rows.append(row)
    return ["policy", "return", "normalized", *([] if wins is None else ["win rate", "95%"])], rows


def _measured(mode: ActingMode) -> dict[str, dict[str, float | None]]:
    """Returns the mean return of a policy in each of its modes."""
    measured: dict[str, dict[str, float | None]] = {}
    for name, each in mode.alternatives.items():
        measured[name] = {"return": each.mean, "standard_error": each.standard_error}
        if each.wins is not None:
            measured[name]["win_rate"] = each.win_rate
    return measured


def _notes(returns: Mapping[str, Returns], modes: Mapping[str, ActingMode]) -> list[str]:
    """Returns what a reader of the numbers must know, a line each."""
    notes = []
    for who, mode in modes.items():
        if mode.alternatives:
            both = ", ".join(f"{name} {each.mean:.4g}" for name, each in mode.alternatives.items())
            chosen = "deterministically" if mode.deterministic else "stochastically"
            notes.append(f"{who}: returns {both}: it acts {chosen}")
    if "expert" in returns and (low := below_random("expert", returns["expert"], returns["random"])):
        notes.append(low)
    if alike := [policy for policy, each in returns.items() if each.are_alike]:
        n_episodes = len(returns[alike[0]].team)
        notes.append(
            f"{', '.join(alike)}: {n_episodes} evaluation episodes are all alike: the environment has no "
            "randomness, or ignores its seed; counted as one"
        )
    return notes


def _win_rate(returns: Returns) -> dict[str, float | None]:
    """Returns the win rate with its 95% confidence interval."""
    low, high = returns.win_interval or (None, None)
    return {"rate": returns.win_rate, "low": low, "high": high}


def _parameters(trained: TrainedExpert | None, students: TrainedStudents | None) -> dict[str, dict[str, int]]:
    """Counts the parameters of each policy (`parameter_counts`): the paper compares at the same number."""
    trained_policies: dict[str, Any] = {"expert": None if trained is None else trained.model}
    if students is not None:
        team = students.policy
        alone = team.component(0) if isinstance(team, TeamEnsemble) else team
        trained_policies["students"] = students.model or alone
    counts = {name: parameter_counts(each) for name, each in trained_policies.items() if each is not None}
    if students is not None and students.model is None:  # SB3 gives it a critic, which imitation never uses
        counts["students"] |= {"critic": 0, "total": counts["students"]["actor"]}
    return counts


def _reward(experiment: Experiment) -> str:
    """Describes the reward: rewards of one name differ by up to fifteen times between codebases."""
    env = experiment.env
    weighted = "" if env.reward_weights is None else f", weighted by {list(env.reward_weights)}"
    reward = (
        reward_definition(env.id, env.kwargs)
        or f"the agents' rewards of {env.id}{weighted}, {env.team_reward or 'shared'}"
    )
    if env.agents is None or env.others is None:
        return reward
    others = "a saved team" if names_a_team(env.others) else env.others
    return f"{reward}; {', '.join(env.agents)} against {others}"


def _row(stage: str, point: CurvePoint) -> dict[str, Any]:
    """Returns a point of a learning curve as a row of the table of evaluations."""
    score = point.score
    won = {} if score.win_rate is None else {"win_rate": score.win_rate}
    updates = {} if point.n_updates is None else {"updates": point.n_updates}
    return {"stage": stage, "env_samples": point.timesteps, **updates, "return": score.mean, **won}


def _curves(outcome: Outcome) -> dict[str, Curve]:
    """Returns the learning curves of all stages; each begins at the environment samples of those before."""
    names = {"decentralize": "students", "fine-tune": "fine-tuned"}
    curves: dict[str, Curve] = {"expert": []}
    offset = 0
    for stage, each in outcome.stages.items():
        curves[names.get(stage, stage)] = [
            dataclasses.replace(point, timesteps=offset + point.timesteps) for point in each.curve
        ]
        offset += each.env_samples
    return curves


def save_results(
    folder: RunFolder,
    experiment: Experiment,
    *,
    returns: Mapping[str, Returns],
    outcome: Outcome,
    report: Mapping[str, Any],
    draws: bool = True,
) -> None:
    """Writes all results into the run folder, the report last: a folder that has one is complete.

    Args:
        folder: The run folder.
        experiment: As resolved.
        returns: Returns of each policy, as in `make_report`.
        outcome: What was trained.
        report: The report of these.
        draws: Whether to draw the figure too, which takes most of the time.

    Raises:
        StorageError: Something that was trained cannot be written, or the disk is full.
    """
    trained, students = outcome.expert, outcome.students
    if students is not None:
        with _writing(STUDENTS):
            folder.write_folder(STUDENTS, team_files(students.policy))
    if trained is not None and trained.model is not None:
        # Twice: for whoever loads a run (weights alone: no code), and for whoever uses SB3.
        model = trained.model
        policy = model.policy if isinstance(model, BaseAlgorithm) else model
        with _writing(f"{EXPERT}/{EXPERT_WEIGHTS}"):
            folder.write_bytes(f"{EXPERT}/{EXPERT_WEIGHTS}", weights(policy))
        if isinstance(model, BaseAlgorithm) and not trained.is_pretrained:  # else its file is there already
            with _writing(MODEL):
                folder.write_with(MODEL, partial(save_model, model))
    if students is not None and students.model is not None:
        with _writing(STUDENTS_MODEL):
            folder.write_with(STUDENTS_MODEL, partial(save_model, students.model))
    curves = _curves(outcome)
    folder.write_csv(EVALUATIONS, [_row(stage, point) for stage, curve in curves.items() for point in curve])
    folder.write_json("episodes.json", {policy: each.team for policy, each in returns.items()})
    if draws:
        with _writing(FIGURE):
            _draw(folder, experiment, returns, curves, str(report["reward"]))
    folder.finish(report)


@contextmanager
def _writing(what: str) -> Iterator[None]:
    """Turns an error of a user's or library's code that makes the content of a file into one line."""
    try:
        yield
    except (CesmaError, OSError):
        raise
    except Exception as error:  # whatever pickling or drawing raises
        raise StorageError(f"{what}: cannot be written: {error_line(error)}") from error


def _draw(
    folder: RunFolder,
    experiment: Experiment,
    returns: Mapping[str, Returns],
    curves: Mapping[str, Curve],
    reward: str,
) -> None:
    folder.write_with(
        FIGURE,
        lambda path: draw_learning_curves(
            path,
            expert=_returns_of(curves["expert"]),
            students=_returns_of([*curves.get("students", []), *curves.get("fine-tuned", [])]),
            reference_returns={
                policy: returns[policy].mean for policy in ("reference", "random") if policy in returns
            },
            title=f"{experiment.name}, seed {experiment.seed}",
            reward=reward,
        ),
    )


def _returns_of(curve: Curve) -> list[tuple[int, float]]:
    """Returns a learning curve as it is drawn: environment samples and mean return."""
    return [(point.timesteps, point.score.mean) for point in curve]
