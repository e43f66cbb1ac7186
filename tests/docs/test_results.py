"""Published figures: their tables are what the runs beside them say, of what is registered."""

import csv
from functools import cache
from pathlib import Path

import pytest

from cesma_sb3.analysis.figures.panels import table_rows
from cesma_sb3.analysis.figures.reproduce import plan_runs
from cesma_sb3.analysis.figures.schema import list_figures, load_figure
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.multirun.plan import is_finished
from cesma_sb3.training.run_files import csv_text
from cesma_sb3.training.run_folder import REPORT

REPRODUCED = Path(__file__).parents[2] / "docs" / "reproduced"
RESULTS = REPRODUCED.parent / "results"
NAMES = sorted(path.stem for path in REPRODUCED.glob("*.csv"))


@cache
def planned(name):
    figure = load_figure(name)
    return figure, plan_runs(figure, "registered", figure.figure.seeds.registered, REPRODUCED)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_what_the_runs_say(name):
    figure, plan = planned(name)
    rows = []
    for panel in figure.figure.panels:
        runs = {
            line.label: [read_run(run.path) for run in plan[panel.name, line.label] if is_finished(run)]
            for line in panel.lines
        }
        rows += table_rows(panel, runs)
    assert (REPRODUCED / f"{name}.csv").read_text() == csv_text(rows)


@pytest.mark.no_cover
def test_every_run_is_one_that_a_figure_asks_for():
    assert NAMES
    wanted = {
        run.path
        for figure in list_figures()
        for runs in planned(figure.name)[1].values()
        for run in runs
        if is_finished(run)
    }
    assert {report.parent for report in REPRODUCED.glob(f"runs/*/*/{REPORT}")} == wanted


def test_students_that_collected_nothing_are_those_of_the_kept_runs():
    from benchmarks.free_students import comparison, table

    assert table() in (RESULTS / "students.md").read_text(encoding="utf-8")
    assert comparison() in (RESULTS / "figures.md").read_text(encoding="utf-8")


def test_nothing_there_says_where_it_was_made():
    for path in REPRODUCED.rglob("run.json"):
        assert "/" not in path.read_text(encoding="utf-8")


def test_the_comparison_is_what_the_runs_say():
    from cesma_sb3.analysis.comparison.grouping import group_runs, make_tasks
    from cesma_sb3.analysis.comparison.systems import read_folder
    from cesma_sb3.analysis.comparison.tables import aggregate_rows, make_sections

    runs = REPRODUCED / "runs"
    text = (RESULTS / "figures.md").read_text(encoding="utf-8")
    command = text[text.index("`cesma compare ") :].split("`")[1].split()
    folders = [runs / path.name for word in command[2:-2] for path in _expanded(word)]
    found, _ = make_sections(
        make_tasks(group_runs([(None, read_folder(path)[0]) for path in folders])), "normalized"
    )
    rows = [row for section in found for row in aggregate_rows(section, "normalized", 1)]
    with (REPRODUCED / "compare" / "compare.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert len(rows) == len(written) == 2 * (1 + len(folders) // 2)
    for row, kept in zip(rows, written, strict=True):
        assert {key: kept[key] for key in ("task", "system", "runs", "tasks")} == {
            key: str(row[key]) for key in ("task", "system", "runs", "tasks")
        }
        for number in ("iqm", "mean", "median", "optimality_gap"):
            assert float(kept[number]) == pytest.approx(row[number])
            assert f"{float(kept[number]):.3f}" in text or kept["task"] != "all tasks"


def _expanded(word):
    """What a shell makes of braces."""
    before, brace, rest = word.partition("{")
    if not brace:
        return [Path(word)]
    inside, _, after = rest.partition("}")
    return [path for part in inside.split(",") for path in _expanded(before + part + after)]
