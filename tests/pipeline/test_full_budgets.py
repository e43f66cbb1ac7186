"""What registered experiments reach with their own budgets; minutes each."""

import pytest

import cesma_sb3

pytestmark = pytest.mark.slow


def test_students_of_the_scripted_expert(tmp_path):
    scores = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run").report["normalized"]
    assert scores["students"] >= 0.95


@pytest.mark.parametrize("name", ["spread-3", "spread-3-hetero"])
def test_three_agents(name, tmp_path):
    scores = cesma_sb3.run(name, out=tmp_path / "run").report["normalized"]
    assert scores["students"] >= 0.80
    assert scores["students"] >= 0.95 * scores["expert"]


def test_six_agents(tmp_path):
    scores = cesma_sb3.run("spread-6", out=tmp_path / "run").report["normalized"]
    assert scores["students"] >= 0.85
    assert scores["students"] >= 0.95 * scores["expert"]
