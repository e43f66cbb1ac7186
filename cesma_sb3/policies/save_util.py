"""Teams and ensembles on disk: weights as safetensors, everything else as JSON. Loading runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import torch as th
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from cesma_sb3.errors import CesmaError, StorageError, message_of, short_repr, unknown_name
from cesma_sb3.policies.ensembles import MixturePolicy, SequencePolicy, TeamEnsemble
from cesma_sb3.policies.networks.activations import activations
from cesma_sb3.policies.networks.custom import MakeModule
from cesma_sb3.policies.networks.factory import NetworkKind, NetworkSpec
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.json_files import read_object
from cesma_sb3.utils.torch_defaults import plain_torch

WEIGHTS, DESCRIPTION = "team.safetensors", "team.json"
_ALLOWED = {
    "actor_visibility": get_args(Visibility),
    "network": get_args(NetworkKind),
}
_FORMAT = 5
ENSEMBLE = "ensemble.json"
_ENSEMBLE_FORMAT = 1
_KINDS: dict[str, type[TeamEnsemble]] = {"mixture": MixturePolicy, "sequence": SequencePolicy}
_CRITIC = ("value_net.",)
"""Begins the names of weights that no agent acts by: a saved team has none (`TeamPolicy.acting`)."""
_SHARED = "shared"
"""In a weights file's metadata: further names of its tensors, each with the name that it is held by."""


def _team_files(policy: TeamPolicy) -> dict[str, bytes]:
    """The files of one team by name."""
    description = {
        "format": _FORMAT,
        "team": policy.team.to_json(),
        "actor_visibility": policy.actor_visibility,
        "network": policy.spec.kind,
        "hidden_sizes": list(policy.spec.hidden_sizes),
        "activation": policy.spec.activation.__name__,
        "share_parameters": policy.spec.share_parameters,
        "use_agent_id": policy.spec.use_agent_id,
        "n_neighbours": policy.spec.n_neighbours,
        "topology": policy.spec.topology,
        "deterministic": policy.acts_deterministically,
    }
    if policy.spec.module is not None:
        description |= {"module": _name(policy.spec.module), "module_kwargs": dict(policy.spec.module_kwargs)}
    return {
        DESCRIPTION: json.dumps(description, indent=2).encode(),
        WEIGHTS: weights(policy, without=_CRITIC),
    }


def weights(module: nn.Module, *, without: tuple[str, ...] = ()) -> bytes:
    """A module's weights as the content of a safetensors file.

    A tensor that has several names (of a features extractor that actor and critic share) is written once; the
    file's metadata holds its other names.

    Args:
        module: The module.
        without: What names of tensors that are left out begin with.

    Raises:
        StorageError: The module's state holds something else than tensors.
    """
    tensors: dict[str, th.Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        if name.startswith(without):
            continue
        if not isinstance(value, th.Tensor):
            kind = type(value).__name__
            raise StorageError(
                f"{type(module).__name__}: {name} of its state_dict(): {kind}, expected a tensor"
            )
        place = (value.device, value.dtype, value.data_ptr(), tuple(value.shape), value.stride())
        if value.numel() and place in first:
            shared[name] = first[place]
            continue
        first[place] = name
        tensors[name] = value.detach().cpu().contiguous().clone()  # parts of one tensor are written apart
    return save(tensors, {_SHARED: json.dumps(shared)} if shared else None)


def _read_weights(path: Path) -> dict[str, th.Tensor]:
    """The tensors in a weights file, by every name that they have."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        shared = json.loads((file.metadata() or {}).get(_SHARED, "{}"))
    if not isinstance(shared, dict) or not all(name in found for name in shared.values()):
        raise ValueError(f"its metadata {_SHARED!r} names tensors that it does not hold")
    return {**found, **{name: found[held] for name, held in shared.items()}}


def load_weights(module: nn.Module, path: Path, *, without: tuple[str, ...] = ()) -> None:
    """Load the weights of a module from a safetensors file.

    Args:
        module: The module.
        path: The file.
        without: What names of tensors that stay as they are begin with.

    Raises:
        StorageError: The file is missing or torn, its weights are those of another network, or not finite.
    """
    kept = {name: value for name, value in module.state_dict().items() if name.startswith(without)}
    try:
        found = {name: each for name, each in _read_weights(path).items() if not name.startswith(without)}
        for name in dict(module.named_parameters()):
            if name in found and not bool(th.isfinite(found[name]).all()):
                raise StorageError(f"{path}: {name} holds numbers that are not finite")
        module.load_state_dict(found | kept)
    except (OSError, ValueError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be read: {message_of(error)}") from None
    except RuntimeError as error:  # one line for each weight that does not fit
        lines = [line.strip() for line in str(error).splitlines()]
        raise StorageError(f"{path}: weights of another network: {lines[min(1, len(lines) - 1)]}") from None


def load_actors(policy: TeamPolicy, path: Path) -> None:
    """Load the weights of a team's actors from the file of a saved team (`WEIGHTS`).

    Raises:
        StorageError: As of `load_weights`.
    """
    load_weights(policy, path, without=_CRITIC)


def _load_team(
    folder: Path, *, team: TeamSpaces | None, module: MakeModule | None, device: th.device | str
) -> TeamPolicy:
    description = _read_description(folder / DESCRIPTION)
    _check_size(description, folder)
    for key, allowed in _ALLOWED.items():
        if description.get(key, allowed[0]) not in allowed:
            raise StorageError(f"{folder / DESCRIPTION}: {unknown_name(key, description[key], allowed)}")
    try:
        saved = TeamSpaces.from_json(description["team"])
        fits_any_team = NetworkSpec(
            description["network"], use_agent_id=description["use_agent_id"]
        ).fits_any_team
        team = saved if team is None else _acting(team, saved, fits_any_team, folder)
        policy = TeamPolicy.acting(
            team,
            actor_visibility=description["actor_visibility"],
            network=description["network"],
            hidden_sizes=description["hidden_sizes"],
            activation_fn=_activation(description["activation"]),
            share_parameters=description["share_parameters"],
            use_agent_id=description["use_agent_id"],
            n_neighbours=_count(description, "n_neighbours"),
            topology=description["topology"],
            acts_deterministically=_flag(description, "deterministic"),
            module=_checked_module(module, description.get("module"), folder),
            module_kwargs=description.get("module_kwargs"),
        )
    except KeyError as error:
        raise StorageError(f"{folder / DESCRIPTION}: the key {error} is missing") from None
    except StorageError:
        raise
    except (CesmaError, TypeError, ValueError, IndexError) as error:
        raise StorageError(f"{folder / DESCRIPTION}: describes no team: {error}") from None
    load_actors(policy, folder / WEIGHTS)
    policy.set_training_mode(False)
    return policy.to(device)


def _acting(team: TeamSpaces, saved: TeamSpaces, fits_any_team: bool, folder: Path) -> TeamSpaces:
    """The team that saved weights act for, each agent by the weights of its name."""
    if fits_any_team:
        return team
    check_owners(saved.agents, team.agents, folder, any_order=True)
    return team.in_order(saved.agents, who=str(folder))


def check_owners(
    owners: Sequence[str], agents: Sequence[str], path: Path | str, *, any_order: bool = False
) -> None:
    """Check that weights were saved for the agents that are to act by them.

    Args:
        owners: The names of a saved team, in its order.
        agents: The names of the other.
        path: Where the weights are, for the message.
        any_order: Whether the same names in another order will do.

    Raises:
        StorageError: They are others.
    """
    same = sorted(owners) == sorted(agents) if any_order else tuple(owners) == tuple(agents)
    if not same:
        raise StorageError(
            f"{path}: its weights belong to the agents {', '.join(owners)}; expected those of the team, "
            f"{', '.join(agents)}"
        )


def _flag(description: Mapping[str, Any], key: str) -> bool:
    """A value that must be true or false."""
    found = description[key]
    if not isinstance(found, bool):
        raise ValueError(f"{key} {short_repr(found)}: expected true or false")
    return found


def _count(description: Mapping[str, Any], key: str) -> int | None:
    """A value that must be a whole number of at least 1, or null."""
    found = description[key]
    if found is not None and (type(found) is not int or found < 1):
        raise ValueError(f"{key} {short_repr(found)}: expected a whole number of at least 1, or null")
    return found


def _name(module: MakeModule) -> str:
    return f"{module.__module__}:{module.__qualname__}"


def _checked_module(module: MakeModule | None, saved: str | None, folder: Path) -> MakeModule | None:
    """What the user gave, if it is what the team was saved with."""
    if saved is not None and (module is None or _name(module) != saved):
        given = "none" if module is None else _name(module)
        raise StorageError(f"{folder}: its networks are made by {saved}, expected module= that, got {given}")
    return module if saved is not None else None


def _activation(name: str) -> type[nn.Module]:
    """The activation of that name: nothing else that a file may name."""
    if not isinstance(name, str) or name not in activations():
        raise ValueError(unknown_name("activation", name, activations()))
    return activations()[name]


def _check_size(description: Mapping[str, Any], folder: Path) -> None:
    """Raise if a description asks for networks larger than the weights file: they could fill the memory."""
    if not (folder / WEIGHTS).is_file():
        raise StorageError(f"{folder / WEIGHTS}: cannot be read: no such file")
    sizes = description.get("hidden_sizes")
    if not isinstance(sizes, list) or not all(type(size) is int and size > 0 for size in sizes):
        raise StorageError(
            f"{folder / DESCRIPTION}: hidden_sizes: expected a list of numbers above 0, got "
            f"{short_repr(sizes)}"
        )
    least = sum(one * other for one, other in pairwise((1, *sizes)))  # weights between hidden layers
    is_of_sizes = description.get("network") != "custom"
    if is_of_sizes and 2 * least > (folder / WEIGHTS).stat().st_size:  # a weight takes two bytes at least
        raise StorageError(
            f"{folder}: hidden_sizes {short_repr(sizes)}: {WEIGHTS} is too small for such networks"
        )


def _read_description(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise StorageError(f"{path.parent}: holds no team: {path.name} is missing")
    description = read_object(path)
    if description.get("format") != _FORMAT:
        raise StorageError(f"{path}: not a team of format {_FORMAT}")
    return description


def team_files(policy: TeamPolicy | TeamEnsemble) -> dict[str, bytes]:
    """The files of a team or of an ensemble by path below its folder, as `save_team` writes them."""
    if isinstance(policy, TeamPolicy):
        return _team_files(policy)
    description: dict[str, Any] = {
        "format": _ENSEMBLE_FORMAT,
        "kind": next(name for name, kind in _KINDS.items() if isinstance(policy, kind)),
        "seed": policy.seed,
        "n_components": len(policy),
    }
    if isinstance(policy, MixturePolicy):
        description |= {"weights": policy.weights.tolist(), "per_agent": policy.per_agent}
    files = {ENSEMBLE: json.dumps(description, indent=2).encode()}
    for index in range(len(policy)):
        for name, content in _team_files(policy.component(index)).items():
            files[f"{_folder(index)}/{name}"] = content
    return files


def save_team(policy: TeamPolicy | TeamEnsemble, folder: Path | str) -> None:
    """Write a team, or an ensemble with all its teams, into `folder`, which is made if need be.

    A team is `team.safetensors`, the weights of its actors, and `team.json`; an ensemble is `ensemble.json`
    and a folder for each team.
    """
    for name, content in team_files(policy).items():
        path = as_path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@plain_torch()
def load_team(
    folder: Path | str,
    *,
    team: TeamSpaces | None = None,
    module: MakeModule | None = None,
    device: th.device | str = "cpu",
) -> TeamPolicy | TeamEnsemble:
    """Read a team or an ensemble that `save_team` wrote. No code of the files is run.

    Args:
        folder: Its folder.
        team: The team that is to act so; None: the one that was saved. Each agent acts by the weights that
            were saved under its name, and the policy keeps the saved order. Networks over entities that do
            not tell agents apart have the same weights for everybody, and act for any team.
        module: Of a team with custom networks, what they are made by: a file names code, and does not bring
            it.
        device: Where the weights go.

    Raises:
        StorageError: A file is missing, torn, of another version, its weights do not fit `team` or belong to
            agents of other names, or `module` is missing or is not what the team was saved with.
    """
    folder = as_path(folder)
    if not (folder / ENSEMBLE).exists():
        return _load_team(folder, team=team, module=module, device=device)
    path = folder / ENSEMBLE
    description = _read_ensemble(path)
    count = description["n_components"]
    load = partial(_load_team, team=team, module=module, device=device)
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


def _read_ensemble(path: Path) -> dict[str, Any]:
    description = read_object(path)
    if description.get("format") != _ENSEMBLE_FORMAT:
        raise StorageError(f"{path}: not an ensemble of format {_ENSEMBLE_FORMAT}")
    if description.get("kind") not in list(_KINDS):
        raise StorageError(f"{path}: {unknown_name('kind', description.get('kind'), _KINDS)}")
    count = description.get("n_components")
    if type(count) is not int or count < 1:
        raise StorageError(f"{path}: n_components {count!r}: expected a whole number of at least 1")
    return description
