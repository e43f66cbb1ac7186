"""The schema of an experiment. The values stand in YAML files, which `cesma_sb3.config.registry` loads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from cesma_sb3.config.schema.expert import ExpertConfig
from cesma_sb3.config.schema.fields import (
    RANDOM,
    TRAJECTORIES,
    Arguments,
    Count,
    Model,
    NonNegativeFloat,
    NonNegativeInt,
    Places,
    PositiveFloat,
    PositiveInt,
    Resets,
    Text,
    Threads,
    Whole,
)
from cesma_sb3.config.schema.students import DaggerConfig, FineTuningConfig, StudentsConfig
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.utils.tables import html_text


class WrapperConfig(Model):
    """A wrapper of the environment. Keys other than `name` are its arguments."""

    model_config = ConfigDict(extra="allow")

    name: Text
    """Its name in SuperSuit, such as `black_death_v3`, or `module:name` of a class or function that is called
    with the environment, such as `gymnasium.wrappers:TimeLimit`."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of the wrapper, by name."""
        return dict(self.model_extra or {})


class AgentSliceConfig(Model):
    """One agent's part of an environment whose observation and action are joint already."""

    observation: Places
    """Indices into the joint observation, as Python's slices: `0:6`, `3`, or several: `0:3, 12`."""
    action: Places
    """Indices into the joint action, written in the same way."""


class EnvConfig(Model):
    """The multi-agent environment."""

    id: Annotated[
        Text,
        Resets("kwargs", "team", "message_size", "agents", "others", "wrappers", "reward_weights"),
    ]
    """A scenario of `cesma_sb3.envs.particle` such as `spread`, a robot such as `mujoco-halfcheetah-6x1`, or
    `package.module:function` that makes a PettingZoo environment, or a Gymnasium one: with `team`, or with a
    Tuple or Dict of spaces for its agents. `module:id` is an environment that the module registers with
    Gymnasium. A new value resets `kwargs`, `team`, `message_size`, `agents`, `others`, `wrappers` and
    `reward_weights`."""
    kwargs: Arguments = Field(default_factory=dict)
    """Arguments of the scenario or function: `env.kwargs.n_agents`."""
    team: dict[str, AgentSliceConfig] | None = None
    """The agents of a Gymnasium environment whose observation and action are joint: by agent, its part. What
    no agent observes, the expert does."""
    message_size: NonNegativeInt = 0
    """With `team`, and of robots: how many numbers in [-1, 1] (where actions are choices, how many symbols to
    choose from) each agent's message has, which all others receive one step later; 0: nobody talks."""
    agents: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] | None = None
    """Of a game, the agents that are the team: one side of it, say. null: all agents are."""
    others: Text | None = None
    """With `agents`, who plays all others: `random`; `module:name` of a controller as
    `cesma_sb3.decentralize` takes it, of the others' observations; or a team: a run folder (its students),
    the name of a pretrained team, or a folder of `save_team`. In a team each agent acts by its name, on its
    own observation. A run keeps a copy of the team."""
    wrappers: Annotated[tuple[WrapperConfig, ...], Field(strict=False)] = ()
    """Wrappers, the innermost first; Gymnasium's come before others."""
    team_reward: Literal["shared", "sum", "mean"] | None = None
    """How the team's reward is computed from the agents': their `sum` or `mean`, or `shared` (also null): all
    agents have the same reward."""
    reward_weights: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] | None = None
    """Of rewards that are vectors, as MOMAland's: the weight of each entry, whose sum is an agent's reward.
    null: rewards are numbers."""
    max_steps: Count | None = None
    """Steps after which an episode is truncated; null: the environment itself ends episodes."""
    processes: Annotated[int, Field(ge=0, le=1_024), Whole] = 0
    """Worker processes that step the environments, where these are not batched; 0: this process does."""
    step_timeout: PositiveFloat | None = 600.0
    """Seconds that a worker process may take for a step before the run fails; null: no limit."""

    @model_validator(mode="after")
    def _has_agents(self) -> EnvConfig:
        if self.team is not None and not self.team:
            raise ValueError("team: expected at least one agent, got none")
        if self.agents is not None and self.others is None:
            raise ValueError(
                f"others: expected who plays the agents that env.agents leaves out: {RANDOM}, module:name, a "
                "run folder or a team, got null"
            )
        if self.agents is None and self.others is not None:
            raise ValueError(f"others: expected null without env.agents, got {self.others!r}")
        if self.agents is not None and self.team is not None:
            raise ValueError("agents: expected null, for env.team says who the agents are")
        return self


class EvaluationConfig(Model):
    """How policies are evaluated, during training and at the end."""

    eval_freq: PositiveInt = 5_000
    """Environment timesteps between two evaluations during training."""
    n_eval_episodes: Count = 64
    """Episodes of each evaluation during training."""
    n_final_episodes: Count = 400
    """Episodes of each policy's final evaluation, which the report holds."""
    n_envs: Count = 64
    """Environments stepped together."""
    reference_collision_cost: NonNegativeFloat = 1.0
    """What a colliding pair of particles costs the scripted reference when it plans, a step. 1 is the paper's
    reward; 0: it does not look out for others."""


class CheckpointConfig(Model):
    """When a run saves a checkpoint, from which `cesma run --resume` continues."""

    minutes: PositiveFloat | None = 5.0
    """Minutes between two checkpoints, the most work that is lost; null: not by time."""
    save_freq: PositiveInt | None = None
    """Environment timesteps between two checkpoints, or samples of experience that students learn from before
    they act; null: not by steps. With both null there are none."""

    @property
    def is_written(self) -> bool:
        """Whether a run saves checkpoints at all."""
        return self.minutes is not None or self.save_freq is not None


Stage = Literal["expert", "students", "fine-tuning"]


class CallbackConfig(Model):
    """A callback of the user's or of another package, such as `wandb.integration.sb3:WandbCallback`."""

    name: Text
    """`module:Class`, a subclass of SB3's `BaseCallback`."""
    kwargs: Arguments = Field(default_factory=dict)
    """Arguments of its constructor."""
    stages: Annotated[tuple[Stage, ...], Field(strict=False)] = ("expert", "students", "fine-tuning")
    """The stages that it is called in, with a new object in each. A baseline trains in `students`."""


class Experiment(Model):
    """An environment, an expert, students, and how they are trained and evaluated."""

    keys_of_files: ClassVar[tuple[str, ...]] = ("extends",)
    """Keys that a file may have and a resolved experiment has not."""
    when_missing: ClassVar[str] = "a file that begins with `extends: NAME` needs only what differs from NAME"
    """What helps whose file lacks keys."""

    name: Text
    """The name of the experiment, which is that of its file."""
    description: str = ""
    """One line that `cesma list` shows."""
    baseline_of: str | None = None
    """Of a baseline, the name of the experiment that it is compared with."""
    seed: NonNegativeInt = 0
    """Seed of all randomness in a run."""
    threads: Threads | None = 1
    """Threads of PyTorch; null: PyTorch's own choice. Networks as small as these gain nothing from several,
    and lose much where runs share cores."""
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    """Device that networks are trained on; `auto`: `cuda` if there is one. Networks as small as these gain
    little on a GPU, which parallel runs would share."""
    env: EnvConfig
    expert: ExpertConfig
    students: StudentsConfig = StudentsConfig()
    dagger: DaggerConfig | None
    """How the students imitate the expert. null: there are no students, and the expert is a baseline such as
    MADDPG, whose actors see their own agent's observation alone and are the team that acts."""
    fine_tuning: FineTuningConfig | None = None
    """Reinforcement learning after imitation; null: none."""
    callbacks: Annotated[tuple[CallbackConfig, ...], Field(strict=False)] = ()
    """Callbacks in SB3's form, called in the stages of training."""
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _has_who_learns(self) -> Experiment:
        """Refuse what students would need that there are none of, or that do not learn from it."""
        why = "dagger is null" if self.dagger is None else self.dagger.why_no_experience
        if self.expert.experience is not None and why is not None:
            raise ValueError(f"expert.experience: expected null, for {why}")
        if self.fine_tuning is not None and self.dagger is None:
            raise ValueError("fine_tuning: expected null, for dagger is null: there are no students")
        if self.expert.algorithm == TRAJECTORIES:
            self._check_recorded()
        return self

    def _check_recorded(self) -> None:
        """Refuse what would ask an expert, where there are recorded trajectories in its place."""
        why = "for the expert is recorded trajectories, which nobody can ask"
        dagger, tuning = self.dagger, self.fine_tuning
        if dagger is None or dagger.algorithm != "bc":
            got = "null" if dagger is None else dagger.algorithm
            raise ValueError(f"dagger.algorithm: expected bc, {why}, got {got}")
        if dagger.total_timesteps or dagger.rollout_timesteps:
            key = "total_timesteps" if dagger.total_timesteps else "experience.rollout_timesteps"
            raise ValueError(f"dagger.{key}: expected 0, {why}")
        if dagger.labels == "soft":
            raise ValueError(f"dagger.labels: expected hard or auto, {why}")
        if tuning is not None and max(tuning.imitation_coef, tuning.imitation_coef_final):
            raise ValueError(f"fine_tuning.imitation_coef: expected 0, as imitation_coef_final, {why}")

    def _repr_html_(self) -> str:
        """What a notebook shows: the values, as a file would hold them."""
        return html_text(f"{self.name}: {self.description}", write_mapping(self.to_mapping()))

    def fingerprint(self) -> dict[str, Any]:
        """Return the values of `to_mapping` that decide a run's numbers: no description, no checkpoint."""
        return self.model_dump(mode="json", exclude={"description", "baseline_of", "checkpoint"})

    def to_mapping(self) -> dict[str, Any]:
        """Return the experiment as nested plain values, as the YAML file of a run folder holds it."""
        return self.model_dump(mode="json")


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """List where the plain values of two experiments differ: `seed is 0, not 4`.

    Args:
        one: Nested values of the first experiment.
        other: Nested values of the second.
        key: The dotted key that both stand at.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        lines = []
        for name in sorted({*one, *other}):
            inner = f"{key}.{name}".removeprefix(".")
            lines += differences(one.get(name), other.get(name), inner)
        return lines
    return [] if one == other else [f"{key} is {one!r}, not {other!r}"]
