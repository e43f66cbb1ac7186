"""The mode in which a policy acts: deterministic, by its likeliest actions, or stochastic, by samples.

An expert of PPO, say, was trained on samples and may need them: two agents that mirror each other block each
other for ever if both take their likeliest action. So both modes are measured once the expert is trained, and
the better one is chosen: the expert is imitated in it, and its students act in it.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, Literal

from cesma_sb3.config.schema import DaggerConfig, ExpertConfig
from cesma_sb3.errors import ConfigError, ExpertWarning, StorageError
from cesma_sb3.evaluation import Returns
from cesma_sb3.experts import Expert, RecurrentExpert, SamplingExpert, SoftExpert, sampling_expert
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.json_files import read_object

ACTING_MODES = "acting_modes.json"
"""File of the modes that were chosen, by policy: a run that resumes does not choose again."""
_STANDARD_ERRORS = 2.0
"""Samples are chosen if they return more by this many standard errors of the difference."""


@dataclasses.dataclass(frozen=True)
class ActingMode:
    """How a trained policy acts, and what it returns."""

    deterministic: bool
    """Whether it acts by its likeliest actions; else it samples."""
    returns: Returns
    """Returns in this mode, on the initial states of the final evaluation."""
    alternatives: dict[str, Returns] = dataclasses.field(default_factory=dict)
    """Returns in both modes, `deterministic` and `stochastic`; empty of a policy that is no distribution."""


def choose_acting_mode(
    who: str,
    deterministic: Actor,
    stochastic: Actor | None,
    *,
    wanted: Literal["auto"] | bool,
    evaluator: Evaluator,
    folder: RunFolder,
) -> ActingMode:
    """Measures a trained policy in each of its modes and chooses one.

    Args:
        who: Name of the policy in the report: `expert`, or `students` of a baseline.
        deterministic: The policy, acting by its likeliest actions.
        stochastic: The policy, sampling; None if it is no distribution.
        wanted: The experiment's `expert.deterministic`; `auto` chooses samples if they return more by two
            standard errors of the difference.
        evaluator: Measures on the initial states of the final evaluation.
        folder: Run folder, which keeps the choice.
    """
    returns = evaluator.final(deterministic)
    if stochastic is None:
        mode = ActingMode(True, returns)
    else:
        sampled = evaluator.final(stochastic)
        chosen = saved_mode(folder, who)
        if chosen is None:
            chosen = wanted if isinstance(wanted, bool) else not is_clearly_better(sampled, returns)
            folder.write_json(ACTING_MODES, {**_read(folder), who: {"deterministic": chosen}})
        alternatives = {"deterministic": returns, "stochastic": sampled}
        mode = ActingMode(chosen, returns if chosen else sampled, alternatives)
    if (message := below_random(who, mode.returns, evaluator.anchors()["random"])) is not None:
        warnings.warn(message, ExpertWarning, stacklevel=2)
    return mode


def is_clearly_better(one: Returns, other: Returns) -> bool:
    """Whether one mean return exceeds another by more than two standard errors of their difference."""
    if min(len(one.team), len(other.team)) < 2:
        return False
    # Of episodes that are all alike the standard deviation is 0: their mean is exact.
    error = math.hypot(*(each.std / math.sqrt(len(each.team)) for each in (one, other)))
    return one.mean - other.mean > _STANDARD_ERRORS * error


def below_random(who: str, returns: Returns, random: Returns) -> str | None:
    """Returns a warning if a policy returns clearly less than a random team; else None."""
    if not is_clearly_better(random, returns):
        return None
    return f"{who}: returns {returns.mean:.4g}, less than a random team's {random.mean:.4g}"


def in_acting_mode(expert: Expert, config: ExpertConfig, folder: RunFolder, evaluator: Evaluator) -> Expert:
    """Makes a run's expert act in the mode that was chosen for it.

    Raises:
        StorageError: It samples, and this expert is no distribution.
    """
    chosen = saved_mode(folder, "expert") if config.deterministic == "auto" else config.deterministic
    if chosen is None or chosen:
        return expert
    stochastic = sampling_expert(expert, evaluator.venv.team, evaluator.seeds.sampling)
    if stochastic is None:
        raise StorageError(f"{folder.path}: its expert acts by draws, and this one is no distribution")
    return stochastic


def stochastic_expert(expert: Expert, config: ExpertConfig, evaluator: Evaluator) -> SamplingExpert | None:
    """Makes the expert sample; None if it is no distribution.

    Raises:
        ConfigError: The experiment wants samples of such an expert.
    """
    stochastic = sampling_expert(expert, evaluator.venv.team, evaluator.seeds.sampling)
    if stochastic is None and config.deterministic is False:
        raise ConfigError(
            f"expert.deterministic: false: {config.algorithm} has no distribution to draw from; expected "
            "auto or true"
        )
    return stochastic


def imitates_probabilities(config: DaggerConfig, expert: Expert, team: TeamSpaces) -> bool:
    """Whether the students learn the expert's distribution in place of its actions.

    With `labels: auto` they do if the expert samples from a known distribution. A loss class of a user learns
    from samples then, for it need not know soft labels.
    """
    if config.labels != "auto":
        return config.labels == "soft"
    is_known = isinstance(expert, SoftExpert) and not isinstance(expert, RecurrentExpert)
    is_plain = config.loss_class is None and not team.is_continuous
    return isinstance(expert, SamplingExpert) and is_known and is_plain


def saved_mode(folder: RunFolder, who: str) -> bool | None:
    """Whether a policy of a run acts deterministically; None where there was nothing to choose."""
    saved = _read(folder).get(who)
    chosen = saved.get("deterministic") if isinstance(saved, dict) else None
    return chosen if isinstance(chosen, bool) else None


def _read(folder: RunFolder) -> dict[str, Any]:
    path = folder.path / ACTING_MODES
    return read_object(path) if path.is_file() else {}
