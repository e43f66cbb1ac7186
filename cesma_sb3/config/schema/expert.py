"""The part `expert` of an experiment: the centralized controller."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cesma_sb3.config.schema.fields import (
    IN_MEMORY,
    ONNX,
    SCRIPTED,
    TORCHSCRIPT,
    TRAJECTORIES,
    Arguments,
    Capacity,
    Count,
    Fraction,
    Model,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Resets,
    Text,
)


class InformationCostConfig(Model):
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


class ExpertConfig(Model):
    """The centralized controller."""

    algorithm: Annotated[
        Text,
        Resets("policy", "kwargs", "policy_kwargs", "learning_rate_final"),
        Resets("path", "trust", "normalization", "experience", "outputs", "deterministic"),
    ]
    """`scripted`; an algorithm of `cesma_sb3.algorithms`, stable_baselines3 or sb3_contrib; `torchscript` or
    `onnx`; `trajectories`: recorded ones, which are imitated as they are (`bc`); or `module:name` of an SB3
    algorithm, or of a controller as `cesma_sb3.decentralize` takes it. A controller's class is called with
    `kwargs`, and with the team if it has an argument `team`. A new value resets `policy`, `kwargs`,
    `policy_kwargs`, `learning_rate_final`, `path`, `trust`, `normalization`, `experience`, `outputs` and
    `deterministic`."""
    path: Text | None = None
    """File of a pretrained controller: SB3's `.zip`, TorchScript, ONNX. Of `trajectories`, a folder of
    imitation's or of Minari's, or a file `.npz`. null: the expert is trained."""
    trust: bool = False
    """Allow files named here to run code when they are loaded, as SB3's, TorchScript's and pickles can."""
    normalization: Text | None = None
    """File of the `VecNormalize` of a pretrained SB3 model."""
    experience: Text | None = None
    """File of states that an expert that is not trained labels for its students (`save_states`); null: none.
    The states of a training are recorded in the run."""
    outputs: Literal["actions", "logits"] = "actions"
    """What a controller that is a function or an exported network returns: actions of the action view, or
    logits, of which the largest is the action."""
    action_view: Literal["joint", "product", "one-at-a-time", "relaxed"] = "joint"
    """How the joint action is presented to the algorithm: see `cesma_sb3.spaces.action_views`."""
    n_envs: Count = 32
    """Environments stepped together."""
    total_timesteps: NonNegativeInt = 0
    """Environment timesteps of training; 0 for a pretrained expert."""
    deterministic: Literal["auto"] | bool = "auto"
    """Whether an expert that is a distribution (PPO, SAC, logits) acts and labels by its likeliest action or
    by samples. `auto`: both are evaluated after training, and samples are used only if they return clearly
    more; evaluations during training are deterministic. Of a baseline, how its team acts."""
    keep: Literal["best", "last"] = "best"
    """Which weights are decentralized: the best by the evaluations during training, or the last."""
    policy: Text = "MlpPolicy"
    """Policy class: one of the algorithm's aliases, a policy of `cesma_sb3.policies`, or `module:Class`."""
    kwargs: Arguments = Field(default_factory=dict)
    """Arguments of the algorithm's constructor; of `scripted` in navigation `collision_cost` (left out: that
    of the reference), `uncertainty` and `assignment` (`reference_expert`)."""
    policy_kwargs: Arguments = Field(default_factory=dict)
    """Arguments of the policy's constructor."""
    learning_rate_final: Fraction = 1.0
    """Fraction of `kwargs.learning_rate` at the end of training; a linear schedule."""
    communicates: bool = False
    """Whether the expert sends and receives messages, in environments that have them. The paper's expert does
    not: it sees everything. A baseline (`dagger: null`) has to."""
    init_from: Text | None = None
    """Run folder, or pretrained team, whose expert's weights training starts from. With networks over
    entities the team may have another size there."""
    information_cost: InformationCostConfig | None = None
    """A cost in training for acting on what the students will not observe, so that students can imitate the
    expert; null: none. Requires `keep: last`: the best returns belong to experts that pay no such cost."""

    @model_validator(mode="after")
    def _is_consistent(self) -> ExpertConfig:
        if self.algorithm in {TORCHSCRIPT, ONNX, TRAJECTORIES} and self.path is None:
            raise ValueError(f"path: expected a file, for algorithm is {self.algorithm}")
        if self.algorithm == TRAJECTORIES:
            for key in ("normalization", "experience"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: expected null for recorded trajectories")
        if self.path is None and self.normalization is not None:
            raise ValueError("normalization: expected null, for there is no path to a pretrained model")
        if self.is_pretrained:
            self._check_pretrained()
        elif self.experience is not None and self.total_timesteps:
            raise ValueError("experience: expected null for an expert that is trained: its own is recorded")
        if self.information_cost is not None and (self.is_pretrained or self.keep != "last"):
            expected = "null, for it is not trained" if self.is_pretrained else "keep: last beside it"
            raise ValueError(f"information_cost: expected {expected}")
        if self.learning_rate_final < 1 and not isinstance(self.kwargs.get("learning_rate"), float):
            given = self.kwargs.get("learning_rate", "none")
            raise ValueError(
                f"learning_rate_final: expected a number for kwargs.learning_rate to fall from, got {given}"
            )
        return self

    def _check_pretrained(self) -> None:
        """Refuse keys of training where nothing is trained."""
        who = "the scripted expert" if self.algorithm == SCRIPTED else "a pretrained controller"
        if self.algorithm == SCRIPTED and self.path is not None:
            raise ValueError(f"path: expected null for {who}, got {self.path!r}")
        if self.init_from is not None:
            raise ValueError(f"init_from: expected null for {who}, got {self.init_from!r}")
        if self.total_timesteps:
            raise ValueError(f"total_timesteps: expected 0 for {who}, got {self.total_timesteps}")
        takes_kwargs = self.algorithm == SCRIPTED
        for key in ("policy_kwargs",) if takes_kwargs else ("kwargs", "policy_kwargs"):
            if names := ", ".join(getattr(self, key)):
                raise ValueError(f"{key}: {who} takes none, got {names}")

    @property
    def is_pretrained(self) -> bool:
        """Whether the expert is pretrained, by its keys; of `module:name`, only the class can tell."""
        return self.path is not None or self.algorithm in {
            SCRIPTED,
            TORCHSCRIPT,
            ONNX,
            TRAJECTORIES,
            IN_MEMORY,
        }
