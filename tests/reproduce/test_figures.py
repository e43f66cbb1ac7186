"""Figures as data: those of the paper, and what is refused."""

import json

import pytest

from cesma_sb3 import cli
from cesma_sb3.analysis.figures.schema import BUDGETS, list_figures, load_figure
from cesma_sb3.errors import ConfigError, UnknownNameError
from tests.reproduce.tiny import line, panel, write_figure

PAPER = [f"figure-{number}" for number in (4, 5, 6, 7, 8, 9)]
FIGURES = ["baselines", *PAPER]


def test_the_papers_figures_are_there():
    assert [figure.name for figure in list_figures()] == FIGURES
    assert load_figure("5") == load_figure("figure-5")
    assert len(load_figure("7").figure.panels) == 3
    full = {figure.name: figure.figure.seeds.full for figure in list_figures()}
    assert full.pop("figure-4") == 5  # five runs in StarCraft, the paper says, and three elsewhere
    assert set(full.values()) == {3}


@pytest.mark.parametrize("name", FIGURES)
def test_every_experiment_of_every_figure_exists(name):
    for budget in BUDGETS:
        assert list(load_figure(name).experiments(budget))


def test_an_unknown_name():
    with pytest.raises(UnknownNameError, match="unknown figure 'figre-5'; did you mean 'figure-5'"):
        load_figure("figre-5")


@pytest.mark.parametrize(
    ("panels", "told"),
    [
        ([panel("p", {**line(), "knd": 1})], "panels.0.lines.0.knd: unknown key; did you mean 'kind'"),
        ([panel("p", {**line(), "kind": "studnts"})], "unknown value 'studnts'; did you mean 'students'"),
        ([panel("p", line(), line())], "lines: label 'CESMA' is given twice"),
        ([panel("p", line()), panel("p", line())], "panels: name 'p' is given twice"),
        ([panel("p", line(), match="MADPG")], "match: unknown label 'MADPG'"),
        ([panel("p", line(kind="team"), x="loss")], "expected kind 'students' alone where a loss is drawn"),
        ([panel("p", line(), x="loss", y="loss")], "y: expected return where x is loss"),
    ],
)
def test_what_is_refused(tmp_path, panels, told):
    with pytest.raises(ConfigError) as caught:
        load_figure(write_figure(tmp_path / "f.yaml", *panels))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"experiment": "spread-33"}, "p: CESMA: unknown experiment 'spread-33'; did you mean 'spread-3'"),
        ({"overrides": {"dagger.n_env": 3}}, "dagger.n_env: unknown key; did you mean 'n_envs'"),
        ({"kind": "team"}, "kind 'team': expected an experiment with dagger: null, got spread-3-scripted"),
    ],
)
def test_lines_that_fit_no_experiment(tmp_path, wrong, told):
    found = load_figure(write_figure(tmp_path / "f.yaml", panel("p", {**line(), **wrong})))
    with pytest.raises(ConfigError) as caught:
        list(found.experiments("quick", check_names=False))
    assert told in str(caught.value)


def test_budgets_override_in_turn(tmp_path):
    both = line(overrides={"dagger.n_envs": 1, "seed": 1}, quick={"dagger.n_envs": 2})
    (found,) = load_figure(write_figure(tmp_path / "f.yaml", panel("p", both))).figure.panels[0].lines
    assert found.values("quick") == {"dagger.n_envs": 2, "seed": 1}
    assert found.values("full") == {"dagger.n_envs": 1, "seed": 1}


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_lists_them(capsys, as_json):
    with pytest.raises(SystemExit) as caught:
        cli.main(["reproduce", *(["--json"] if as_json else [])])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    if as_json:
        assert [row["name"] for row in json.loads(printed)] == FIGURES
    else:
        assert all(name in printed for name in PAPER)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["figure-55"], "error: unknown figure 'figure-55'; did you mean 'figure-5'? "),
        (
            ["figure-5", "--only", "spred-3"],
            "error: --only: unknown panel 'spred-3'; did you mean 'spread-3'? ",
        ),
    ],
)
def test_what_the_command_refuses(capsys, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["reproduce", *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(told)
    assert not list(tmp_path.iterdir())
