"""Search spaces: those that are shipped fit, and bad ones are refused in one line."""

import optuna
import pytest

from cesma_sb3 import load_experiment
from cesma_sb3.errors import ConfigError, UnknownNameError
from cesma_sb3.registry import data_folder
from cesma_sb3.search_space import Choices, Interval, load_space

SHIPPED = {"dagger": ["spread-3-scripted", "spread-3"], "gumbel-softmax-ddpg": ["spread-3", "spread-6"]}


def points(space, count=20):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def value_at(values, key):
    for part in key.split("."):
        values = values[part]
    return values


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


@pytest.mark.parametrize(("name", "base"), [(name, base) for name in SHIPPED for base in SHIPPED[name]])
def test_random_points_of_shipped_spaces_are_experiments(name, base):
    space = load_space(name)
    space.check(base, {})
    for point in points(space):
        found = load_experiment(base, point).to_mapping()
        assert {key: value_at(found, key) for key in space.distributions} == point


def test_kinds_of_values(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "dagger.batch_size: {low: 32, high: 96, step: 32}\n"
        "dagger.learning_rate: {low: 1e-4, high: 1, log: true}\n"
        "dagger.temperature: {low: 1, high: 2.5, step: 0.5}\n"
        "dagger.max_grad_norm: {choices: [null, 0.5]}\n"
        "students.hidden_sizes: {choices: [[8], [8, 8]]}\n"
        "students.share_parameters: {choices: [true, false]}\n"
        "expert.policy_kwargs.optimizer_kwargs.fused: {choices: [true, 1]}\n"
    )
    found = points(load_space(tmp_path / "mine.yaml"), 60)
    seen = {key: [point[key] for point in found] for key in found[0]}
    assert set(seen["dagger.batch_size"]) == {32, 64, 96}
    assert all(isinstance(size, int) for size in seen["dagger.batch_size"])
    assert 10 < sum(rate < 1e-2 for rate in seen["dagger.learning_rate"]) < 50
    assert set(seen["dagger.temperature"]) == {1.0, 1.5, 2.0, 2.5}
    assert set(seen["dagger.max_grad_norm"]) == {None, 0.5}
    assert [8] in seen["students.hidden_sizes"]
    assert [8, 8] in seen["students.hidden_sizes"]
    assert {type(flag) for flag in seen["expert.policy_kwargs.optimizer_kwargs.fused"]} == {bool, int}


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
        ("{}", "expected at least one key of an experiment"),
        ("[1]", "expected a mapping"),
    ],
)
def test_bad_spaces(refused, text, told):
    assert told in refused(text)


def test_an_unknown_name():
    with pytest.raises(UnknownNameError, match=r"unknown search space 'dager'; did you mean 'dagger'\?"):
        load_space("dager")


@pytest.mark.parametrize(
    ("text", "base", "told"),
    [
        ("expert.kwargs.gama: {low: 0.1, high: 0.2}", "spread-3", "did you mean 'gamma'?"),
        ("expert.policy_kwargs.hidden: {choices: [[8]]}", "spread-3", "did you mean 'hidden_sizes'?"),
        ("expert.kwargs.gamma: {low: 0.1, high: 0.2}", "spread-3-scripted", "takes none, got gamma"),
        ("env.kwargs.agents: {low: 2, high: 3}", "spread-3", "n_agents"),
    ],
)
def test_arguments_are_those_of_the_experiments_classes(tmp_path, text, base, told):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_space(file).check(base, {})
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def test_what_is_tuned_cannot_be_overridden_too():
    with pytest.raises(ConfigError, match=r"dagger.beta.schedule: this value is tuned by tuning/dagger.yaml"):
        load_space("dagger").check("spread-3-scripted", {"dagger": {"beta": {"schedule": "none"}}})


def test_a_space_as_plain_values():
    values = load_space("dagger").to_mapping()
    assert values["dagger.learning_rate"] == {"low": 3e-4, "high": 1e-2, "log": True}
    for value in values.values():
        assert (Choices if "choices" in value else Interval).model_validate(value)
