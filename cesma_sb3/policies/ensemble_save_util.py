"""An ensemble of teams on disk: a folder a component, and what holds them together as JSON."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch as th

from cesma_sb3.errors import CesmaError, StorageError, unknown_name
from cesma_sb3.policies.ensembles import MixturePolicy, SequencePolicy, TeamEnsemble
from cesma_sb3.policies.networks.custom import MakeModule
from cesma_sb3.policies.save_util import load_team, team_files
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.json_files import read_object
from cesma_sb3.utils.torch_defaults import plain_torch

ENSEMBLE = "ensemble.json"
_FORMAT = 1
_KINDS: dict[str, type[TeamEnsemble]] = {"mixture": MixturePolicy, "sequence": SequencePolicy}


def policy_files(policy: TeamPolicy | TeamEnsemble) -> dict[str, bytes]:
    """The files of a team or of an ensemble by path below its folder, for whoever writes them."""
    if isinstance(policy, TeamPolicy):
        return team_files(policy)
    description: dict[str, Any] = {
        "format": _FORMAT,
        "kind": next(name for name, kind in _KINDS.items() if isinstance(policy, kind)),
        "seed": policy.seed,
        "n_components": len(policy),
    }
    if isinstance(policy, MixturePolicy):
        description |= {"weights": policy.weights.tolist(), "per_agent": policy.per_agent}
    files = {ENSEMBLE: json.dumps(description, indent=2).encode()}
    for index in range(len(policy)):
        for name, content in team_files(policy.component(index)).items():
            files[f"{_folder(index)}/{name}"] = content
    return files


def save_policy(policy: TeamPolicy | TeamEnsemble, folder: Path | str) -> None:
    """Writes a team, or an ensemble with all its teams, into `folder`, which is made if need be."""
    for name, content in policy_files(policy).items():
        path = as_path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@plain_torch()
def load_policy(
    folder: Path | str,
    *,
    team: TeamSpaces | None = None,
    module: MakeModule | None = None,
    device: th.device | str = "cpu",
) -> TeamPolicy | TeamEnsemble:
    """Reads what `save_policy` or `save_team` wrote, whichever it is.

    Args:
        folder: Where it is.
        team: Another team that is to act so (`load_team`); None: the one that was saved.
        module: Of custom networks, what they are made by (`load_team`).
        device: Where the weights go.

    Raises:
        StorageError: A file is missing, torn, of another version, or does not fit the others.
    """
    folder = as_path(folder)
    if not (folder / ENSEMBLE).exists():
        return load_team(folder, team=team, module=module, device=device)
    path = folder / ENSEMBLE
    description = _read(path)
    count = description["n_components"]
    load = partial(load_team, team=team, module=module, device=device)
    components = [load(folder / _folder(index)) for index in range(count)]
    try:
        if description["kind"] == "sequence":
            return SequencePolicy(components, seed=description["seed"])
        return MixturePolicy(
            components,
            description["weights"],
            per_agent=description["per_agent"],
            seed=description["seed"],
        )
    except KeyError as error:
        raise StorageError(f"{path}: the key {error} is missing") from None
    except (CesmaError, TypeError, ValueError) as error:
        raise StorageError(f"{path}: describes no ensemble: {error}") from None


def _folder(index: int) -> str:
    return f"component-{index:04d}"


def _read(path: Path) -> dict[str, Any]:
    description = read_object(path)
    if description.get("format") != _FORMAT:
        raise StorageError(f"{path}: not an ensemble of format {_FORMAT}")
    if description.get("kind") not in list(_KINDS):
        raise StorageError(f"{path}: {unknown_name('kind', description.get('kind'), _KINDS)}")
    count = description.get("n_components")
    if type(count) is not int or count < 1:
        raise StorageError(f"{path}: n_components {count!r}: expected a whole number of at least 1")
    return description
