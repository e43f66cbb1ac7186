"""Networks over entities act, and go on learning, in teams of another size."""

import json

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3.errors import LayoutError, StorageError
from cesma_sb3.policies import load_team
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.shared_runs import RUNS

NAME, VALUES = RUNS["trained"]


@pytest.fixture(scope="module")
def small(shared_run):
    """The folder of a run of three agents."""
    return shared_run("trained")


def test_expert_and_students_are_measured_in_a_larger_team(small):
    report = evaluate_run(small, **{"env.kwargs.n_agents": 5})
    own = json.loads((small / "report.json").read_text())
    assert set(report["agent_return"]["students"]) == {f"agent_{i}" for i in range(5)}
    assert report["return"]["random"] < own["return"]["random"]  # more landmarks to be far from
    assert set(report["return"]) == {"expert", "students", "random", "reference"}


def test_a_silent_team_has_no_messages_to_change(small):
    with pytest.raises(LayoutError, match="no messages to change"):
        evaluate_run(small, messages="zeroed")


def test_a_larger_team_starts_from_a_smaller_ones_weights(small, tmp_path):
    start = {"init_from": str(small)}
    grown = cesma_sb3.run(
        NAME,
        out=tmp_path / "run",
        **{
            **VALUES,
            "env.kwargs.n_agents": 4,
            "expert": {**VALUES["expert"], **start, "total_timesteps": 0},
            "students": start,
            "dagger.total_timesteps": 16,
            "dagger.batch_size": 64,  # larger than what is collected: no update
        },
    )
    before, after = (each.action_net.state_dict() for each in (load_team(small / "students"), grown.students))
    assert grown.students.team.n_agents == 4
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    again = load_team(grown.run_dir / "students")
    assert again.team == grown.students.team


def test_a_team_starts_from_a_pretrained_ones_weights(tmp_path, monkeypatch):
    """Found by its name, also by an experiment in a file; a folder of that name comes first."""
    monkeypatch.chdir(tmp_path)
    short = {"dagger.total_timesteps": 16, "dagger.batch_size": 64, "evaluation": VALUES["evaluation"]}
    (tmp_path / "mine.yaml").write_text(
        "extends: spread-3\nexpert: {init_from: spread-3, total_timesteps: 0}\n"
        "students: {init_from: spread-3}\ndagger: {experience: null}\n"
    )
    result = cesma_sb3.run("mine.yaml", out="run", **short)
    pretrained = cesma_sb3.load_pretrained("spread-3")
    before, after = (each.students.action_net.state_dict() for each in (pretrained, result))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert (tmp_path / "run" / "initial" / "expert" / "expert" / "policy.safetensors").is_file()
    (tmp_path / "spread-3").mkdir()
    with pytest.raises(StorageError, match=r"spread-3: not a run folder"):
        cesma_sb3.run("mine.yaml", out="other", **short)


def test_networks_made_for_their_team_do_not_grow(tmp_path):
    plain = {"network": "feed-forward", "hidden_sizes": [8]}
    short = {"dagger": VALUES["dagger"], "evaluation": VALUES["evaluation"], "students": plain}
    result = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **short)
    with pytest.raises(
        StorageError, match=r"belong to the agents agent_0, agent_1, agent_2; expected .*, agent_3"
    ):
        evaluate_run(result.run_dir, **{"env.kwargs.n_agents": 4})
