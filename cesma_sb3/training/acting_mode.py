"""The two ways in which a policy that is a distribution can act: by its likeliest actions, or by draws.

An expert of PPO, say, was trained by draws, and may need them: two agents that mirror each other block each
other for ever if both do what is likeliest. So both ways are measured once it is finished, and the better one
is its own: it is imitated in it, and its students act as it does.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

from cesma_sb3.config.schema import DaggerConfig, Experiment
from cesma_sb3.errors import ConfigError, ExpertWarning, StorageError
from cesma_sb3.evaluation import Actor, Returns
from cesma_sb3.experts import Expert, RecurrentExpert, SamplingExpert, SoftExpert, sampling
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.json_files import read_object

WAYS = "ways.json"
"""Which way was chosen, by policy: a run that resumes does not choose again."""
_ERRORS = 2.0
"""By how many standard errors of the difference draws must be better to be chosen."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How a finished policy acts, and what that returns."""

    deterministic: bool
    """Else by draws."""
    returns: Returns
    """In this way, on the initial states of the final evaluation."""
    sampled: Returns | None = None
    """By draws; None of a policy that is no distribution."""
    likeliest: Returns | None = None
    """By its likeliest actions; None likewise."""

    @property
    def measured(self) -> dict[str, Returns]:
        """Both ways by name; none of a policy that has but one."""
        named = {"deterministic": self.likeliest, "sampled": self.sampled}
        return {name: found for name, found in named.items() if found is not None}


def settled(
    who: str, likeliest: Actor, draws: Actor | None, *, evaluator: Evaluator, folder: RunFolder
) -> Way:
    """Measures a finished policy in each way that it has, and says which is its own.

    Args:
        who: The policy's name in the report: `expert`, or of a baseline `students`.
        likeliest: The policy, deterministic.
        draws: The same by draws; None of one that is no distribution.
        evaluator: Measures on the initial states of the final evaluation. Its experiment may say which way;
            else draws are chosen if they return more than the likeliest actions, by twice the standard error
            of the difference.
        folder: Keeps what was chosen.
    """
    wanted = evaluator.experiment.expert.deterministic
    returns = evaluator.final(likeliest)
    if draws is None:
        way = Way(True, returns)
    else:
        sampled = evaluator.final(draws)
        chosen = chosen_way(folder, who)
        if chosen is None:
            chosen = wanted if isinstance(wanted, bool) else not is_clearly_better(sampled, returns)
            folder.write_json(WAYS, {**_read(folder), who: {"deterministic": chosen}})
        way = Way(chosen, returns if chosen else sampled, sampled=sampled, likeliest=returns)
    if (told := below_random(who, way.returns, evaluator.anchors()["random"])) is not None:
        warnings.warn(told, ExpertWarning, stacklevel=2)
    return way


def is_clearly_better(one: Returns, other: Returns) -> bool:
    """Whether one mean return exceeds another by more than twice the standard error of their difference."""
    if min(len(one.team), len(other.team)) < 2:
        return False
    # Of episodes that are all alike the standard deviation is 0: their mean is exact.
    error = math.hypot(*(found.std / math.sqrt(len(found.team)) for found in (one, other)))
    return one.mean - other.mean > _ERRORS * error


def below_random(who: str, returns: Returns, random: Returns) -> str | None:
    """A line that says so, if a policy returns clearly less than a random team; else None."""
    if not is_clearly_better(random, returns):
        return None
    return f"{who}: returns {returns.mean:.4g}, less than a random team's {random.mean:.4g}"


def expert_in_its_way(expert: Expert, folder: RunFolder, evaluator: Evaluator) -> Expert:
    """A run's expert, as it was found to act best: by draws, or as it is.

    Raises:
        StorageError: It acts by draws, and is no distribution.
    """
    wanted = evaluator.experiment.expert.deterministic
    chosen = chosen_way(folder, "expert") if wanted == "auto" else wanted
    if chosen is None or chosen:
        return expert
    found = sampling(expert, evaluator.venv.team, evaluator.seeds.sampling)
    if found is None:
        raise StorageError(f"{folder.path}: its expert acts by draws, and this one is no distribution")
    return found


def drawing_expert(expert: Expert, evaluator: Evaluator) -> SamplingExpert | None:
    """The expert by draws; None where it is no distribution.

    Raises:
        ConfigError: The experiment wants draws of such an expert.
    """
    config = evaluator.experiment.expert
    found = sampling(expert, evaluator.venv.team, evaluator.seeds.sampling)
    if found is None and config.deterministic is False:
        raise ConfigError(
            f"expert.deterministic: false: {config.algorithm} has no distribution to draw from; expected "
            "auto or true"
        )
    return found


def students_act_deterministically(experiment: Experiment, expert: Expert) -> bool:
    """Whether students act by their likeliest actions: as their expert does, if nothing else is said."""
    wanted = experiment.students.deterministic
    return wanted if isinstance(wanted, bool) else not isinstance(expert, SamplingExpert)


def imitates_probabilities(config: DaggerConfig, expert: Expert, team: TeamSpaces) -> bool:
    """Whether the students learn the expert's distribution in place of its actions.

    With `labels: auto` they do if the expert acts by draws from one that is known. A loss class of one's own
    then learns from draws: it need not know soft labels.
    """
    if config.labels != "auto":
        return config.labels == "soft"
    is_known = isinstance(expert, SoftExpert) and not isinstance(expert, RecurrentExpert)
    is_plain = config.loss_class is None and not team.is_continuous
    return isinstance(expert, SamplingExpert) and is_known and is_plain


def chosen_way(folder: RunFolder, who: str) -> bool | None:
    """Whether a policy of a run acts deterministically; None where there was nothing to choose."""
    found = _read(folder).get(who)
    chosen = found.get("deterministic") if isinstance(found, dict) else None
    return chosen if isinstance(chosen, bool) else None


def _read(folder: RunFolder) -> dict[str, Any]:
    path = folder.path / WAYS
    return read_object(path) if path.is_file() else {}
