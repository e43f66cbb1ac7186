"""Search spaces: those that are shipped fit, and bad ones are refused in one line."""

import optuna
import pytest

from cesma_sb3 import load_experiment
from cesma_sb3.config.documents import data_folder
from cesma_sb3.config.registry import make_experiment
from cesma_sb3.errors import ConfigError, UnknownNameError
from cesma_sb3.multirun.tuning.distributions import Choices, Interval
from cesma_sb3.multirun.tuning.search_space import default_spaces, keys_of, load_space, merged

TD3, SAC = {"expert.algorithm": "TD3"}, {"expert.algorithm": "SAC"}
EXPECTED = {"expert.algorithm": "ExpectedDDPG"}
# Of each space, experiments that it tunes, and what they are given first.
SHIPPED = {
    "dagger": [("spread-3-scripted", {}), ("spread-3-mlp", {}), ("smax-3m", {}), ("speaker-listener", {})],
    "ddpg": [("spread-3-continuous", {})],
    "dqn": [("spread-3-dqn", {})],
    "expected-ddpg": [("spread-3", EXPECTED), ("spread-6-hetero", EXPECTED), ("navigation-comm-3", EXPECTED)],
    "expected-ddpg-comparison": [
        (name, {}) for name in ("spread-3", "spread-3-maddpg", "speaker-listener-maddpg")
    ],
    "factored-dqn": [("spread-3-sum-of-q", {}), ("spread-3-exponential-dqn", {}), ("spread-3-qmix", {})],
    "gumbel-softmax-ddpg": [
        (f"{name}-gumbel-softmax", {}) for name in ("spread-3", "spread-6", "speaker-listener")
    ],
    "maskable-ppo": [("smax-3m", {}), ("smax-3s5z-maskable-ppo", {})],
    "ppo": [("spread-3-ppo", {})],
    "q-learning-comparison": [(f"spread-3-{name}", {}) for name in ("sum-of-q", "exponential-dqn", "iql")],
    "recurrent-factored-dqn": [("smax-3m-sum-of-q", {}), ("smac-3s5z-qmix", {})],
    "sac": [("spread-3-continuous", SAC)],
    "students-cnn": [("cooperative-pong-scripted", {})],
    "students-entities": [("spread-3", {}), ("spread-6-scripted", {})],
    "students-feed-forward": [("spread-3-mlp", {}), ("spread-3-ppo", {})],
    "students-messages": [("speaker-listener", {}), ("navigation-comm-3", {})],
    "students-recurrent": [("smax-3m", {}), ("smax-3m-scripted", {})],
    "td3": [("spread-3-continuous", TD3)],
    "team-ppo": [("spread-3-mappo", {}), ("spread-3-ippo", {}), ("smax-3s5z", {})],
}
CONDITIONS = """\
dagger.beta.schedule: {choices: [none, linear, exponential]}
dagger.beta.rounds: {low: 5, high: 50, when: {dagger.beta.schedule: linear}}
dagger.beta.per_agent: {choices: [true, false], when: {dagger.beta.schedule: [linear, exponential]}}
dagger.batch_size: {choices: [32, 64], when: {dagger.beta.per_agent: true, dagger.beta.schedule: linear}}
students.hidden_sizes: {choices: [[8], [8, 8]]}
students.activation: {choices: [ReLU, Tanh], when: {students.hidden_sizes: [[8, 8]]}}
"""
GROUP = """\
"students.hidden_sizes, expert.policy_kwargs.hidden_sizes": {choices: [[8], [8, 8]]}
dagger.learning_rate,expert.kwargs.learning_rate: {low: 1e-3, high: 1e-2}
students.activation: {choices: [Tanh], when: {expert.policy_kwargs.hidden_sizes: [[8]]}}
"""


def points(space, count=20):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def value_at(values, key):
    for part in key.split("."):
        values = values.get(part)
    return values


@pytest.fixture
def write(tmp_path):
    """A space of this text."""

    def load(text, name="mine"):
        (tmp_path / f"{name}.yaml").write_text(text)
        return load_space(tmp_path / f"{name}.yaml")

    return load


@pytest.fixture
def refused(tmp_path):
    """What a space of this text is refused with, less its file."""
    file = tmp_path / "mine.yaml"

    def refuse(text):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_space(file)
        told = str(caught.value)
        assert "\n" not in told
        assert told.startswith(f"{file}: ")
        return told.removeprefix(f"{file}: ")

    return refuse


def test_every_shipped_space_is_tested():
    assert {file.stem for file in data_folder("tuning").glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize(
    ("name", "base", "given"), [(name, *base) for name in SHIPPED for base in SHIPPED[name]]
)
def test_random_points_of_shipped_spaces_are_experiments(name, base, given):
    space = load_space(name)
    space.check(base, given)
    plain = load_experiment(base, given)
    drawn = points(space, 10)
    found = [make_experiment(plain.to_mapping(), point, called=base) for point in drawn]
    for experiment, point in zip(found, drawn, strict=True):
        values = experiment.to_mapping()
        expected = {key: point.get(key, value_at(plain.to_mapping(), key)) for key in space.keys}
        assert {key: value_at(values, key) for key in space.keys} == expected
        rollout = experiment.expert.n_envs * experiment.expert.kwargs.get("n_steps", 0)
        assert (
            rollout % experiment.expert.kwargs.get("batch_size", 1) == 0
        )  # SB3 warns of a smaller last batch
    assert load_experiment(base, {**given, **drawn[0]}) == found[0]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_key_of_a_shipped_space_is_drawn(name):
    space = load_space(name)
    assert {key for point in points(space, 60) for key in point} == set(space.keys)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("spread-3", {}, ("expected-ddpg", "students-entities")),
        ("spread-3-mappo", {}, ("team-ppo", None)),
        ("smax-3m", {}, ("maskable-ppo", "students-recurrent")),
        ("smax-3s5z", {}, ("team-ppo", "students-recurrent")),
        ("smax-3m-sum-of-q", {}, ("recurrent-factored-dqn", "students-recurrent")),
        ("spread-3-continuous", TD3, ("td3", "students-feed-forward")),
        ("spread-3-ppo", {"expert.algorithm": "A2C"}, (None, "students-feed-forward")),
        ("spread-3-ppo", {"expert.algorithm": "stable_baselines3:PPO"}, (None, "students-feed-forward")),
        (
            "spread-3",
            {"expert.init_from": "runs/a", "expert.total_timesteps": 0},
            (None, "students-entities"),
        ),
        ("speaker-listener", {}, ("expected-ddpg", "students-messages")),
        (
            "speaker-listener-gumbel-softmax",
            {"dagger.message_entropy": 0.0},
            ("gumbel-softmax-ddpg", "students-feed-forward"),
        ),
        (
            "speaker-listener-scripted",
            {"dagger.message_entropy": 0.0, "dagger.message_relaxation": "softmax"},
            (None, "students-messages"),
        ),
        (
            "spread-3-scripted",
            {"students.network": "custom", "students.module": "torch.nn:Linear"},
            (None, "dagger"),
        ),
        (
            "spread-3-scripted",
            {"students.network": "custom", "students.module": "torch.nn:Linear", "dagger.algorithm": "bc"},
            (None, None),
        ),
    ],
)
def test_default_spaces(name, given, expected):
    found = default_spaces(load_experiment(name, given))
    assert found == expected
    assert set(found) - {None} <= set(SHIPPED)


def test_kinds_of_values(write):
    space = write(
        "dagger.batch_size: {low: 32, high: 96, step: 32}\n"
        "dagger.learning_rate: {low: 1e-4, high: 1, log: true}\n"
        "dagger.label_temperature: {low: 1, high: 2.5, step: 0.5}\n"
        "dagger.max_grad_norm: {choices: [null, 0.5]}\n"
        "students.hidden_sizes: {choices: [[8], [8, 8]]}\n"
        "students.share_parameters: {choices: [true, false]}\n"
        "expert.policy_kwargs.optimizer_kwargs.fused: {choices: [true, 1]}\n"
    )
    found = points(space, 60)
    seen = {key: [point[key] for point in found] for key in found[0]}
    assert set(seen["dagger.batch_size"]) == {32, 64, 96}
    assert all(isinstance(size, int) for size in seen["dagger.batch_size"])
    assert 10 < sum(rate < 1e-2 for rate in seen["dagger.learning_rate"]) < 50
    assert set(seen["dagger.label_temperature"]) == {1.0, 1.5, 2.0, 2.5}
    assert set(seen["dagger.max_grad_norm"]) == {None, 0.5}
    assert [8] in seen["students.hidden_sizes"]
    assert [8, 8] in seen["students.hidden_sizes"]
    assert {type(flag) for flag in seen["expert.policy_kwargs.optimizer_kwargs.fused"]} == {bool, int}


def test_conditions(write):
    found = points(write(CONDITIONS), 200)
    assert {point["dagger.beta.schedule"] for point in found} == {"none", "linear", "exponential"}
    for point in found:
        schedule = point["dagger.beta.schedule"]
        assert ("dagger.beta.rounds" in point) == (schedule == "linear")
        assert ("dagger.beta.per_agent" in point) == (schedule != "none")
        together = schedule == "linear" and point["dagger.beta.per_agent"]
        assert ("dagger.batch_size" in point) == together
        assert ("students.activation" in point) == (point["students.hidden_sizes"] == [8, 8])
    assert {point.get("dagger.batch_size") for point in found} == {None, 32, 64}


@pytest.mark.parametrize(
    ("other", "value", "is_drawn"),
    [
        ("{choices: [true]}", "true", True),
        ("{choices: [true, 1]}", "true", None),
        ("{choices: [1.0]}", "1", True),
        ("{choices: [null]}", "null", True),
        ("{choices: [[1, [true]]]}", "[[1, [true]]]", True),
        ("{low: 0.1, high: 0.3, step: 0.2}", "[0.1, 0.3]", True),
        ("{low: 1, high: 2}", "[1, 2]", True),
        ("{low: 1, high: 9, step: 4}", "5", None),
    ],
)
def test_values_of_conditions_are_compared_as_json(write, other, value, is_drawn):
    space = write(
        f"expert.kwargs.a: {other}\nexpert.kwargs.b: {{choices: [1], when: {{expert.kwargs.a: {value}}}}}\n"
    )
    found = {"expert.kwargs.b" in point for point in points(space, 40)}
    assert found == ({True, False} if is_drawn is None else {is_drawn})


def test_steps_of_a_number_are_found_by_conditions(write):
    steps = "expert.kwargs.a: {low: 0.1, high: 0.5, step: 0.1}\n"
    space = write(steps + "expert.kwargs.b: {choices: [1], when: {expert.kwargs.a: 0.3}}\n")
    for point in points(space, 60):
        assert ("expert.kwargs.b" in point) == (abs(point["expert.kwargs.a"] - 0.3) < 0.01)


def test_keys_that_get_one_value(write):
    space = write(GROUP)
    assert keys_of(" a.b ,c") == ["a.b", "c"]
    space.check("spread-3-mlp", {})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        point = space.suggest(trial)
        assert set(space.distributions) >= set(trial.params)
        assert point["students.hidden_sizes"] == point["expert.policy_kwargs.hidden_sizes"]
        assert point["dagger.learning_rate"] == point["expert.kwargs.learning_rate"]
        assert ("students.activation" in point) == (point["students.hidden_sizes"] == [8])
        found = load_experiment("spread-3-mlp", point).to_mapping()
        assert {key: value_at(found, key) for key in point} == point
    for key in ("students.hidden_sizes", "expert.kwargs.learning_rate"):
        with pytest.raises(ConfigError, match=rf"override: {key}: this value is tuned by"):
            space.check("spread-3-mlp", {key: 1})


def test_a_grid_is_gone_through(write):
    space = write(
        "students.hidden_sizes: {choices: [[8], [8, 8]]}\n"
        "dagger.label_temperature: {low: 1, high: 2, step: 1}\n"
        "dagger.weight_decay: {low: 0.1, high: 0.3, step: 0.1}\n"
        "dagger.n_envs: {low: 1, high: 3}\n"
        "dagger.max_grad_norm, expert.kwargs.max_grad_norm: {choices: [null, 1]}\n"
    )
    grid = space.grid()
    assert grid == {
        "students.hidden_sizes": ["[8]", "[8, 8]"],
        "dagger.label_temperature": [1, 2],
        "dagger.weight_decay": [0.1, 0.2, 0.3],
        "dagger.n_envs": [1, 2, 3],
        "dagger.max_grad_norm, expert.kwargs.max_grad_norm": ["null", "1"],
    }
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid, seed=0))
    seen = []
    study.optimize(lambda trial: seen.append(space.suggest(trial)) or 0.0)
    assert len(seen) == 2 * 2 * 3 * 3 * 2
    assert all(seen.count(point) == 1 for point in seen)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "dagger.learning_rate: {low: 0.1, high: 0.2}",
            "dagger.learning_rate: a grid needs choices or a step",
        ),
        ("dagger.n_envs: {low: 1, high: 11}", "dagger.n_envs: a grid needs choices or a step"),
        (CONDITIONS, "dagger.beta.rounds: when: a grid has no conditions"),
    ],
)
def test_spaces_without_a_grid(write, text, told):
    space = write(text)
    with pytest.raises(ConfigError) as caught:
        space.grid()
    assert str(caught.value) == f"{space.label}: {told}"


def test_a_grid_of_few_integers(write):
    assert write("dagger.n_envs: {low: 1, high: 10, log: true}").grid()["dagger.n_envs"] == [*range(1, 11)]
    assert write("dagger.n_envs: {low: 1, high: 21, step: 2}").grid()["dagger.n_envs"] == [*range(1, 22, 2)]


def test_merged_spaces(write):
    expert, students = load_space("gumbel-softmax-ddpg"), load_space("dagger")
    both = merged([expert, students])
    assert both.name == "gumbel-softmax-ddpg-dagger"
    assert both.label == "tuning/gumbel-softmax-ddpg.yaml and tuning/dagger.yaml"
    assert both.keys == {**expert.keys, **students.keys}
    assert merged([load_space(part) for part in both.parts]) == both
    assert merged([expert]) is expert
    with pytest.raises(ConfigError, match="expected at least one search space, got none"):
        merged([])
    twice = write("expert.kwargs.a, dagger.weight_decay: {choices: [1]}")
    with pytest.raises(ConfigError) as caught:
        merged([expert, students, twice])
    assert str(caught.value) == (
        f"{twice.label}: dagger.weight_decay: this value is tuned by {both.label} too"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dagger.batch_sise: {low: 1, high: 2}", "did you mean 'batch_size'?"),
        ("dager.batch_size: {low: 1, high: 2}", "did you mean 'dagger'?"),
        ("dagger.beta.decoy: {low: 0.1, high: 0.2}", "did you mean 'decay'?"),
        ("dagger: {low: 1, high: 2}", "dagger: expected one of its keys: algorithm, "),
        ("dagger.batch_size.more: {low: 1, high: 2}", "dagger.batch_size.more: expected no key below it"),
        ("expert.kwargs: {choices: [1]}", "expert.kwargs: expected an argument below it"),
        ("name: {choices: [a, b]}", "unknown key 'name'"),
        ("seed: {low: 1, high: 2}", "unknown key 'seed'"),
        ("dagger.batch_size: 3", "expected {low, high} or {choices}, got 3"),
        ("dagger.batch_size: {low: 1}", "dagger.batch_size: high: this key is missing"),
        ("dagger.batch_size: {low: 1, hihg: 2, high: 3}", "did you mean 'high'?"),
        ("dagger.batch_size: {choices: [1], low: 2}", "low: unknown key; allowed: choices"),
        ("dagger.batch_size: {low: one, high: 3}", "low: expected a number, got 'one'"),
        ("dagger.batch_size: {low: true, high: 3}", "low: expected a number, got True"),
        ("dagger.batch_size: {low: 3, high: 3}", "high: expected more than low 3, got 3"),
        ("dagger.batch_size: {low: 0.5, high: 3}", "0.5 is no value of this key"),
        ("dagger.batch_size: {low: 0, high: 3}", "0 is no value of this key"),
        ("dagger.batch_size: {low: 1, high: 4, step: 0.5}", "step: expected an integer above 0, got 0.5"),
        ("dagger.batch_size: {low: 1, high: 4, step: 2}", "step: expected one that leads from low to high"),
        ("dagger.batch_size: {low: 1, high: 4, log: true, step: 1}", "step: expected none with log"),
        ("dagger.weight_decay: {low: 0.0, high: 0.1, log: true}", "low: expected more than 0 with log"),
        ("dagger.weight_decay: {low: 0.0, high: .inf}", "dagger.weight_decay.high: expected a finite number"),
        ("dagger.beta.schedule: {choices: [none, lineer]}", "'lineer' is no value of this key"),
        ("dagger.batch_size: {choices: []}", "choices: expected at least one value"),
        ("dagger.batch_size: {choices: 3}", "choices: "),
        ("dagger.batch_size: {choices: [8, 8]}", "choices.1: 8 is given twice"),
        ("dagger.batch_size: {choices: [{a: 1}]}", "choices.0: expected a value or a list"),
        ("students.hidden_sizes: {choices: [8]}", "8 is no value of this key"),
        ("dagger.batch_size: {low: 1, high: 2, wehn: {a: 1}}", "did you mean 'when'?"),
        ("dagger.n_envs, dagger.n_env: {low: 1, high: 2}", "dagger.n_env: unknown key 'n_env'; did you mean"),
        ("dagger.n_envs, : {low: 1, high: 2}", "unknown key ''"),
        ("dagger.n_envs, dagger.n_envs: {low: 1, high: 2}", "dagger.n_envs is given twice"),
        (
            "dagger.n_envs: {low: 1, high: 2}\ndagger.batch_size, dagger.n_envs: {low: 1, high: 2}",
            "dagger.batch_size, dagger.n_envs: dagger.n_envs is given twice",
        ),
        (
            "dagger.n_envs, students.hidden_sizes: {choices: [2]}",
            "students.hidden_sizes: 2 is no value of this key",
        ),
        ("{}", "expected at least one key of an experiment"),
        ("[1]", "expected a mapping"),
    ],
)
def test_bad_spaces(refused, text, told):
    assert told in refused(text)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("{dagger.n_env: 3}", "when: unknown key 'dagger.n_env'; did you mean 'dagger.n_envs'?"),
        ("{dagger.capacity: 1}", "when: dagger.capacity: expected a key that stands above this one"),
        ("{dagger.batch_size: 1}", "when: dagger.batch_size: expected a key that stands above this one"),
        ("{dagger.n_envs: [1, 6]}", "when: dagger.n_envs: 6 is none of its values [1, 2, 3, 4, 5]"),
        ("{dagger.n_envs: true}", "when: dagger.n_envs: True is none of its values [1, 2, 3, 4, 5]"),
        ("{students.hidden_sizes: [8]}", "when: students.hidden_sizes: 8 is none of its values [[8], [4]]"),
        (
            "{dagger.label_temperature: 1}",
            "dagger.label_temperature: expected a key with choices, integers or a step",
        ),
        ("{dagger.n_envs: []}", "when.dagger.n_envs: expected at least one value, got none"),
        ("3", "when: expected a mapping, got 3"),
    ],
)
def test_bad_conditions(refused, when, told):
    text = (
        "dagger.n_envs: {low: 1, high: 5}\n"
        "dagger.label_temperature: {low: 1.0, high: 2.0}\n"
        "students.hidden_sizes: {choices: [[8], [4]]}\n"
        f"dagger.batch_size: {{choices: [1, 2], when: {when}}}\n"
        "dagger.capacity: {choices: [1]}\n"
    )
    found = refused(text)
    assert found.startswith("dagger.batch_size: ")
    assert told in found


def test_an_unknown_name():
    with pytest.raises(UnknownNameError, match=r"unknown search space 'dager'; did you mean 'dagger'\?"):
        load_space("dager")


@pytest.mark.parametrize(
    ("text", "base", "told"),
    [
        ("expert.kwargs.gama: {low: 0.1, high: 0.2}", "spread-3", "did you mean 'gamma'?"),
        ("expert.policy_kwargs.hidden: {choices: [[8]]}", "spread-3", "did you mean 'hidden_sizes'?"),
        (
            "expert.kwargs.gamma: {low: 0.1, high: 0.2}",
            "spread-3-scripted",
            "unknown argument of reference_expert",
        ),
        ("env.kwargs.agents: {low: 2, high: 3}", "spread-3", "n_agents"),
        (
            "students.activation: {choices: [ReLU, Tanh]}\n"
            "expert.kwargs.gama: {low: 0.1, high: 0.2, when: {students.activation: Tanh}}",
            "spread-3",
            "did you mean 'gamma'?",
        ),
        ("students.activation, expert.kwargs.gama: {choices: [ReLU]}", "spread-3", "did you mean 'gamma'?"),
    ],
)
def test_arguments_are_those_of_the_experiments_classes(tmp_path, text, base, told):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_space(file).check(base, {})
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def test_arguments_are_checked_with_the_class_that_their_condition_asks_for(write):
    space = write(
        "dagger.algorithm: {choices: [dagger, smile]}\n"
        "dagger.algorithm_kwargs.n_iterations: {low: 2, high: 9, when: {dagger.algorithm: smile}}\n"
    )
    space.check("spread-3-scripted", {})
    for point in points(space):
        assert load_experiment("spread-3-scripted", point).dagger.algorithm == point["dagger.algorithm"]


def test_what_is_tuned_cannot_be_overridden_too():
    with pytest.raises(ConfigError, match=r"dagger.beta.schedule: this value is tuned by tuning/dagger.yaml"):
        load_space("dagger").check("spread-3-scripted", {"dagger": {"beta": {"schedule": "none"}}})


def test_the_short_form_of_an_argument_is_the_same_key(write):
    found = write("env.kwargs.n_agents: {low: 2, high: 4}\n")
    with pytest.raises(ConfigError, match=r"env.kwargs.n_agents: this value is tuned by"):
        found.check("spread-3-scripted", {"env.kwargs.n_agents": 3})


def test_a_space_as_plain_values():
    values = load_space("dagger").to_mapping()
    assert values["dagger.learning_rate"] == {"low": 3e-4, "high": 1e-2, "log": True}
    assert values["dagger.beta.rounds"]["when"] == {"dagger.beta.schedule": "linear"}
    for value in values.values():
        assert (Choices if "choices" in value else Interval).model_validate(value)
