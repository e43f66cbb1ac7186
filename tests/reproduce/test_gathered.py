"""From run folders to lines and rows, on runs whose numbers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.analysis.figures.panels import plot_panel, table_rows
from cesma_sb3.analysis.figures.schema import Panel
from cesma_sb3.analysis.markdown import markdown_table
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.plotting import draw_panels, envelope
from tests.reproduce.tiny import panel, write_run

CESMA = {"experiment": "a", "label": "CESMA", "kind": "expert-then-students"}
MADDPG = {"experiment": "b", "label": "MADDPG", "kind": "team"}
ENDS = {"experiment": "b", "label": "MADDPG", "kind": "converged"}


def test_envelope_of_curves_at_different_points():
    found = envelope([[(0, 0.0), (10, 10.0)], [(0, 4.0), (5, 2.0), (20, 32.0)]])
    np.testing.assert_array_equal(found.x, [0, 5, 10, 20])
    first, second = np.array([0, 5, 10, 10]), np.array([4, 2, 12, 32])  # the first ends at 10
    np.testing.assert_allclose(found.center, (first + second) / 2)
    np.testing.assert_allclose(found.low, np.minimum(first, second))
    np.testing.assert_allclose(found.high, np.maximum(first, second))


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_the_mean_lies_in_the_envelope(heights):
    found = envelope([list(enumerate(curve)) for curve in heights])
    assert (found.low <= found.center + 1e-9).all()
    assert (found.center <= found.high + 1e-9).all()
    np.testing.assert_allclose(found.center, np.mean(heights, axis=0), atol=1e-9)


@pytest.fixture
def runs(tmp_path):
    def team(seed, final):
        path = tmp_path / f"team-{seed}"
        write_run(path, students=[(0, -50.0), (500, -31.0), (1000, -30.0)], final=final)
        return read_run(path)

    def cesma(seed, middle):
        path = tmp_path / f"cesma-{seed}"
        expert, students = [(0, -50.0), (200, -20.0)], [(0, -50.0), (50, middle), (100, -25.0)]
        write_run(path, expert=expert, students=students, final=-24.0)
        return read_run(path)

    return {
        "CESMA": [cesma(0, -35.0), cesma(1, -26.0)],
        "MADDPG": [team(0, -29.0), team(1, -31.0)],
    }


def test_students_follow_their_expert(runs):
    (cesma, maddpg) = plot_panel(Panel(**panel("p", CESMA, MADDPG, x="samples")), runs).lines
    assert [curve.x.tolist() for curve in cesma.curves] == [[0, 200], [200, 250, 300]]
    assert cesma.extends
    assert cesma.curves[1].center.tolist() == [-50.0, -30.5, -25.0]
    assert cesma.curves[1].high.tolist() == [-50.0, -26.0, -25.0]
    assert [curve.x.tolist() for curve in maddpg.curves] == [[0, 500, 1000]]


def test_samples_as_episodes(runs):
    found = plot_panel(Panel(**panel("p", MADDPG)), runs)
    assert found.lines[0].curves[0].x.tolist() == [0, 20, 40]
    assert found.x_label == "episodes"


def test_students_alone_start_at_0_and_converged_lines_are_levels(runs):
    alone = {**CESMA, "kind": "students"}
    students, level = plot_panel(Panel(**panel("p", alone, ENDS, x="samples")), runs).lines
    assert [curve.x.tolist() for curve in students.curves] == [[0, 50, 100]]
    assert level.level == -30.0
    assert level.curves == ()


def test_the_table(runs):
    expert, students, team = table_rows(Panel(**panel("p", CESMA, MADDPG, match="MADDPG")), runs)
    assert (expert["policy"], expert["return"], expert["env_samples"]) == ("expert", -23.0, 200)
    assert (students["policy"], students["env_samples"], students["seconds"]) == ("students", 300, 4.0)
    # MADDPG ends with -30: one seed is there after 50 samples of its students, the other after 100.
    assert (students["samples_to_match"], students["seeds_matched"]) == (275.0, 2)
    assert (team["return"], team["return_min"], team["return_max"]) == (-30.0, -31.0, -29.0)
    # Their standard error is 1, and Student's t of one degree of freedom 12.706.
    assert (team["return_low"], team["return_high"]) == pytest.approx((-42.706, -17.294), abs=1e-3)
    assert (team["samples_to_match"], team["seeds"]) == (1000.0, 2)
    assert team["normalized"] == pytest.approx(0.4)


def test_win_rates_and_their_median(tmp_path):
    def run(seed, wins):
        path = tmp_path / f"{seed}"
        write_run(path, expert=[(0, -50.0)], students=[(0, -50.0), (100, 100 * wins - 50)], wins=wins)
        return read_run(path)

    found = {"CESMA": [run(0, 0.5), run(1, 0.9), run(2, 0.6)], "MADDPG": []}
    win_rates = Panel(**panel("p", {**CESMA, "kind": "students"}, y="win_rate", x="samples", center="median"))
    drawn = plot_panel(win_rates, found)
    assert drawn.y_label == "share of battles won"
    (curve,) = drawn.lines[0].curves
    assert np.allclose([curve.low[-1], curve.center[-1], curve.high[-1]], [0.5, 0.6, 0.9])
    (row,) = table_rows(win_rates, found)
    assert (row["win_rate"], row["win_rate_min"], row["win_rate_max"]) == (0.6, 0.5, 0.9)
    assert (row["win_rate_low"], row["win_rate_high"]) == (0.4, 1.0)
    in_mean = win_rates.model_copy(update={"center": "mean"})
    assert table_rows(in_mean, found)[0]["win_rate"] == pytest.approx(2 / 3)


def test_where_nothing_is_won_no_win_rate_is_drawn(runs):
    win_rates = Panel(**panel("p", {**CESMA, "kind": "students"}, y="win_rate"))
    assert plot_panel(win_rates, runs).lines[0].curves == ()
    assert "win_rate" not in table_rows(win_rates, runs)[0]


def test_lines_without_a_run(runs):
    missing = {**runs, "MADDPG": []}
    found = Panel(**panel("p", CESMA, MADDPG, match="MADDPG"))
    assert [line.label for line in plot_panel(found, missing).lines] == ["CESMA"]
    rows = table_rows(found, missing)
    assert rows[-1]["seeds"] == 0
    assert "samples_to_match" not in rows[1]


def test_losses_of_each_agent(tmp_path):
    rows = [
        {"dagger/timesteps": t, "dagger/n_updates": t // 10, "dagger/loss/a": loss, "dagger/loss/b": 2 * loss}
        for t, loss in [(10, float("nan")), (40, 3.0), (50, 1.0), (80, 0.5), (100, 0.7)]
    ]
    students = [(0, -50.0), (50, -30.0), (100, -20.0)]
    write_run(tmp_path / "run", expert=[(0, -10.0)], students=students, losses=rows)
    run = read_run(tmp_path / "run")
    assert [(p.samples, p.loss, p.team_return) for p in run.losses["a"]] == [
        (50, 2.0, -30.0),
        (100, 0.6, -20.0),
    ]

    line = {"experiment": "a", "label": "L", "kind": "students", "agents": {"a": "slow"}}
    losses = plot_panel(Panel(**panel("p", line, y="loss", x="samples")), {"L": [run]})
    assert [drawn.label for drawn in losses.lines] == ["slow", "b"]
    assert losses.lines[1].curves[0].center.tolist() == [4.0, 1.2]
    against = Panel(**panel("p", line, x="loss"))
    assert plot_panel(against, {"L": [run]}).lines[0].path == ((2.0, -30.0), (0.6, -20.0))
    rows = table_rows(against, {"L": [run]})
    assert [(row["agent"], row["loss"]) for row in rows] == [("slow", 0.6), ("b", 1.2)]
    assert [row["seeds"] for row in table_rows(against, {"L": []})] == [0]


def test_losses_of_students_that_learn_before_they_act(tmp_path):
    """Gradient steps distinguish their evaluations, and the rows of a log that is resumed."""
    logged = [(0, 100, 5.0), (0, 200, 4.0), (0, 300, 3.0), (0, 400, 2.5), (64, 410, 2.0), (128, 420, 1.0)]
    rows = [{"dagger/timesteps": t, "dagger/n_updates": u, "dagger/loss/a": loss} for t, u, loss in logged]
    students = [(0, -50.0, 0), (0, -40.0, 200), (0, -30.0, 400), (64, -29.0, 410), (128, -20.0, 420)]
    write_run(tmp_path / "run", expert=[(0, -10.0), (900, -9.0)], students=students, losses=rows[:4])
    resumed = [{**row, "dagger/loss/a": 0.5 + row["dagger/loss/a"]} for row in rows[3:]]
    RunFolder.open(tmp_path / "run").write_csv("logs/students-2/progress.csv", resumed)
    run = read_run(tmp_path / "run")
    assert [(p.samples, p.loss, p.team_return) for p in run.losses["a"]] == [
        (0, 4.5, -40.0),
        (0, 3.0, -30.0),
        (64, 2.5, -29.0),
        (128, 1.5, -20.0),
    ]
    assert run.curve("students", after_expert=True) == [(900 + t, y) for t, y, _ in students]
    line = plot_panel(
        Panel(**panel("p", {**CESMA, "kind": "students"}, y="loss", x="samples")), {"CESMA": [run]}
    ).lines[0]
    assert line.curves[0].x.tolist() == [0, 64, 128]
    assert line.curves[0].center.tolist() == [3.0, 2.5, 1.5]


def test_students_without_a_sample_of_their_own(tmp_path):
    """They match as soon as their expert has finished, at its samples; nothing is divided by theirs."""
    students = [(0, -50.0, 0), (0, -40.0, 200), (0, -24.0, 400)]
    write_run(tmp_path / "run", expert=[(0, -50.0), (900, -20.0)], students=students, final=-24.0)
    write_run(tmp_path / "team", students=[(0, -50.0), (3000, -25.0)], final=-25.0)
    runs = {"CESMA": [read_run(tmp_path / "run")], "MADDPG": [read_run(tmp_path / "team")]}
    found = Panel(**panel("p", CESMA, MADDPG, match="MADDPG", x="samples"))
    _, own, _ = table_rows(found, runs)
    assert (own["env_samples"], own["samples_to_match"], own["seeds_matched"]) == (900, 900, 1)
    expert, team = plot_panel(found, runs).lines[0].curves
    assert (expert.x.tolist(), team.x.tolist(), team.center.tolist()) == ([0, 900], [900], [-24.0])
    draw_panels(tmp_path / "figure.png", panels=[plot_panel(found, runs)], title="T", note="")
    assert (tmp_path / "figure.png").stat().st_size > 0
    assert runs["CESMA"][0].losses == {}


def test_markdown_leaves_what_is_missing_empty():
    text = markdown_table([{"a": 1, "b": -17.347}, {"a": 2, "c": 12345.6, "d": None}])
    assert text.splitlines() == [
        "| a | b | c | d |",
        "| --- | --- | --- | --- |",
        "| 1 | -17.35 |  |  |",
        "| 2 |  | 12,346 |  |",
    ]
