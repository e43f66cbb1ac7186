"""Values of other libraries, and whole floats where integers are wanted, become plain values."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch as th

from cesma_sb3.config.registry import load_experiment, make_experiment
from cesma_sb3.config.validation import plain
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import make_scenario
from cesma_sb3.errors import ConfigError, integer
from cesma_sb3.multirun.tuning.search_space import load_space
from cesma_sb3.training.decentralize import _env_values
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.signatures import with_integers
from tests.envs_for_tests import MatchingGame

IMITATED = {
    "name": "mine",
    "seed": np.int16(3),
    "env": {"id": "tests.envs_for_tests:MatchingGame", "kwargs": {"n_cues": np.uint8(4)}},
    "expert": {"algorithm": "tests.bring.controllers:joint"},
    "dagger": {"total_timesteps": np.int64(40)},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.uint8(255), 255),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("ReLU"), "ReLU"),
        (np.array(7), 7),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([0.5, 1.5], dtype=np.float16), [0.5, 1.5]),
        (th.tensor(2), 2),
        (th.tensor([0.25], requires_grad=True), [0.25]),
        ((1, (2.0, np.int8(3))), [1, [2.0, 3]]),
        (range(3), [0, 1, 2]),
        ({"a": [{"stack_size": np.int64(2)}]}, {"a": [{"stack_size": 2}]}),
        (Path("folder", "model.zip"), str(Path("folder", "model.zip"))),
        (None, None),
    ],
)
def test_a_value_becomes_what_yaml_would_have_given(value, expected):
    found = plain(value)
    assert found == expected
    assert repr(found) == repr(expected)  # Python's own types, which == does not see


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("students.hidden_sizes", np.array([8, 16]), [8, 16]),
        ("dagger.n_envs", th.tensor(4), 4),
        ("dagger.total_timesteps", 1e3, 1000),
        ("students.hidden_sizes", [1e1, 8.0], [10, 8]),
        ("dagger.min_samples", 512.0, 512),
        ("env.processes", 2.0, 2),
        ("threads", np.float64(2), 2),
        ("seed", np.uint32(2**32 - 1), 2**32 - 1),
        ("env.kwargs.n_agents", 4.0, 4),
        ("expert.kwargs.buffer_size", 1e6, 1_000_000),
        ("expert.policy_kwargs.hidden_sizes", np.array([64.0, 32.0]), [64, 32]),
        ("fine_tuning", {"total_timesteps": 1e2, "kwargs": {"n_steps": 1e1}}, None),
    ],
)
def test_an_experiment_takes_it(key, value, expected):
    found = load_experiment("spread-3", {key: value}).to_mapping()
    for part in key.split("."):
        found = found[part]
    if expected is None:
        assert repr(found["kwargs"]) == "{'n_steps': 10}"
    else:
        assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("dagger.total_timesteps", 1.5, "dagger.total_timesteps: expected an integer, got 1.5"),
        ("dagger.n_envs", np.float32(2.5), "dagger.n_envs: expected an integer, got 2.5"),
        ("dagger.n_envs", np.array([2]), "dagger.n_envs: expected an integer, got [2]"),
        ("students.hidden_sizes", [8.5], "students.hidden_sizes.0: expected an integer, got 8.5"),
        ("env.kwargs.n_agents", 3.5, "env: spread: n_agents: expected an integer, got 3.5"),
        ("expert.kwargs.buffer_size", 1e6 + 0.5, "expert.kwargs.buffer_size: expected an integer"),
        ("expert.kwargs.tau", np.array([np.nan]), "expert.kwargs.tau.0: expected a finite number, got nan"),
        ("seed", np.int64(-1), "seed: expected at least 0, got -1"),
        ("seed", 1e30, "seed: expected at most 9,007,199,254,740,992, got 1000000000000000019884624838656"),
        ("env.kwargs.n_agents", np.datetime64("2020-01-01"), "env.kwargs.n_agents: expected a value that"),
    ],
)
def test_what_is_no_such_value_is_refused_in_one_line(key, value, told):
    with pytest.raises(ConfigError) as caught:
        load_experiment("spread-3", {key: value})
    assert str(caught.value).startswith(f"override: {told}")


def test_floats_of_floats_stay():
    found = load_experiment("spread-3", {"dagger.learning_rate": 1.0, "expert.kwargs.tau": 1.0}).to_mapping()
    assert repr(found["dagger"]["learning_rate"]) == "1.0"
    assert repr(found["expert"]["kwargs"]["tau"]) == "1.0"


def test_what_decentralize_is_given_is_plain_too():
    experiment = make_experiment(IMITATED, {"dagger.n_envs": np.int32(2)}, called="decentralize").to_mapping()
    assert repr([experiment["seed"], experiment["env"]["kwargs"]]) == "[3, {'n_cues': 4}]"
    assert repr([experiment["dagger"][key] for key in ("total_timesteps", "n_envs")]) == "[40, 2]"
    values = {**IMITATED, "env": _env_values(functools.partial(MatchingGame, length=np.array([4, 5])))}
    assert make_experiment(values, {}, called="decentralize").env.kwargs == {"length": [4, 5]}
    values["env"] = _env_values(functools.partial(MatchingGame, length=np.array([1, np.inf])))
    with pytest.raises(ConfigError, match=r"decentralize: env\.kwargs\.length\.1: expected a finite number"):
        make_experiment(values, {}, called="decentralize")


def test_arrays_that_no_file_of_values_holds_are_refused_before_there_is_a_folder(tmp_path):
    values = {**IMITATED, "env": {**IMITATED["env"], "kwargs": {"length": np.zeros(100_000)}}}
    experiment = make_experiment(values, {}, called="decentralize")
    with pytest.raises(ConfigError, match=r"^mine: expected values of at most 262,144 bytes as YAML$"):
        RunFolder.create(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def build(*, size: int, rate: float, sizes: list[int], both: int | float, text: str = "", anything=None):
    """Arguments of every kind."""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("size", 8.0, 8),
        ("size", 8.5, 8.5),
        ("rate", 1.0, 1.0),
        ("sizes", [1e1, 2], [10, 2]),
        ("both", 2.0, 2.0),
        ("text", 2.0, 2.0),
        ("anything", 2.0, 2.0),
        ("no_such", 2.0, 2.0),
    ],
)
def test_signatures_say_where_whole_floats_are_integers(name, value, expected):
    assert repr(with_integers(build, {name: value})) == repr({name: expected})


@pytest.mark.parametrize("name", ["spread", "tests.envs_for_tests:MatchingGame"])
def test_environments_take_numpys_numbers(name):
    venv = make_vec_env(name, n_envs=np.int64(2), seed=np.int64(5))
    other = make_vec_env(name, n_envs=2, seed=5)
    assert np.array_equal(venv.reset(), other.reset())
    venv.seed(np.uint8(7))
    other.seed(7)
    assert np.array_equal(venv.reset(), other.reset())
    one, again = JointEnv(MatchingGame()), JointEnv(MatchingGame())
    assert np.array_equal(one.reset(seed=np.int32(3))[0], again.reset(seed=3)[0])
    assert make_scenario("spread", n_agents=2.0).team().n_agents == 2


@pytest.mark.parametrize(
    "refused",
    [
        lambda: make_vec_env("spread", seed=-1),
        lambda: joint_vec_env(MatchingGame, seed=-1),
        lambda: make_vec_env("spread").seed(np.int64(-1)),
        lambda: JointEnv(MatchingGame()).reset(seed=-1),
        lambda: integer("seed", np.int8(-1)),
    ],
)
def test_a_negative_seed_is_refused_the_same_way_everywhere(refused):
    with pytest.raises(ConfigError, match=r"^seed: expected at least 0, got -1$"):
        refused()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("3", "n_envs: expected an integer, got '3'"),
        (2.5, "n_envs: expected an integer, got 2.5"),
        (0, "n_envs: expected at least 1, got 0"),
        (2**60, "n_envs: expected at most 9,007,199,254,740,992, got 1152921504606846976"),
    ],
)
def test_a_count_that_is_none_is_refused(value, told):
    with pytest.raises(ConfigError) as caught:
        joint_vec_env(MatchingGame, value)
    assert str(caught.value) == told


def test_a_search_space_has_whole_floats_too(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "dagger.batch_size: {low: 1e2, high: 5e2}\ndagger.min_samples: {low: 1e3, high: 2e3, step: 5e2}\n"
        "dagger.learning_rate: {low: 1e0, high: 2e0}\nstudents.hidden_sizes: {choices: [[6.4e1]]}\n"
    )
    batch, least, rate, _ = load_space(file).distributions.values()
    assert batch.is_integer
    assert not rate.is_integer
    assert repr(list(least.values())) == "[1000, 1500, 2000]"
    assert load_experiment("spread-3", {"students.hidden_sizes": [6.4e1]}).students.hidden_sizes == (64,)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("dagger.batch_size: {low: 1e2, high: 500.5}", "dagger.batch_size: "),
        ("dagger.batch_size: {low: 1e2, high: 2e2, step: 0.5}", "step: expected an integer above 0"),
    ],
)
def test_a_search_space_of_fractions_is_refused_where_an_integer_is_wanted(tmp_path, line, told):
    (tmp_path / "mine.yaml").write_text(line)
    with pytest.raises(ConfigError, match=told):
        load_space(tmp_path / "mine.yaml")


def test_fractions_between_whole_floats_are_no_integers_for_a_class(tmp_path):
    (tmp_path / "mine.yaml").write_text("expert.kwargs.buffer_size: {low: 1e3, high: 1e4}")
    with pytest.raises(ConfigError, match=r"expert\.kwargs\.buffer_size: expected an integer, got 5500.5"):
        load_space(tmp_path / "mine.yaml").check("spread-3", {})
