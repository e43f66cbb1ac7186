"""What an experiment is: one typed schema. The values stand in YAML files; see `config.registry`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator


def whole(value: Any) -> Any:
    """A float that is a whole number, such as 1e6, as an int; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)
PositiveInt = Annotated[int, Field(gt=0, le=2**53), Whole]
NonNegativeInt = Annotated[int, Field(ge=0, le=2**53), Whole]
# What is made at once: bounds that no machine reaches, so that a slip of the hand does not fill its memory.
Count = Annotated[int, Field(gt=0, le=1_000_000), Whole]
Threads = Annotated[int, Field(gt=0, le=1_024), Whole]
Capacity = Annotated[int, Field(gt=0, le=1_000_000_000), Whole]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
# `action: 0` in YAML is a number and means the column 0.
Places = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(min_length=1),
]
Width = Annotated[int, Field(gt=0, le=100_000), Whole]
Sizes = Annotated[tuple[Width, ...], Field(strict=False)]  # YAML has lists only

# Checked as what YAML can hold; typed as what a constructor takes.
if TYPE_CHECKING:
    Arguments = dict[str, Any]
else:
    Arguments = dict[str, JsonValue]

SCRIPTED = "scripted"
"""The expert that is derived, not trained."""
TORCHSCRIPT, ONNX = "torchscript", "onnx"
"""Experts that are exported networks, read from `expert.path`."""
GIVEN = "given"
"""An expert that `decentralize` was handed and that no file holds."""
PATHS = (("expert", "path"), ("expert", "normalization"), ("expert", "init_from"), ("students", "init_from"))
"""Keys that name a file or a run folder. A relative path is relative to the YAML file that holds it, and to
the current folder where no file does; `~` is the home folder."""


class _Config(BaseModel):
    """Frozen; unknown keys, values of another type and numbers that are not finite are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    dependents: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By key, the keys beside it that start anew where an override, or a file that extends another, gives the
    key another value: they belong to what it names."""


class WrapperConfig(_Config):
    """A SuperSuit wrapper; further keys are its arguments."""

    model_config = ConfigDict(extra="allow")

    name: Text
    """Name in SuperSuit, such as `black_death_v3`."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The wrapper's arguments."""
        return dict(self.model_extra or {})


class ShareConfig(_Config):
    """One agent of a team that is declared: see `cesma_sb3.envs.partition.AgentSlice`."""

    observation: Places
    """Entries of the joint observation, as in Python: `0:6`, `3`, or several: `0:3, 12`."""
    action: Places
    """Places of the joint action, likewise."""


class EnvConfig(_Config):
    """The environment."""

    dependents: ClassVar[Mapping[str, tuple[str, ...]]] = {"id": ("kwargs", "team", "wrappers")}

    id: Text
    """A scenario of `cesma_sb3.envs.particle` such as `spread`, or `package.module:function` that makes a
    PettingZoo environment, or with `team` a Gymnasium one. Another one starts without the `kwargs`, `team`
    and `wrappers` of the one before."""
    kwargs: Arguments = {}
    """Arguments of the scenario or function: `env.kwargs.n_agents`."""
    team: dict[str, ShareConfig] | None = None
    """By agent, its part of a Gymnasium environment whose observation and action are joint already."""
    wrappers: Annotated[tuple[WrapperConfig, ...], Field(strict=False)] = ()
    """SuperSuit wrappers, the innermost first."""
    team_reward: Literal["shared", "sum", "mean"] | None = None
    """How the team's reward is made of the agents'; None: `shared`, all get the same one."""
    max_steps: Count | None = None
    """Steps after which an episode is truncated; null: when the environment itself ends it."""
    processes: Annotated[int, Field(ge=0, le=1_024), Whole] = 0
    """Worker processes of environments that aren't batched; 0: in this process."""
    step_timeout: PositiveFloat | None = 600.0
    """Seconds that a worker process may take for a step before the run fails; null: no limit."""

    @model_validator(mode="after")
    def _has_agents(self) -> EnvConfig:
        if self.team is not None and not self.team:
            raise ValueError("team: expected at least one agent, got none")
        return self


class InformationCostConfig(_Config):
    """A cost for actions that depend on what the agent itself cannot observe (asymmetric information)."""

    weight: PositiveFloat
    """Reward subtracted for each nat of an action that the agent's own observation does not explain."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate of the predictors that estimate the information."""
    samples_per_update: PositiveInt = 32
    """Environment timesteps for each gradient step of the predictors."""
    batch_size: Count = 256
    """Samples of each gradient step."""
    capacity: Capacity = 20_000
    """Size of the buffer of newest samples that the predictors learn from."""


class ExpertConfig(_Config):
    """The centralized controller."""

    dependents: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "algorithm": (
            *("policy", "kwargs", "policy_kwargs", "learning_rate_final"),
            *("path", "trust", "normalization", "outputs", "deterministic"),
        )
    }

    algorithm: Text
    """`scripted`; an algorithm of `cesma_sb3.experts`, stable_baselines3 or sb3_contrib; `torchscript` or
    `onnx`; or `module:name` of an SB3 algorithm, or of a controller as `cesma_sb3.decentralize` takes it: a
    class is made with `kwargs`, and with the team if it has an argument `team`. Another one starts
    without the `policy`, `kwargs`, `policy_kwargs`, `learning_rate_final`, `path`, `trust`, `normalization`,
    `outputs` and `deterministic` of the one before."""
    path: Text | None = None
    """The file of a finished controller, which is not trained: SB3's `.zip`, TorchScript, ONNX."""
    trust: bool = False
    """That files named here may run code when they are loaded: SB3's, TorchScript's and pickles may."""
    normalization: Text | None = None
    """The file of a finished SB3 model's `VecNormalize`."""
    outputs: Literal["actions", "logits"] = "actions"
    """What a controller that is a function or an exported network returns: actions of the action view, or a
    number for each action, of which the largest is done."""
    action_view: Literal["joint", "product", "one-at-a-time", "relaxed"] = "joint"
    """How the joint action is put to the algorithm."""
    n_envs: Count = 32
    """Environments stepped together."""
    total_timesteps: NonNegativeInt = 0
    """Environment timesteps of training; 0 for what is finished already."""
    deterministic: Literal["auto"] | bool = "auto"
    """How an expert that is a distribution (PPO, SAC, logits) acts and labels: by its likeliest action or by
    draws. `auto`: both are measured once it is finished; draws only if they return clearly more. Until then
    it is measured deterministically; with false, by draws from the start. Of a baseline, its team."""
    keep: Literal["best", "last"] = "best"
    """The weights that are decentralized: those measured best on the way, or the last."""
    policy: Text = "MlpPolicy"
    """One of the algorithm's policies, a policy of `cesma_sb3.policies`, or `module:Class`."""
    kwargs: Arguments = {}
    """Arguments of the algorithm's constructor."""
    policy_kwargs: Arguments = {}
    """Arguments of the policy's constructor."""
    learning_rate_final: Fraction = 1.0
    """The fraction of `kwargs.learning_rate` that training ends with; it falls linearly."""
    communicates: bool = False
    """Whether it hears and sends messages, in environments that have them. The paper's expert does not: it
    sees everything. Agents that learn by themselves (`dagger: null`) have nothing else."""
    init_from: Text | None = None
    """A run folder whose expert's weights it starts from; networks over entities may grow with the team."""
    information_cost: InformationCostConfig | None = None
    """A cost in training for acting on what the students will not observe, so that students can imitate the
    expert; null: none. Requires `keep: last`: the best returns belong to experts that pay no such cost."""

    @model_validator(mode="after")
    def _is_consistent(self) -> ExpertConfig:
        if self.algorithm in {TORCHSCRIPT, ONNX} and self.path is None:
            raise ValueError(f"path: expected a file, for algorithm is {self.algorithm}")
        if self.path is None and self.normalization is not None:
            raise ValueError("normalization: expected null, for there is no path to a finished model")
        if self.is_finished:
            self._check_finished()
        if self.information_cost is not None and (self.is_finished or self.keep != "last"):
            expected = "null, for it is not trained" if self.is_finished else "keep: last beside it"
            raise ValueError(f"information_cost: expected {expected}")
        if self.learning_rate_final < 1 and not isinstance(self.kwargs.get("learning_rate"), float):
            given = self.kwargs.get("learning_rate", "none")
            raise ValueError(
                f"learning_rate_final: expected a number for kwargs.learning_rate to fall from, got {given}"
            )
        return self

    def _check_finished(self) -> None:
        """Whether nothing is said of a training that there is not."""
        who = "the scripted expert" if self.algorithm == SCRIPTED else "a finished controller"
        if self.algorithm == SCRIPTED and self.path is not None:
            raise ValueError(f"path: expected null for {who}, got {self.path!r}")
        if self.init_from is not None:
            raise ValueError(f"init_from: expected null for {who}, got {self.init_from!r}")
        if self.total_timesteps:
            raise ValueError(f"total_timesteps: expected 0 for {who}, got {self.total_timesteps}")
        for key in ("kwargs", "policy_kwargs"):
            if names := ", ".join(getattr(self, key)):
                raise ValueError(f"{key}: {who} takes none, got {names}")

    @property
    def is_finished(self) -> bool:
        """Whether it is there already, by what is said here; of `module:name`, only the class knows."""
        return self.path is not None or self.algorithm in {SCRIPTED, TORCHSCRIPT, ONNX, GIVEN}


class StudentsConfig(_Config):
    """The decentralized policies."""

    dependents: ClassVar[Mapping[str, tuple[str, ...]]] = {"module": ("kwargs",)}

    network: Literal["feed-forward", "entities", "recurrent", "custom"] = "feed-forward"
    """`entities`: blind to the order of landmarks and other agents, for environments that declare them.
    `recurrent`: with a memory (linear, GRU, linear). `custom`: of `module`."""
    module: Text | None = None
    """Of `custom`: `module:Class` of an agent's network, made with the numbers of its inputs and outputs.
    Another one starts without the `kwargs` of the one before."""
    kwargs: Arguments = {}
    """Of `custom`: further arguments of `module`."""
    hidden_sizes: Sizes = (128, 128)
    """Hidden layers of each agent's network; of `entities`, the width of an entity and then the layers of the
    head; of `recurrent`, one number, the units of the memory."""
    activation: Text = "ReLU"
    """An activation of `torch.nn`, after each hidden layer."""
    share_parameters: bool = False
    """One set of weights for all agents (`entities` always share)."""
    use_agent_id: bool = False
    """Whether networks over `entities` also get the agent's one-hot number, for agents that are not alike."""
    deterministic: Literal["auto"] | bool = "auto"
    """Whether they act by their likeliest action or by draws; `auto`: as the expert does."""
    init_from: Text | None = None
    """A run folder whose students' weights they start from; networks over entities may grow with the team."""

    @model_validator(mode="after")
    def _fits(self) -> StudentsConfig:
        if self.network == "recurrent" and len(self.hidden_sizes) != 1:
            given = list(self.hidden_sizes)
            raise ValueError(f"hidden_sizes: expected one number, the units of the memory, got {given}")
        if self.network == "entities" and not self.hidden_sizes:
            raise ValueError("hidden_sizes: expected at least one number, the width of an entity, got []")
        if (self.network == "custom") != (self.module is not None):
            expected = "module:Class" if self.network == "custom" else "null"
            raise ValueError(f"module: expected {expected} for network {self.network}, got {self.module}")
        if self.kwargs and self.module is None:
            raise ValueError(f"kwargs: expected none without a module, got {', '.join(self.kwargs)}")
        return self


class BetaConfig(_Config):
    """Who acts while the dataset grows: the probability of the expert's action, by round."""

    schedule: Literal["none", "linear", "exponential"] = "none"
    """`none` is the paper's: the students act from the start."""
    rounds: PositiveInt = 15
    """Rounds until a linear schedule reaches 0."""
    decay: Fraction = 0.7
    """Factor of each round in an exponential schedule."""
    per_agent: bool = False
    """Draw for each agent by itself in place of the whole team."""


class DaggerConfig(_Config):
    """Decentralization: how the students learn from the expert."""

    dependents: ClassVar[Mapping[str, tuple[str, ...]]] = {"loss_class": ("loss_kwargs",)}

    algorithm: Literal["dagger", "bc", "forward-training", "smile", "searn"] = "dagger"
    """The imitation algorithm (4.3): DAgger, behavioural cloning, Forward Training, SMILe, or SEARN."""
    algorithm_kwargs: Arguments = {}
    """Further arguments of its trainer (`cesma_sb3.imitation.registry`), such as `n_iterations`."""
    total_timesteps: PositiveInt
    """Environment timesteps, at most."""
    n_envs: Count = 64
    """Environments stepped together."""
    samples_per_update: PositiveInt = 64
    """Environment timesteps collected for each gradient step (k of Algorithm 1)."""
    batch_size: Count = 256
    """Samples of each gradient step; of students with a memory, whole episodes."""
    learning_rate: PositiveFloat = 3e-3
    """At the start."""
    learning_rate_final: Fraction = 1.0
    """Fraction of it that is left at the end; linear between."""
    weight_decay: NonNegativeFloat = 0.0
    """Of Adam."""
    max_grad_norm: PositiveFloat | None = None
    """The gradient's norm is clipped to it; None clips nothing."""
    min_samples: PositiveInt | None = None
    """The dataset is large enough to learn from when it holds this many samples; of students with a memory,
    whole episodes. None: `batch_size`."""
    capacity: Capacity = 200_000
    """Most samples kept in the dataset; of students with a memory no episode may be longer."""
    when_full: Literal["drop-oldest", "reservoir"] = "drop-oldest"
    """Which samples go when more come."""
    loss: Literal["auto", "cross-entropy", "mse"] = "auto"
    """`auto` looks at each action's space."""
    loss_class: Text | None = None
    """`module:Class` of a loss in its place, made with the team and `ActionHead` (`ImitationLoss`).
    Another one starts without the `loss_kwargs` of the one before."""
    loss_kwargs: Arguments = {}
    """Further arguments of `loss_class`."""
    class_weights: Literal["none", "inverse-frequency"] = "none"
    """`inverse-frequency`: rare labels weigh more in the cross-entropy, as for experts that move one agent at
    a time (E.4)."""
    shared_dataset: bool = True
    """Whether all agents learn from the same samples of the dataset; false: each draws batches of its own
    (A.1)."""
    message_relaxation: Literal["straight-through", "gumbel-softmax", "softmax"] = "straight-through"
    """How discrete messages are made differentiable in training; agents always act with one symbol."""
    message_temperature: PositiveFloat = 1.0
    """Temperature of that relaxation."""
    message_entropy: NonNegativeFloat = 0.0
    """Weight of the entropy of each sender's average message, which rewards the use of all symbols. 0 is the
    paper's; a sender may then send one symbol for different observations and never leave that."""
    labels: Literal["auto", "hard", "soft"] = "auto"
    """The expert's action, or its distribution. `auto`: its distribution if it acts by draws from one."""
    label_temperature: PositiveFloat = 1.0
    """Temperature of soft labels."""
    beta: BetaConfig = BetaConfig()
    """Who acts while the dataset grows."""
    round_timesteps: PositiveInt = 1_000
    """Environment timesteps in a round of the beta schedule."""
    keep: Literal["best", "last"] = "best"
    """The students that a run ends with: those measured best on the way, or the last."""
    early_stopping_evaluations: PositiveInt | None = None
    """Stop when this many evaluations in a row reach the expert's return; null: never stop early."""
    early_stopping_tolerance: NonNegativeFloat = 0.0
    """How far below the expert's return still counts as reaching it, as a fraction of the distance between
    the random team's return and the reference."""

    @model_validator(mode="after")
    def _fits(self) -> DaggerConfig:
        if self.min_samples is None and self.batch_size > self.capacity:  # nothing would ever be learned
            raise ValueError(f"capacity: expected at least batch_size {self.batch_size}, got {self.capacity}")
        if self.min_samples is not None and self.min_samples > self.capacity:
            raise ValueError(
                f"min_samples: expected at most capacity {self.capacity}, got {self.min_samples}"
            )
        if self.algorithm != "dagger" and self.beta.schedule != "none":
            raise ValueError(f"beta: expected none, for {self.algorithm} says itself who acts")
        if self.loss_kwargs and self.loss_class is None:
            raise ValueError(
                f"loss_kwargs: expected none without a loss_class, got {', '.join(self.loss_kwargs)}"
            )
        return self


class FineTuningConfig(_Config):
    """After imitation: PPO from the students' weights, on the team's reward (`FineTuningPPO`)."""

    total_timesteps: PositiveInt
    """Environment timesteps."""
    n_envs: Count = 32
    """Environments stepped together."""
    critic_visibility: Literal["own", "joint"] = "joint"
    """What the critic sees: `joint` is MAPPO, `own` IPPO."""
    imitation_coef: NonNegativeFloat = 0.1
    """Weight of the imitation term, the negative log-likelihood of the expert's actions, at the start."""
    imitation_coef_final: NonNegativeFloat = 0.0
    """Weight of the imitation term at the end; linear in between."""
    critic_warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the timesteps, from the start, in which only the critic learns."""
    keep: Literal["best", "last"] = "best"
    """The students that a run ends with: those measured best, the ones before fine-tuning included, or the
    last."""
    kwargs: Arguments = {}
    """Further arguments of PPO."""

    @model_validator(mode="after")
    def _fits(self) -> FineTuningConfig:
        # SB3 asserts these when PPO is made: after imitation, when hours may have gone by.
        for key, least in (("n_steps", 2 if self.n_envs == 1 else 1), ("batch_size", 2), ("n_epochs", 1)):
            value = self.kwargs.get(key)
            if isinstance(value, int) and value < least:
                raise ValueError(f"kwargs: {key}: expected at least {least}, got {value}")
        return self


class EvaluationConfig(_Config):
    """How policies are evaluated, during training and at the end."""

    eval_freq: PositiveInt = 5_000
    """Environment timesteps between two evaluations during training."""
    n_eval_episodes: Count = 64
    """Episodes of each evaluation during training."""
    n_final_episodes: Count = 400
    """Episodes of each policy's final evaluation, which the report holds."""
    n_envs: Count = 64
    """Environments stepped together."""


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Where two experiments' plain values differ, as lines that name the key and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for name in sorted({*one, *other}):
            inner = f"{key}.{name}".removeprefix(".")
            found += differences(one.get(name), other.get(name), inner)
        return found
    return [] if one == other else [f"{key} is {one!r}, not {other!r}"]


class CheckpointConfig(_Config):
    """When a run writes down where it stands, so that `cesma run --resume` goes on from there."""

    minutes: PositiveFloat | None = 5.0
    """Between two checkpoints, and the most that is lost; null: not by time."""
    save_freq: PositiveInt | None = None
    """Environment timesteps between two checkpoints; null: not by steps. With both null there are none."""

    @property
    def is_written(self) -> bool:
        """Whether there are any."""
        return self.minutes is not None or self.save_freq is not None


class Experiment(_Config):
    """A registered combination of environment, expert and students."""

    keys_of_files: ClassVar[tuple[str, ...]] = ("extends",)
    """What a file may say besides, which is gone when it is resolved."""

    name: Text
    """The name of its file."""
    description: str = ""
    """One line."""
    baseline_of: str | None = None
    """Of a baseline: the name of the experiment that it is compared with."""
    seed: NonNegativeInt = 0
    """All randomness comes from it."""
    threads: Threads | None = 1
    """Threads of PyTorch; null leaves its own choice. These networks are too small to gain from several, and
    lose much where cores are shared."""
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    """Where networks learn; `auto`: `cuda` if there is one. Networks as small as these gain little on a GPU,
    and runs that are made beside one another would share it."""
    env: EnvConfig
    expert: ExpertConfig
    students: StudentsConfig = StudentsConfig()
    dagger: DaggerConfig | None
    """null: nothing is imitated. The expert's actors see no more than their own agent's observation, and are
    themselves the team that acts: a baseline such as MADDPG."""
    fine_tuning: FineTuningConfig | None = None
    """What comes after imitation; null: nothing does."""
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _has_what_to_tune(self) -> Experiment:
        if self.fine_tuning is not None and self.dagger is None:
            raise ValueError("fine_tuning: expected null, for dagger is null: there are no students")
        if self.fine_tuning is not None and self.students.network == "recurrent":
            raise ValueError("fine_tuning: expected null, for students.network is recurrent")
        return self

    def what_runs(self) -> dict[str, Any]:
        """As `to_mapping`, less what does not change a run's numbers."""
        return self.model_dump(mode="json", exclude={"description", "baseline_of", "checkpoint"})

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as the YAML file of the resolved experiment holds them."""
        return self.model_dump(mode="json")
