"""What belongs to one task, what it is called there, and what is refused; marl-eval's form."""

import json
import shutil

import numpy as np
import pytest

from cesma_sb3.analysis.comparison.grouping import group_runs, make_tasks
from cesma_sb3.analysis.comparison.marl_eval import marl_eval, why_marl_eval_refuses
from cesma_sb3.analysis.comparison.systems import choose_metric, read_folder
from cesma_sb3.analysis.comparison.tables import (
    ALL,
    aggregate_rows,
    improvement_rows,
    interval_warnings,
    make_sections,
)
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.training.run_folder import RunFolder
from tests.reproduce.tiny import write_run

EXPERT, STUDENTS = [(0, -40.0), (200, -10.0)], [(0, -50.0), (100, -25.0)]


def students(root, experiment, seeds, final=-20.0):
    for seed in seeds:
        path = root / experiment / f"seed-{seed}"
        run = {"expert": EXPERT, "students": STUDENTS, "final": final + seed}
        write_run(path, seed=seed, experiment=experiment, **run)
    return root / experiment


def baseline(root, experiment, seeds, final=-30.0):
    for seed in seeds:
        path = root / experiment / f"seed-{seed}"
        team = [(0, -50.0), (600, -35.0)]
        write_run(path, seed=seed, experiment=experiment, students=team, final=final + seed)
    return root / experiment


def tasks_of(*folders, **options):
    named = [(label, read_folder(folder)[0]) for label, folder in folders]
    return make_tasks(group_runs(named), **options)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    students(root, "spread-3", [0, 1, 2])
    baseline(root, "spread-3-maddpg", [0, 1])
    students(root, "speaker-listener", [0, 1, 2], final=-10.0)
    baseline(root, "speaker-listener-maddpg", [0, 1, 2])
    baseline(root, "speaker-listener-ddpg", [0])
    return root


def test_a_single_task_has_the_names_of_experiments(root):
    (task,) = tasks_of((None, root / "spread-3"), (None, root / "spread-3-maddpg"))
    assert task.name == "spread-3"
    assert list(task.systems) == ["spread-3", "spread-3-maddpg"]
    assert list(task.systems["spread-3"].runs) == [0, 1, 2]
    assert task.systems["spread-3"].scores("return") == {0: -20.0, 1: -19.0, 2: -18.0}
    assert task.systems["spread-3"].samples == 300  # the expert's too
    assert task.systems["spread-3-maddpg"].samples == 600


def test_students_begin_where_their_expert_ends(root):
    (task,) = tasks_of((None, root / "spread-3"), experts=True)
    team, expert = task.systems.values()
    assert team.curve(0, "normalized") == [(200, 0.0), (300, 0.5)]
    assert (expert.label, expert.curve(0, "return"), expert.samples) == ("spread-3, expert", EXPERT, 200)
    assert expert.scores("return")[0] == -19.0


def test_several_tasks_have_systems_in_common(root):
    tasks = tasks_of((None, root))
    assert [(task.name, list(task.systems)) for task in tasks] == [
        ("speaker-listener", ["students", "ddpg", "maddpg"]),
        ("spread-3", ["students", "maddpg"]),
    ]
    over_all, *each = make_sections(tasks, "normalized")[0]
    assert over_all.task == ALL
    assert {label: scores.shape for label, scores in over_all.scores.items()} == {
        "students": (3, 2),
        "maddpg": (2, 2),
    }
    np.testing.assert_allclose(over_all.scores["students"], [[0.8, 0.6], [0.82, 0.62], [0.84, 0.64]])
    assert [section.task for section in each] == ["speaker-listener", "spread-3"]
    notes = make_sections(tasks, "normalized")[1]
    assert notes == [
        f"{ALL}: without ddpg: no run on spread-3",
        f"{ALL}: maddpg: without 1 runs of seeds that not every task has",
    ]
    assert [section.task for section in make_sections(tasks, "return")[0]] == ["speaker-listener", "spread-3"]


def test_the_tables(root):
    tasks = tasks_of((None, root))
    found = make_sections(tasks, "normalized")[0]
    (ours, _, theirs) = aggregate_rows(found[1], "normalized", 300)
    assert (ours["system"], ours["runs"], ours["tasks"]) == ("students", 3, 1)
    assert ours["iqm"] == pytest.approx(0.82)
    assert (ours["iqm_low"], ours["iqm_high"]) == pytest.approx((0.8, 0.84))
    assert "optimality_gap" not in aggregate_rows(found[1], "return", 20)[0]
    pairs = {(row["system"], row["other"]): row for row in improvement_rows(found[1], 20)}
    assert pairs["students", "maddpg"]["probability"] == 1.0
    assert pairs["students", "ddpg"]["low"] is None  # one run
    assert theirs["env_samples"] == 600
    told = interval_warnings(found)
    assert "speaker-listener: ddpg: one run, which gives no interval" in told
    assert any("intervals of 3 runs are too narrow" in note and "75%" in note for note in told)


def test_labels(root):
    tasks = tasks_of(
        ("CESMA", root / "spread-3"),
        ("CESMA", root / "speaker-listener"),
        ("MADDPG", root / "spread-3-maddpg"),
    )
    assert [list(task.systems) for task in tasks] == [["CESMA", "MADDPG"], ["CESMA"]]
    with pytest.raises(ConfigError, match="'one' on spread-3, as spread-3 is; name them apart: LABEL="):
        tasks_of(("one", root / "spread-3"), ("one", root / "spread-3-maddpg"))
    with pytest.raises(ConfigError, match="is called 'b' and 'a'"):
        tasks_of(("a", root / "spread-3"), ("b", root / "spread-3"))


def test_other_arguments_are_another_task(root, tmp_path):
    write_run(tmp_path / "a", students=STUDENTS, expert=EXPERT)
    run = RunFolder.open(tmp_path / "a")
    changed = load_experiment("spread-3", {"env.kwargs.reward": "mpe2"})
    run.write_text("config.yaml", write_mapping(changed.to_mapping()))
    tasks = tasks_of((None, root / "spread-3"), (None, tmp_path / "a"))
    assert [task.name for task in tasks] == [
        "spread-3 (n_agents=3, reward=paper)",
        "spread-3 (n_agents=3, reward=mpe2)",
    ]
    assert [list(task.systems) for task in tasks] == [["students"], ["students"]]
    alike = load_experiment("spread-3-scripted", {"env.processes": 2})  # which changes no result
    run.write_text("config.yaml", write_mapping(alike.to_mapping()))
    (task,) = tasks_of((None, root / "spread-3"), (None, tmp_path / "a"))
    assert list(task.systems) == ["spread-3", "spread-3-scripted"]


def test_runs_that_cannot_be_compared(root, tmp_path):
    with pytest.raises(ConfigError, match="spread-3 and speaker-listener-ddpg are different tasks") as caught:
        tasks_of((None, root / "spread-3"), (None, root / "speaker-listener-ddpg"))
    assert "(env.id is 'spread', not 'speaker-listener')" in str(caught.value)
    shutil.copytree(root / "spread-3" / "seed-0", tmp_path / "seed-0")
    with pytest.raises(ConfigError, match=r"is seed 0 of spread-3, as .* is"):
        tasks_of((None, root / "spread-3"), (None, tmp_path))
    assert tasks_of((None, root / "spread-3"), (None, root / "spread-3" / "seed-0"))  # once
    with pytest.raises(ConfigError, match="metric: win_rate: spread-3, spread-3 has none: there is nothing"):
        choose_metric(tasks_of((None, root / "spread-3")), "win_rate")


def test_without_a_reference_returns_are_compared(tmp_path):
    students(tmp_path, "spread-3", [0, 1])
    path = tmp_path / "spread-3" / "seed-1" / "report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, "normalized": dict.fromkeys(report["return"])}))
    tasks = tasks_of((None, tmp_path))
    assert choose_metric(tasks, None) == "return"
    with pytest.raises(ConfigError, match=r"metric: normalized: .* its environment has no reference"):
        choose_metric(tasks, "normalized")
    (found,) = marl_eval(tasks)["cesma_sb3"]["spread-3"]["spread-3"]["seed_0"]["absolute_metrics"]
    assert found == "return"


def test_unfinished_runs_are_left_out_and_told(tmp_path):
    folder = students(tmp_path, "spread-3", [0])
    RunFolder.create(load_experiment("spread-3", {"seed": 1}), folder / "seed-1")
    shutil.copytree(folder / "seed-0", folder / "seed-2-aside-1")
    runs, left_out = read_folder(tmp_path)
    assert [run.path for run in runs] == [folder / "seed-0"]
    (line,) = left_out
    assert line.startswith(f"{folder / 'seed-1'}: incomplete, status 'running': it has no report.json")
    with pytest.raises(StorageError, match="seed-1: incomplete, status 'running'"):
        read_folder(folder / "seed-1")
    shutil.rmtree(folder / "seed-0")
    shutil.rmtree(folder / "seed-2-aside-1")
    with pytest.raises(StorageError, match=r"no finished run: .*seed-1: incomplete"):
        read_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match=r"no finished run: expected run folders, each with a run\.json"):
        read_folder(tmp_path / "empty")


def test_marl_evals_form(root):
    tasks = tasks_of((None, root / "spread-3"), (None, root / "spread-3-maddpg"))
    found = json.loads(json.dumps(marl_eval(tasks, steps=3)))
    runs = found["cesma_sb3"]["spread-3"]["spread-3"]
    assert list(runs) == ["seed_0", "seed_1", "seed_2"]
    *steps, last = runs["seed_1"].values()
    assert list(runs["seed_1"]) == ["step_0", "step_1", "step_2", "step_3", "absolute_metrics"]
    # What was measured last: the untrained students until their expert is there, at 200 samples.
    assert [(step["step_count"], step["return"]) for step in steps] == [
        (0, [-50.0]),
        (200, [-50.0]),
        (400, [-25.0]),
        (600, [-25.0]),
    ]
    assert [step["normalized_score"] for step in steps] == [[0.0], [0.0], [0.5], [0.5]]
    assert last == {"normalized_score": [pytest.approx(0.62)], "return": [-19.0]}
    assert (
        why_marl_eval_refuses(tasks)
        == "marl-eval.json: marl-eval wants as many runs of each, these are 2 to 3"
    )
    assert why_marl_eval_refuses(tasks_of((None, root / "spread-3"))) is None
    assert "the same systems on every task" in why_marl_eval_refuses(tasks_of((None, root)))
