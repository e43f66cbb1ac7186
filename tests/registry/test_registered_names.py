"""Every registered name: it loads, it is complete, and its resolved values load again."""

import pytest

from cesma_sb3.config import resolve
from cesma_sb3.config.registry import describe_experiments, list_experiments, load_experiment
from cesma_sb3.config.schema import SCRIPTED
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.multirun.tuning.search_space import default_spaces, load_space, merged
from cesma_sb3.utils.signatures import arguments_of

NAMES = list(list_experiments())


def test_the_names_that_are_promised():
    promised = {"spread-3", "spread-3-hetero", "spread-6", "spread-6-hetero"}
    assert promised | {f"{name}-scripted" for name in promised} | {"spread-3-dqn", "spread-3-ppo"} <= set(
        NAMES
    )
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_loads_has_search_spaces_and_loads_again_as_resolved(name, tmp_path):
    experiment = load_experiment(name)
    assert experiment.name == name
    is_script = experiment.expert.algorithm == SCRIPTED or ":" in experiment.expert.algorithm
    assert (experiment.expert.total_timesteps == 0) == is_script
    file = tmp_path / "config.yaml"
    file.write_text(write_mapping(experiment.to_mapping()))
    assert load_experiment(file, check_names=False) == experiment
    expert, students = default_spaces(experiment)
    assert (expert is None) == is_script
    assert (students is None) == (experiment.dagger is None)
    merged([load_space(each) for each in (expert, students) if each is not None]).check(name, {})


def test_a_file_may_be_named_by_a_string(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: spread-3")
    assert load_experiment(str(file)) == load_experiment(file)


def test_descriptions_differ_and_fit_on_a_line():
    descriptions = dict(describe_experiments())
    assert list(descriptions) == NAMES
    assert len(set(descriptions.values())) == len(NAMES)
    assert all(0 < len(text) <= 80 for text in descriptions.values())


def test_values_of_one_experiment_stand_in_one_place():
    plain, other = (
        load_experiment(name, check_names=False)
        for name in ("spread-3-gumbel-softmax", "spread-3-hetero-gumbel-softmax")
    )
    assert other.env.kwargs == {**plain.env.kwargs, "heterogeneous": True}
    assert other.expert.kwargs == plain.expert.kwargs
    assert other.students.hidden_sizes == plain.students.hidden_sizes
    assert other.evaluation == plain.evaluation


@pytest.mark.parametrize(
    "name", ["DQN", "PPO", "TQC", "GumbelSoftmaxDDPG", "ExpectedDDPG", "stable_baselines3:PPO"]
)
def test_algorithms_are_found_by_name(name):
    found = resolve.algorithm_class(name)
    assert found.__name__ == name.rpartition(":")[2]
    assert "gamma" in arguments_of(found)
