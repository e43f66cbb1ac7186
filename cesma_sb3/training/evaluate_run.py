"""`evaluate_run` evaluates the policies of a finished run again; `final_returns` is how every run does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cesma_sb3.evaluation import MessageAblation, Returns, ablate_messages, make_actor
from cesma_sb3.experts import Expert
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.context import torch_settings
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.report import make_report
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.closing import closing


def evaluate_run(
    run_dir: Path | str,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    messages: MessageAblation | None = None,
    trust: bool = False,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Evaluates the policies of a run folder again, perhaps in another environment.

    Args:
        run_dir: The folder of a finished run, or the name of a pretrained team.
        episodes: Number of episodes of each policy; None: as many as the experiment says.
        seed: Seed of the episodes' initial states; None: the run's, which gives the report's own numbers.
        messages: What the students receive (`ablate_messages`); None: the messages that were sent.
        trust: Whether the folder may run the code that it names or holds, though it was made elsewhere.
        overrides: Values in place of the run's, by dotted key or nested. Agents are found by their names, in
            whatever order the environment has them. With `env.kwargs.n_agents`, policies over entities, whose
            agents share all weights, act in a team of another size.
        **more: Further overrides, as keywords: `expert={"n_envs": 8}`.

    Returns:
        `return`, `normalized`, `std` and `standard_error` by policy, and `episodes`.

    Raises:
        StorageError: A file of the run is missing or torn, or its weights belong to other agents.
        UntrustedError: The folder would run code, and was not made here.
        ConfigError: A value is out of its range.
        LayoutError: `messages` is given, and nobody receives any in this team.
        UnknownNameError: There is no such ablation of messages.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    changes = {**(overrides or {}), **more} | ({} if seed is None else {"seed": seed})
    if episodes is not None:
        changes = {**changes, "evaluation.n_final_episodes": episodes}
    experiment = folder.load(changes)
    with (
        torch_settings(experiment.threads),
        closing(Evaluator(experiment, agents=folder.agents)) as evaluator,
    ):
        expert = None if experiment.dagger is None else load_expert(folder, experiment, evaluator)
        students = evaluator.act_of(load_students(folder, evaluator.venv.team))
        if messages is not None:
            rng = np.random.default_rng(evaluator.seeds.students)
            students = ablate_messages(students, evaluator.venv.team, messages, rng)
        returns = final_returns(evaluator, expert, students)
    return make_report(experiment, returns)


def final_returns(
    evaluator: Evaluator,
    expert: Expert | None,
    students: Actor | None,
    measured: Mapping[str, Returns] = MappingProxyType({}),
) -> dict[str, Returns]:
    """Measures the returns of each policy, all on the same initial states.

    Args:
        evaluator: Measures them, and those of a random team and the reference.
        expert: The expert; None of a baseline.
        students: The students, acting; None of an expert that is trained alone.
        measured: Returns that were measured already, by policy.

    Returns:
        Those of each policy of which any are known.
    """
    actors = {"expert": None if expert is None else make_actor(expert), "students": students}
    returns = {
        policy: measured[policy] if policy in measured else evaluator.final(actor)
        for policy, actor in actors.items()
        if actor is not None
    }
    known = {policy: each for policy, each in returns.items() if len(each.team)}
    return {**known, **evaluator.anchors()}
