"""What a run comes to: the report, and the files that hold what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cesma_sb3.config import Experiment
from cesma_sb3.evaluation import Returns, normalized
from cesma_sb3.networks.storage import team_files, weights
from cesma_sb3.report.figure import draw_learning_curves
from cesma_sb3.runs import EVALUATIONS, EXPERT, EXPERT_WEIGHTS, FIGURE, STUDENTS, RunFolder
from cesma_sb3.stages import TrainedExpert, TrainedStudents

REWARDS = {
    "paper": "the paper's, shared: minus the distance of the nearest agent to each landmark, minus 1 a "
    "colliding pair, summed over the episode",
    "mpe2": "mpe2's, combined over the agents as env.team_reward says",
}


def make_report(
    experiment: Experiment,
    returns: Mapping[str, Returns],
    trained: TrainedExpert | None = None,
    students: TrainedStudents | None = None,
) -> dict[str, Any]:
    """What `report.json` holds.

    Args:
        experiment: As resolved.
        returns: `expert`, `students`, `random`, and `reference` where the environment has one.
        trained: The expert, with what it cost; None where policies are only measured again.
        students: The students, likewise.
    """
    random = returns["random"].mean
    reference = returns["reference"].mean if "reference" in returns else float("nan")
    report: dict[str, Any] = {
        "name": experiment.name,
        "seed": experiment.seed,
        "reward": reward_definition(experiment),
        "episodes": experiment.evaluation.episodes,
        "return": {policy: found.mean for policy, found in returns.items()},
        "normalized": {
            policy: normalized(found.mean, random=random, reference=reference)
            for policy, found in returns.items()
        },
        "std": {policy: found.std for policy, found in returns.items()},
        "standard_error": {policy: found.standard_error for policy, found in returns.items()},
        "agent_return": {
            policy: {agent: float(values.mean()) for agent, values in found.agents.items()}
            for policy, found in returns.items()
        },
    }
    if trained is not None and students is not None:
        report["env_samples"] = {"expert": trained.env_samples, "decentralize": students.env_samples}
        report["seconds"] = {
            "expert": round(trained.seconds, 2),
            "decentralize": round(students.seconds, 2),
        }
        report["stopped_early"] = students.stopped_early
    return report


def reward_definition(experiment: Experiment) -> str:
    """The reward in words: rewards of one name differ by up to fifteen times between codebases."""
    env = experiment.env
    if env.id == "spread":
        return REWARDS[env.kwargs.get("reward", "paper")]
    return f"the agents' rewards of {env.id}, {env.team_reward or 'shared'}"


def save_results(
    folder: RunFolder,
    experiment: Experiment,
    *,
    returns: Mapping[str, Returns],
    trained: TrainedExpert,
    students: TrainedStudents,
    report: Mapping[str, Any],
) -> None:
    """Writes everything into the run folder, the report last: a folder that has one is complete."""
    folder.write_folder(STUDENTS, team_files(students.policy))
    if trained.model is not None:
        # Twice: for whoever loads a run (weights alone: no code), and for whoever uses SB3.
        folder.write_folder(EXPERT, {EXPERT_WEIGHTS: weights(trained.model.policy)})
        folder.write_with(f"{EXPERT}/model.zip", trained.model.save)
    offset = trained.env_samples
    folder.write_csv(EVALUATIONS, _evaluation_rows(trained, students))
    folder.write_json("episodes.json", {policy: found.team for policy, found in returns.items()})
    folder.write_with(
        FIGURE,
        lambda path: draw_learning_curves(
            path,
            expert=trained.curve,
            students=[(offset + samples, score) for samples, score in students.curve],
            anchors={policy: returns[policy].mean for policy in ("reference", "random") if policy in returns},
            title=f"{experiment.name}, seed {experiment.seed}",
            reward=str(report["reward"]),
        ),
    )
    folder.finish(report)


def _evaluation_rows(trained: TrainedExpert, students: TrainedStudents) -> list[dict[str, Any]]:
    offset = trained.env_samples
    rows = [{"stage": "expert", "env_samples": n, "return": score} for n, score in trained.curve]
    return rows + [{"stage": "students", "env_samples": offset + n, "return": s} for n, s in students.curve]
