"""`decentralize` turns a controller that a user has already into one policy for each agent."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.config.registry import list_experiments, load_experiment, make_experiment
from cesma_sb3.config.resolve import algorithm_name
from cesma_sb3.config.schema import IN_MEMORY, ONNX, TORCHSCRIPT, TRAJECTORIES
from cesma_sb3.errors import ConfigError
from cesma_sb3.experts.adapt import model_of_predict
from cesma_sb3.experts.loading import resolve_file
from cesma_sb3.experts.sb3_files import Saved
from cesma_sb3.imitation.recordings import Recording, holds_recording, recorded_arrays
from cesma_sb3.imitation.visited_states import VisitedArrays, holds_states, visited_arrays
from cesma_sb3.training.evaluator import Spectator
from cesma_sb3.training.experiment_files import EXPERIENCE, MODEL, NORMALIZATION, RECORDING
from cesma_sb3.training.pretrained import InMemoryExpert
from cesma_sb3.training.run import RunResult, run_experiment
from cesma_sb3.utils import modules

_TIMESTEPS = 100_000
"""Environment timesteps of a decentralization, at most, where nothing says how many."""
_UPDATES = 2_000
"""Gradient steps on recorded trajectories, where nothing says how many."""
_IMITATION = ("dagger", "bc")
"""Imitation algorithms that `algorithm` may name, too."""
_BY_SUFFIX = {
    ".npz": TRAJECTORIES,
    ".onnx": ONNX,
    ".pt": TORCHSCRIPT,
    ".pth": TORCHSCRIPT,
    ".ts": TORCHSCRIPT,
}


def decentralize(
    expert: Any,
    env: str | Callable[..., Any] | Mapping[str, Any],
    *,
    total_timesteps: int | None = None,
    experience: Any = None,
    algorithm: str | Saved | None = None,
    normalization: VecNormalize | Path | str | None = None,
    trust: bool = False,
    name: str = "decentralized",
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = False,
    spectator: Spectator | None = None,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> RunResult:
    """Turns a controller of a whole team into one policy for each agent, and measures both.

    It is a run like those of `run`, with a run folder, whose expert is pretrained.

    Args:
        expert: An algorithm or a policy of SB3 or sb3-contrib; a file: SB3's (of `model.save` or
            `policy.save`), TorchScript or a whole PyTorch module (`.pt`), or ONNX; a function of joint
            observations [B, I] float32 (and masks [B, M] bool) to actions; one function for each agent, by
            name, of its own flat observation (and mask) to an action of its space; an object with `labels`
            (`Expert`); or `module:name` of a class or object of these kinds. In the place of a controller,
            recorded trajectories, which the students imitate as they are (behavioural cloning): imitation's,
            a dataset of Minari, arrays by name (`RecordedArrays`), or the folder or `.npz` of any of them.
        env: A registered experiment, whose environment, students, imitation and evaluation are taken; a
            registered environment, `package.module:function` of a PettingZoo environment, or that function
            itself, its arguments by `functools.partial`; or the `env` of an experiment (`EnvConfig`):
            `{"id": ..., "team_reward": "mean"}`.
        total_timesteps: Environment timesteps of the decentralization, at most; 0 with `experience`. None:
            those of a registered experiment that has any, else 100,000; of recorded trajectories, 0.
        experience: States that the expert labels for the students, before they act: recorded trajectories in
            memory (as of `expert`), an `Experience`, or a replay buffer of SB3. None: the replay buffer that
            a model in memory still holds, if any, and if the students learn from states
            (`dagger.experience`); False: none. Nothing is learned of what was done there.
        algorithm: The class that saved an SB3 file, or its name (`"PPO"`); for a policy that was saved alone,
            the algorithm that trained it, or its own class. `bc` and `dagger` name the imitation algorithm,
            as `dagger.algorithm` does.
        normalization: The model's `VecNormalize`, or its file; None: an algorithm in memory brings its own.
        trust: Whether files may run code when they are loaded, as SB3's, TorchScript's and pickles can.
        name: Name of the experiment, after which the run folder is called.
        seed: Seed of all randomness.
        out: The run folder, new or empty; None: `runs/NAME/<time>-seed<N>` under the current folder.
        progress: Whether to show a progress bar on standard error.
        spectator: Looks on while the students train (`run`).
        overrides: Further values of the experiment, by dotted key (`{"dagger.n_envs": 8}`) or nested.
        **more: Further overrides, as keywords: `students={"network": "entities"}`.

    Raises:
        CesmaError: Bad input: one line. A controller that does not fit the team names both.

    Example:
        >>> result = cesma_sb3.decentralize("ppo.zip", "mpe2.simple_spread_v3", algorithm="PPO", trust=True)
        >>> mode = result.students.acts_deterministically
        >>> action, _ = result.students.agent(0).predict(own_observation, deterministic=mode)

    Source: section 4.1 ("any expert architecture ... may be used").
    """
    imitation = None
    if algorithm in _IMITATION:  # no class that saved a file
        imitation, algorithm = algorithm, None
    expert_values, in_memory = _expert_values(expert, algorithm, normalization)
    values: dict[str, Any] = {
        "dagger": {},
        **_task_values(env),
        "name": name,
        "seed": seed,
        "expert": {"trust": trust, **expert_values},
    }
    dagger = values["dagger"]
    if expert_values["algorithm"] == TRAJECTORIES:
        dagger |= {"algorithm": "bc", "total_timesteps": total_timesteps or 0, "beta": {}}
        dagger |= {"experience": {"n_updates": _UPDATES}}
    else:
        fallback = dagger.get("total_timesteps") or _TIMESTEPS
        dagger |= {"total_timesteps": fallback if total_timesteps is None else total_timesteps}
    if imitation is not None:
        dagger |= {"algorithm": imitation}
    changes = {**(overrides or {}), **more}
    experiment = make_experiment(values, changes, called="decentralize")
    learns = experiment.dagger is not None and experiment.dagger.has_experience
    states = _states(experience, in_memory.controller if learns and in_memory is not None else None)
    if states is not None:
        values["expert"] |= {"experience": EXPERIENCE}
        experiment = make_experiment(values, changes, called="decentralize")
    return run_experiment(
        experiment, out=out, progress=progress, in_memory=in_memory, states=states, spectator=spectator
    )


def _states(experience: Any, controller: Any) -> VisitedArrays | None:
    """Returns the states that the students begin with; None if there are none."""
    if experience is False:
        return None
    if experience is not None:
        return visited_arrays(experience)
    held = getattr(controller, "replay_buffer", None)
    return visited_arrays(held) if holds_states(held) else None


def _expert_values(
    expert: Any, algorithm: str | Saved | None, normalization: VecNormalize | Path | str | None
) -> tuple[dict[str, Any], InMemoryExpert | None]:
    """Returns the experiment's `expert`, and the expert itself if no file and no name holds it."""
    values, controller = _named_expert(expert, algorithm)
    if controller is None:
        if isinstance(normalization, VecNormalize):
            raise ConfigError("normalization: expected the file of it, beside the file of a model")
        if normalization is not None:
            values["normalization"] = str(resolve_file(normalization))
        return values, None
    if not isinstance(normalization, VecNormalize | None):
        raise ConfigError("normalization: expected VecNormalize itself, beside a controller in memory")
    if isinstance(controller, BaseAlgorithm):
        normalization = controller.get_vec_normalize_env() if normalization is None else normalization
        if normalization is not None:
            values["normalization"] = NORMALIZATION
    return values, InMemoryExpert(controller, normalization)


def _named_expert(expert: Any, algorithm: str | Saved | None) -> tuple[dict[str, Any], Any]:
    """Returns the values that name an expert, and the controller if it is in memory; else None."""
    if holds_recording(expert):
        return {"algorithm": TRAJECTORIES, "path": f"{RECORDING}.npz"}, Recording(recorded_arrays(expert))
    named = algorithm if isinstance(algorithm, str | None) else algorithm_name(algorithm)
    if isinstance(expert, str | Path):
        file = resolve_file(expert)
        if isinstance(expert, str) and modules.NAME.fullmatch(expert) and not file.exists():
            return {"algorithm": expert}, None
        kind = named or (TRAJECTORIES if file.is_dir() else _BY_SUFFIX.get(file.suffix.lower()))
        if kind is None:
            raise ConfigError(
                f'{expert}: expected algorithm=, the name of the class that saved it ("PPO"), or a file that '
                f"ends with {', '.join(_BY_SUFFIX)}, or a folder of trajectories"
            )
        return {"algorithm": kind, "path": str(file)}, None
    expert = model_of_predict(expert)
    if isinstance(expert, BaseAlgorithm):  # the run folder keeps the model in this file
        return {"algorithm": algorithm_name(type(expert)), "path": MODEL}, expert
    if isinstance(expert, types.FunctionType) and (name := modules.name_of(expert)) is not None:
        return {"algorithm": name}, None
    return {"algorithm": IN_MEMORY}, expert


def _task_values(env: str | Callable[..., Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts of an experiment that say what is to be done, and not by whom."""
    if isinstance(env, str) and env in list_experiments():
        registered = load_experiment(env)
        if registered.dagger is not None:
            values = registered.to_mapping()
            return {key: values[key] for key in ("threads", "env", "students", "dagger", "evaluation")}
        raise ConfigError(f"{env}: a baseline, which imitates nobody; expected {registered.baseline_of}")
    return {"env": _env_values(env)}


def _env_values(env: str | Callable[..., Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the experiment's `env`, whose name a later process can find again."""
    if isinstance(env, str):
        return {"id": env}
    if isinstance(env, Mapping):
        named = _env_values(env["id"]) if "id" in env else {}
        kwargs = env.get("kwargs") or {}
        if not isinstance(kwargs, Mapping):
            raise ConfigError(f"env.kwargs: expected arguments by name, got {type(kwargs).__name__}")
        return {**env, **named, "kwargs": {**named.get("kwargs", {}), **kwargs}}
    function: Any = env
    kwargs = {}
    if isinstance(env, functools.partial):
        if env.args:
            raise ConfigError("env: positional arguments in a partial; expected them by keyword")
        function, kwargs = env.func, dict(env.keywords)
    if not callable(function) or not hasattr(function, "__qualname__"):
        raise ConfigError(
            f"env: {type(env).__name__}; expected a name, or the function that makes an environment: a run "
            "needs several"
        )
    name = modules.name_of(function)
    if name is None:
        raise ConfigError(
            f"env: {function.__qualname__} is not found in {function.__module__!r} by its name; expected a "
            "function or class at the top of a module, for a run writes down what it ran"
        )
    return {"id": name, "kwargs": kwargs}
