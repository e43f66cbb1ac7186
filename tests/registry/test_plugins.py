"""Names that other packages register."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import ConfigError, DuplicateNameError, UnknownNameError
from cesma_sb3.utils import plugins


@pytest.fixture
def entries(monkeypatch):
    """What is registered: tests add to it."""
    found = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in found if e.group == group])
    return found


def test_an_environment_by_its_name(entries):
    entries.append(EntryPoint("matching", "tests.envs_for_tests:MatchingGame", plugins.ENVIRONMENTS))
    assert make_vec_env("matching", kwargs={"n_agents": 3}, n_envs=2).team.n_agents == 3
    with pytest.raises(UnknownNameError, match="unknown environment 'matchin'; did you mean 'matching"):
        make_vec_env("matchin")


def test_an_expert_by_its_name(entries):
    entries.append(EntryPoint("shifted", "tests.bring.controllers:Shifted", plugins.EXPERTS))
    changes = {"expert.algorithm": "shifted", "expert.total_timesteps": 0, "expert.kwargs.by": 2}
    assert load_experiment("spread-3", changes).expert.kwargs == {"by": 2}


@pytest.mark.parametrize(("group", "name"), [(plugins.ENVIRONMENTS, "spread"), (plugins.EXPERTS, "PPO")])
def test_a_name_of_ours_is_not_for_others(group, name, entries):
    entries.append(EntryPoint(name, "somebody:else", group))
    with pytest.raises(ConfigError, match=f"'{name}' is one of this package's own names: .* somebody:else"):
        load_experiment("spread-3", {} if group == plugins.ENVIRONMENTS else {"expert.algorithm": name})


def test_two_packages_with_one_name(entries):
    entries += [EntryPoint("same", f"package_{i}:thing", plugins.ENVIRONMENTS) for i in range(2)]
    with pytest.raises(
        DuplicateNameError, match=r"'same' is registered twice in .*package_0:thing and package_1"
    ):
        make_vec_env("same")
