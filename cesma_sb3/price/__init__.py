"""The price of decentralization: what a team loses to its expert, and to what.

Each number is defined in docs/price.md. Source: section 5 (Theorem 1) and appendix F.1 of the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.checkpoints import Checkpoints
from cesma_sb3.config import CheckpointConfig, Experiment
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import Act, Change, Returns, expert_act, greedy, with_channel
from cesma_sb3.experts import Expert, RecurrentExpert
from cesma_sb3.joint.channel import MessageChannel
from cesma_sb3.measure import Evaluator, threads
from cesma_sb3.networks import TeamEnsemble, TeamPolicy
from cesma_sb3.price.deviations import Deviations, deviations
from cesma_sb3.price.losses import disagreements, losses
from cesma_sb3.price.messages import channel_rows, information_rows
from cesma_sb3.price.regions import regions
from cesma_sb3.price.rows import Floats, Row, mean_row
from cesma_sb3.price.visits import Visits, visit
from cesma_sb3.progress import StageProgress
from cesma_sb3.registry import load_experiment
from cesma_sb3.runs import CONFIG, RunFolder
from cesma_sb3.stages import TrainedExpert, decentralize
from cesma_sb3.stored import load_expert, load_students

PRICE = "price.json"
_REGIONS = 3


@dataclasses.dataclass(frozen=True)
class Price:
    """What `price` gives."""

    rows: list[Row]
    settings: dict[str, Any]
    """How many episodes, which seed, how long the students that see everything were trained."""
    path: Path
    """`price.json` in the run folder, which holds the same."""


def price(
    run_dir: Path | str,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    timesteps: int | None = None,
    progress: bool = False,
) -> Price:
    """Measures what decentralization costs in a finished run, and writes it into the run folder.

    Args:
        run_dir: A finished run, of an expert and its students.
        episodes: Of each measurement; None: as many as the experiment's final evaluation has.
        seed: Of the initial states; None: the run's.
        timesteps: Environment timesteps of the students that see everything, which tell what partial
            observation costs; None: as many as the students had; 0: none are trained.
        progress: Show a progress bar while these are trained.

    Raises:
        ConfigError: The run is a baseline, which has no expert; or a number is out of its range.
        StorageError: The run did not finish, or a file is missing or torn.
    """
    folder = RunFolder.open(run_dir)
    report = folder.report()
    if folder.experiment.dagger is None:
        raise ConfigError(f"{folder.path}: dagger is null: nobody was imitated, and nothing has a price")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    if episodes is not None:
        changes["evaluation.episodes"] = episodes
    if timesteps is None:
        timesteps = int(report["env_samples"].get("decentralize", folder.experiment.dagger.total_timesteps))
    if timesteps < 0:
        raise ConfigError(f"timesteps: expected at least 0, got {timesteps}")
    experiment = load_experiment(folder.path / CONFIG, changes)
    with threads(experiment.threads), closing(Evaluator(experiment)) as evaluator:
        measured = _Measured(folder, experiment, evaluator)
        rows = [*measured.rows(timesteps, progress)]
    settings = {
        "episodes": experiment.evaluation.episodes,
        "seed": experiment.seed,
        "timesteps": timesteps,
    }
    content = {"rows": [dataclasses.asdict(row) for row in rows], "settings": settings}
    return Price(rows, settings, folder.write_json(PRICE, content))


class _Measured:
    """A run's two teams, measured on the same initial states."""

    def __init__(self, folder: RunFolder, experiment: Experiment, evaluator: Evaluator) -> None:
        self.folder, self.experiment, self.evaluator = folder, experiment, evaluator
        self.venv, self.team = evaluator.venv, evaluator.venv.team
        self.expert: Expert = load_expert(folder, evaluator)
        self.policy: TeamPolicy | TeamEnsemble = load_students(folder, self.team)
        self.returns = evaluator.final(greedy(self.policy))
        self.experts_returns = evaluator.final(expert_act(self.expert))
        self.of_students = self._visits(greedy(self.policy))
        self.of_expert = self._visits(None)

    @property
    def has_loss(self) -> bool:
        """Whether the loss of single steps can be told: a memory needs those before."""
        return isinstance(self.policy, TeamPolicy) and not self.policy.is_recurrent

    def rows(self, timesteps: int, progress: bool) -> Iterator[Row]:
        """All numbers.

        Args:
            timesteps: Of the students that see everything; 0: there are none.
            progress: Show how their training goes.
        """
        yield from self._gap()
        floor = self._students_that_see_everything(timesteps, progress) if timesteps else None
        yield from self._losses(floor)
        yield from self._deviations()
        if MessageChannel.of(self.team) is not None:
            yield from channel_rows(self.returns, self._with_channel)
            rng = np.random.default_rng(self.evaluator.seeds.random)
            yield from information_rows(self.of_students, self.team, rng)

    def _visits(self, act: Act | None) -> Visits:
        """Where somebody comes to; None: the expert."""
        expert, students = expert_act(self.expert), greedy(self.policy)
        return visit(
            expert if act is None else students,
            expert,
            students,
            self.venv,
            n_episodes=self.experiment.evaluation.episodes,
            seed=self.evaluator.seeds.final,
        )

    def _with_channel(self, change: Change) -> Returns:
        rng = np.random.default_rng(self.evaluator.seeds.students)
        return self.evaluator.final(with_channel(greedy(self.policy), self.team, change, rng))

    def _gap(self) -> Iterator[Row]:
        lost = self.experts_returns.team - self.returns.team
        paired = "Expert less students on the same initial states, paired; Student's t over episodes."
        yield mean_row("return lost", lost, "return", paired)
        span = self.evaluator.span()
        if span > 0:
            how = f"{paired} In units of the distance from a random team to the reference ({span:.3g})."
            yield mean_row("score lost", lost / span, "normalised score", how)
        if self.returns.wins is not None and self.experts_returns.wins is not None:
            won = self.experts_returns.wins.astype(float) - self.returns.wins.astype(float)
            yield mean_row("battles lost", won, "share of battles", paired)

    def _students_that_see_everything(self, timesteps: int, progress: bool) -> TeamPolicy | None:
        """Trained as the students were, with all observations for each agent."""
        config = self.experiment.dagger
        assert config is not None
        if not self.has_loss or self.experiment.students.network == "custom" or config.algorithm != "dagger":
            return None
        dagger = {"total_timesteps": timesteps, "dataset": "shared", "stop_after_matches": None}
        experiment = self.experiment.model_copy(
            update={"dagger": config.model_copy(update=dagger), "students": self._students()}
        )
        never = CheckpointConfig(minutes=None, every=None)
        expert = TrainedExpert([], 0, 0.0, self.expert, None)
        with StageProgress("students that see everything", timesteps, enabled=progress) as shown:
            trained = decentralize(
                experiment,
                expert,
                self.evaluator,
                Checkpoints(self.folder, never),
                shown.update,
                stage="see-everything",
                sees="joint",
            )
        assert isinstance(trained.policy, TeamPolicy)
        return trained.policy

    def _loss_in(self, visits: Visits) -> Floats | None:
        policy = self.policy
        return losses(policy, visits) if self.has_loss and isinstance(policy, TeamPolicy) else None

    def _students(self) -> Any:
        return self.experiment.students.model_copy(update={"initial": None})

    def _losses(self, floor: TeamPolicy | None) -> Iterator[Row]:
        """For each agent: what imitation costs, and to what it is lost."""
        differs = disagreements(self.of_students, self.team)
        own = self._loss_in(self.of_students)
        on_experts = self._loss_in(self.of_expert)
        seeing = None if floor is None else losses(floor, self.of_students)
        for index, agent in enumerate(self.team.agents):
            where, elsewhere = self.of_students, self.of_expert
            yield mean_row(
                "disagreement",
                where.of_episode(differs[:, index]),
                "share of steps",
                "Steps of the students' episodes in which the agent does something else than the expert.",
                agent,
            )
            if own is None or on_experts is None:
                how = "Not estimated: the students have a memory, or are several teams."
                yield Row("loss", None, None, None, "nats or squares", how, agent)
                continue
            loss = where.of_episode(own[:, index])
            yield mean_row("loss", loss, "nats or squares", "Imitation loss in the students' states.", agent)
            shift = loss[: elsewhere.n_episodes] - elsewhere.of_episode(on_experts[:, index])
            how = "Loss in the students' states less loss in the expert's, from the same initial states."
            yield mean_row("lost to drifting away", shift, "nats or squares", how, agent)
            if seeing is None:
                continue
            least = where.of_episode(seeing[:, index])
            how = (
                "Loss of students that see everything, trained alike, in the students' states: what networks "
                "and time leave; the expert's own action has loss 0."
            )
            yield mean_row("lost to fitting", least, "nats or squares", how, agent)
            how = (
                "Loss of the students less that of students that see everything, in the same states, paired: "
                "the estimate of F.1's C_p for this agent, as a loss."
            )
            yield mean_row("lost to partial observation", loss - least, "nats or squares", how, agent)

    def _deviations(self) -> Iterator[Row]:
        """Theorem 1's terms, and where the students differ from the expert."""
        any_differs = np.nanmax(disagreements(self.of_students, self.team), axis=1)
        share = self.of_students.of_episode(any_differs)
        mu = mean_row(
            "mu_N: joint disagreement",
            share,
            "share of steps",
            "Steps in which somebody does something else than the expert: the 0-1 loss of the joint action "
            "in the states of the students. Theorem 1's, the best in hindsight, is at most this.",
        )
        yield mu
        yield mean_row(
            "T: episode",
            self.returns.lengths.astype(float),
            "steps",
            "Mean length of the students' episodes.",
        )
        found = self._single_deviations()
        if found is None:
            how = (
                "Not estimated: it needs an environment whose state can be put back (the particle world) "
                "and policies without a memory."
            )
            yield Row("u: largest cost of one deviation", None, None, None, "return", how)
            yield from self._regions(any_differs, None)
            return
        u = float(found.costs.max())
        how = (
            "The most that one of the students' actions costs, the expert following, over all states met: "
            "at most Theorem 1's u, which is over all actions and states."
        )
        yield Row("u: largest cost of one deviation", u, None, None, "return", how)
        horizon = float(self.returns.lengths.mean())
        assert mu.value is not None
        how = "u T mu_N of the estimates above: what Theorem 1 allows to be lost, up to O(1)."
        yield Row("Theorem 1: u T mu_N", u * horizon * mu.value, None, None, "return", how)
        thirds = np.array_split(np.arange(len(found.costs)), 3)
        for name, steps in zip(("first", "second", "last"), thirds, strict=True):
            yield mean_row(
                f"lost in the {name} third of the steps",
                found.costs[steps].sum(axis=0),
                "return",
                "Costs of single deviations added up; those of all steps add up to the return lost "
                "(performance difference lemma).",
            )
        yield from self._regions(any_differs, found)

    def _single_deviations(self) -> Deviations | None:
        venv = self.venv
        if (
            not isinstance(venv, ParticleVecEnv)
            or isinstance(self.expert, RecurrentExpert)
            or not self.has_loss
        ):
            return None
        return deviations(
            expert_act(self.expert),
            greedy(self.policy),
            venv,
            n_episodes=self.experiment.evaluation.episodes,
            seed=self.evaluator.seeds.final,
        )

    def _regions(self, differs: Any, found: Deviations | None) -> Iterator[Row]:
        """Where most of the disagreement is: found on half of the episodes, measured on the others."""
        visits = self.of_students
        learns = visits.episodes % 2 == 0
        costs = None if found is None else found.costs.T[visits.episodes, visits.times]
        for region in regions(visits.observations, differs > 0, self.team, learns=learns)[:_REGIONS]:
            there = region.inside & ~learns
            if not there.any():
                continue
            how = (
                f"A tree on half of the episodes, measured on the others; "
                f"{there.sum() / (~learns).sum():.0%} of their steps lie here."
            )
            values = visits.of_episode(np.where(there, differs, np.nan))
            yield mean_row(f"disagreement where {region.condition}", values, "share of steps", how)
            if costs is not None:
                of_region = visits.of_episode(np.where(there, costs, np.nan))
                how = f"{how} Mean cost of doing once what the students do."
                yield mean_row(f"cost of a step where {region.condition}", of_region, "return", how)
