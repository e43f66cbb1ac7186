"""The parts `students`, `dagger` and `fine_tuning` of an experiment: decentralization."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cesma_sb3.config.schema.fields import (
    Arguments,
    Capacity,
    Count,
    Fraction,
    Model,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Resets,
    Sizes,
    Text,
)


class StudentsConfig(Model):
    """The decentralized policies."""

    network: Literal["feed-forward", "entities", "recurrent", "cnn", "custom"] = "feed-forward"
    """Each agent's network. `entities`: invariant to the order of landmarks and other agents, for
    environments that declare them. `recurrent`: linear, GRU, linear. `cnn`: convolutions (SB3's NatureCNN)
    on pictures of 36 x 36 pixels and more. `custom`: the class `module`."""
    module: Annotated[Text | None, Resets("kwargs")] = None
    """With `custom`: `module:Class` of an agent's `nn.Module`, called with its numbers of inputs and outputs.
    A new value resets `kwargs`."""
    kwargs: Arguments = Field(default_factory=dict)
    """With `custom`: further arguments of `module`."""
    hidden_sizes: Sizes = (128, 128)
    """Sizes of the hidden layers; with `entities`, the width of an entity's embedding and then the layers of
    the head; with `recurrent`, one number, the units of the GRU; with `cnn`, the features of a picture and
    then the layers on them."""
    activation: Text = "ReLU"
    """Name of the activation in `torch.nn` after each hidden layer."""
    share_parameters: bool = False
    """One set of weights for all agents (`entities` always share)."""
    use_agent_id: bool = False
    """Whether networks over `entities` also get the agent's one-hot number, for agents that are not alike."""
    n_neighbours: PositiveInt | None = None
    """How many landmarks, and how many other agents, networks over `entities` see: the nearest; null: all. In
    a larger team an agent then sees no more than in a smaller one."""
    topology: Literal["complete", "ring"] | dict[str, tuple[str, ...]] = "complete"
    """Whose messages each agent listens to. `complete`: all that its environment brings, as in the paper.
    `ring`: those of the agent before it in the team that sends any; its own then have one listener, and need
    to say what that one does not know. Or by an agent's name the names of those that it listens to."""
    deterministic: Literal["auto"] | bool = "auto"
    """Whether students act by their likeliest action or by samples; `auto`: as the expert does."""
    init_from: Text | None = None
    """Run folder, or pretrained team, whose students' weights training starts from. With networks over
    entities the team may have another size there."""

    @model_validator(mode="after")
    def _fits(self) -> StudentsConfig:
        if self.network == "recurrent" and len(self.hidden_sizes) != 1:
            given = list(self.hidden_sizes)
            raise ValueError(f"hidden_sizes: expected one number, the units of the memory, got {given}")
        first = {"entities": "the width of an entity", "cnn": "the features of a picture"}
        if self.network in first and not self.hidden_sizes:
            raise ValueError(f"hidden_sizes: expected at least one number, {first[self.network]}, got []")
        if (self.network == "custom") != (self.module is not None):
            expected = "module:Class" if self.network == "custom" else "null"
            raise ValueError(f"module: expected {expected} for network {self.network}, got {self.module}")
        if self.kwargs and self.module is None:
            raise ValueError(f"kwargs: expected none without a module, got {', '.join(self.kwargs)}")
        return self


class BetaConfig(Model):
    """The schedule of beta: the probability that the expert acts while the dataset is collected, by round."""

    schedule: Literal["none", "linear", "exponential"] = "none"
    """`none`, as in the paper: the students act from the start."""
    rounds: PositiveInt = 15
    """Rounds until a linear schedule reaches 0."""
    decay: Fraction = 0.7
    """Factor from round to round in an exponential schedule."""
    per_agent: bool = False
    """Draw who acts for each agent by itself, in place of once for the team."""


class ExperienceConfig(Model):
    """What students learn from before they act: states that were visited already, labelled by the expert.

    Where the expert was trained in the run, these are the states of its training, as many as
    `dagger.capacity` holds, the newest.
    """

    n_updates: PositiveInt | None = None
    """Gradient steps on them, before the first environment timestep of the students; null: one for every
    `dagger.samples_per_update` of them, as if they had been collected now."""
    rollout_timesteps: NonNegativeInt = 0
    """Of an expert that is not trained in the run: environment timesteps in which it acts itself, to visit
    states. They count as samples of the students. 0: none."""
    save: bool = False
    """Whether the run folder keeps the states of a training, for students of other runs with this expert
    (`cesma tune --expert`, `expert.experience`): 220 bytes each in `spread-3`, 4.4 MB in all."""


class DaggerConfig(Model):
    """Imitation: how the students learn from the expert."""

    algorithm: Literal["dagger", "bc", "forward-training", "smile", "searn"] = "dagger"
    """The imitation algorithm (4.3): DAgger, behavioural cloning, Forward Training, SMILe, or SEARN."""
    algorithm_kwargs: Arguments = Field(default_factory=dict)
    """Further arguments of its trainer (`cesma_sb3.imitation.registry`), such as `n_iterations`."""
    total_timesteps: NonNegativeInt
    """Most environment timesteps that are collected; 0: the students learn from `experience` alone."""
    experience: ExperienceConfig | None = ExperienceConfig()
    """With `dagger` and `bc`: learning from states that were visited already, where there are any, before the
    students or the expert act. null: from nothing, as in the paper."""
    n_envs: Count = 64
    """Environments stepped together."""
    samples_per_update: PositiveInt = 64
    """Environment timesteps, collected or of the experience, for each gradient step (k of Algorithm 1)."""
    batch_size: Count = 256
    """Samples of each gradient step; of recurrent students, whole episodes."""
    learning_rate: PositiveFloat = 3e-3
    """Learning rate of Adam at the start."""
    learning_rate_final: Fraction = 1.0
    """Fraction of `learning_rate` at the end; a linear schedule."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of Adam."""
    max_grad_norm: PositiveFloat | None = None
    """Norm that gradients are clipped to; null: no clipping."""
    min_samples: PositiveInt | None = None
    """Samples in the dataset before the first gradient step; of recurrent students, whole episodes. null:
    `batch_size`."""
    capacity: Capacity = 200_000
    """Most samples that the dataset keeps; for recurrent students, no episode may be longer."""
    when_full: Literal["drop-oldest", "reservoir"] = "drop-oldest"
    """Which samples make room for new ones: the oldest, or samples drawn at random (reservoir sampling)."""
    use_symmetries: bool = False
    """Whether each sample is turned by a multiple of 90 degrees and mirrored or not, at random, in a team
    whose layouts say how (those of the particle world do)."""
    loss: Literal["auto", "cross-entropy", "mse"] = "auto"
    """Imitation loss. `auto`: cross-entropy of discrete actions, mean squared error of continuous ones."""
    loss_class: Annotated[Text | None, Resets("loss_kwargs")] = None
    """`module:Class` of a loss in place of `loss`, called with the team and `ActionHead` (`ImitationLoss`). A
    new value resets `loss_kwargs`."""
    loss_kwargs: Arguments = Field(default_factory=dict)
    """Further arguments of `loss_class`."""
    class_weights: Literal["none", "inverse-frequency"] = "none"
    """`inverse-frequency`: rare labels have a larger weight in the cross-entropy, for experts that move one
    agent at a time (E.4)."""
    shared_dataset: bool = True
    """Whether all agents learn from the same samples of the dataset; false: each draws batches of its own
    (A.1)."""
    message_relaxation: Literal["straight-through", "gumbel-softmax", "softmax"] = "straight-through"
    """How discrete messages are made differentiable in training; agents always act with one symbol."""
    message_temperature: PositiveFloat = 1.0
    """Temperature of that relaxation at the start."""
    message_temperature_final: PositiveFraction = 1.0
    """Fraction of `message_temperature` at the end; it falls by the same factor in every update. Below 1,
    messages are soft while agents begin to understand each other, and symbols, as when acting, in the end."""
    message_entropy: NonNegativeFloat = 0.0
    """Weight of the entropy of each sender's average message, which rewards the use of all symbols. 0 is the
    paper's; a sender may then send one symbol for different observations and never leave that."""
    labels: Literal["auto", "hard", "soft"] = "auto"
    """`hard`: the expert's action. `soft`: its distribution. `auto`: soft if the expert acts by samples."""
    label_temperature: PositiveFloat = 1.0
    """Temperature of soft labels."""
    beta: BetaConfig = BetaConfig()
    """How often the expert acts while the dataset is collected."""
    round_timesteps: PositiveInt = 1_000
    """Environment timesteps in a round of the beta schedule."""
    keep: Literal["best", "last"] = "best"
    """Which students a run ends with: the best by the evaluations during training, or the last."""
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
        if self.total_timesteps == 0 and not self.has_experience:
            raise ValueError(f"total_timesteps: expected more than 0, for {self.why_no_experience}")
        if self.experience is not None and self.experience.rollout_timesteps and not self.has_experience:
            raise ValueError(f"experience.rollout_timesteps: expected 0, for {self.why_no_experience}")
        if self.algorithm != "dagger" and self.beta.schedule != "none":
            raise ValueError(f"beta: expected none, for {self.algorithm} says itself who acts")
        if self.loss_kwargs and self.loss_class is None:
            raise ValueError(
                f"loss_kwargs: expected none without a loss_class, got {', '.join(self.loss_kwargs)}"
            )
        return self

    @property
    def why_no_experience(self) -> str | None:
        """Why no states are learned from that were visited already; None: they are, if there are any."""
        if self.algorithm not in {"dagger", "bc"}:
            return f"{self.algorithm} learns from the states that its own teams lead to, not from experience"
        return "dagger.experience is null" if self.experience is None else None

    @property
    def has_experience(self) -> bool:
        """Whether states that were visited already are learned from, if there are any."""
        return self.why_no_experience is None

    @property
    def rollout_timesteps(self) -> int:
        """Timesteps in which an expert that is not trained in the run acts itself, to visit states."""
        return self.experience.rollout_timesteps if self.has_experience and self.experience else 0


class FineTuningConfig(Model):
    """Fine-tuning after imitation: PPO from the students' weights, on the team's reward (`FineTuningPPO`)."""

    total_timesteps: PositiveInt
    """Environment timesteps of training."""
    n_envs: Count = 32
    """Environments stepped together."""
    critic_visibility: Literal["own", "joint"] = "joint"
    """What the critic sees: `joint` (MAPPO) or `own` (IPPO)."""
    imitation_coef: NonNegativeFloat = 0.1
    """Weight of the imitation term, the negative log-likelihood of the expert's actions, at the start."""
    imitation_coef_final: NonNegativeFloat = 0.0
    """Weight of the imitation term at the end; linear in between."""
    critic_warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the timesteps, from the start, in which only the critic learns."""
    keep: Literal["best", "last"] = "best"
    """Which students a run ends with: the best by the evaluations, those before fine-tuning included, or the
    last."""
    kwargs: Arguments = Field(default_factory=dict)
    """Further arguments of PPO."""

    @model_validator(mode="after")
    def _fits(self) -> FineTuningConfig:
        # SB3 asserts these when PPO is made: after imitation, when hours may have gone by.
        for key, least in (("n_steps", 2 if self.n_envs == 1 else 1), ("batch_size", 2), ("n_epochs", 1)):
            value = self.kwargs.get(key)
            if isinstance(value, int) and value < least:
                raise ValueError(f"kwargs: {key}: expected at least {least}, got {value}")
        return self
