"""The command `cesma`: what it prints, what it refuses and how."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import get_args

import click
import pytest
import yaml

from cesma_sb3 import cli
from cesma_sb3.cli.options import Whole
from cesma_sb3.config.registry import list_experiments, load_experiment
from cesma_sb3.evaluation import MessageAblation
from cesma_sb3.training.run_folder import RunFolder

REPORT = {
    "return": {"random": -52.4, "expert": -20.0, "students": -21.126, "reference": -15.2},
    "normalized": {"random": 0.0, "expert": 0.871, "students": 0.841, "reference": 1.0},
}


@pytest.fixture
def call(capsys):
    """Calls the command; gives exit code, standard output and standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run


@pytest.fixture
def pipeline(monkeypatch, tmp_path):
    """In place of the real pipeline: notes the calls and returns at once."""
    calls = []

    def run(name, **kwargs):
        calls.append((name, kwargs))
        return SimpleNamespace(report=REPORT, run_dir=tmp_path / "run")

    def evaluate_run(run_dir, **kwargs):
        calls.append((run_dir, kwargs))
        return REPORT

    module = SimpleNamespace(run=run)
    monkeypatch.setattr("cesma_sb3.training.run", module, raising=False)
    monkeypatch.setitem(sys.modules, "cesma_sb3.training.run", module)
    monkeypatch.setattr("cesma_sb3.training.evaluate_run.evaluate_run", evaluate_run)
    return SimpleNamespace(calls=calls, module=module)


def test_list(call):
    code, out, err = call("list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[3:] if line.strip()] == list(list_experiments())
    code, out, _ = call("list", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(list_experiments())
    assert all(row["description"] for row in rows)


def test_show(call):
    experiment = load_experiment("spread-3")
    code, out, err = call("show", "spread-3")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["expert"]["kwargs"] == experiment.expert.kwargs
    code, out, _ = call("show", "spread-3", "--json")
    assert json.loads(out) == experiment.to_mapping()


def test_what_show_prints_can_be_run(call, tmp_path, pipeline):
    _, out, _ = call("show", "spread-3-ppo")
    file = tmp_path / "mine.yaml"
    file.write_text(out)
    assert load_experiment(file) == load_experiment("spread-3-ppo")
    assert call("run", str(file))[0] == 0


def test_run_passes_everything_on(call, pipeline, tmp_path):
    code, out, err = call(
        "run", "spread-3", "--seed", "5", "--out", str(tmp_path / "out"),
        "--set", "expert.kwargs.learning_rate=1e-4", "--set", "students.hidden_sizes=[32, 32]",
        "--set", "dagger.max_grad_norm=null",
    )  # fmt: skip
    assert (code, err) == (0, "")
    [(name, kwargs)] = pipeline.calls
    assert name == "spread-3"
    assert kwargs == {
        "seed": 5,
        "out": tmp_path / "out",
        "resume": None,
        "trust": False,
        "progress": True,
        "spectator": None,
        "overrides": {
            "expert.kwargs.learning_rate": 1e-4,
            "students.hidden_sizes": [32, 32],
            "dagger.max_grad_norm": None,
        },
    }
    rows = [line.split() for line in out.splitlines() if line.strip()]
    assert rows[0] == ["spread-3", "return", "normalized"]
    assert rows[2:6] == [
        ["expert", "-20.00", "0.87"],
        ["students", "-21.13", "0.84"],
        ["reference", "-15.20", "1.00"],
        ["random", "-52.40", "0.00"],
    ]
    assert out.splitlines()[-1] == f"run folder: {tmp_path / 'run'}"


def test_seed_may_be_set_either_way(call, pipeline):
    call("run", "spread-3", "--set", "seed=6")
    call("run", "spread-3", "--set", "seed=6", "--seed", "7")
    call("run", "spread-3")
    assert [kwargs["seed"] for _, kwargs in pipeline.calls] == [6, 7, None]


def test_run_json(call, pipeline, tmp_path):
    code, out, _ = call("run", "spread-3", "--json")
    assert code == 0
    assert json.loads(out) == {"run_dir": str(tmp_path / "run"), **REPORT}


def test_a_score_that_is_no_number_is_a_dash(call, pipeline, monkeypatch):
    report = {"return": {"expert": -1.0, "random": -2.0}, "normalized": {"expert": float("nan")}}
    monkeypatch.setattr(pipeline.module, "run", lambda name, **_: SimpleNamespace(report=report, run_dir="x"))
    _, out, _ = call("run", "spread-3")
    assert [line.split() for line in out.splitlines() if line.startswith((" expert", " random"))] == [
        ["expert", "-1.00", "-"],
        ["random", "-2.00", "-"],
    ]
    assert json.loads(call("run", "spread-3", "--json")[1])["normalized"] == {"expert": None}


def test_evaluate(call, pipeline, tmp_path):
    folder = RunFolder.create(load_experiment("spread-3-scripted"), tmp_path / "out").path
    code, out, _ = call("evaluate", str(folder), "--episodes", "10", "--seed", "2", "--messages", "zeroed")
    assert code == 0
    assert pipeline.calls == [
        (folder, {"episodes": 10, "seed": 2, "messages": "zeroed", "trust": False, "overrides": {}})
    ]
    assert out.split()[:3] == ["spread-3-scripted", "return", "normalized"]
    assert json.loads(call("evaluate", str(folder), "--json")[1]) == REPORT


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show", "spread3"], "unknown experiment 'spread3'; did you mean 'spread-3'? allowed: spread-3,"),
        (["run", "spread3"], "unknown experiment 'spread3'; did you mean 'spread-3'?"),
        (["run", "none.yaml"], "none.yaml: no such file"),
        (["run", "../spread-3"], "unknown experiment '../spread-3'"),
        (
            ["run", "spread-3", "--set", "expert.n_env=3"],
            "override: expert.n_env: unknown key; did you mean 'n_en",
        ),
        (
            ["run", "spread-3", "--set", "expert.n_envs=x"],
            "override: expert.n_envs: expected an integer, got 'x'",
        ),
        (["run", "spread-3", "--set", "seed=-1"], "override: seed: expected at least 0, got -1"),
        (["run", "spread-3", "--set", "progress=1"], "override: progress: unknown key"),
        (["run", "spread-3", "--set", "out=1"], "override: out: unknown key"),
        (["run", "spread-3", "--set", "name=x"], "override: name: an experiment keeps the name of its file"),
        (["run", "spread-3", "--set", "expert"], "--set expert: expected KEY=VALUE"),
        (["run", "spread-3", "--set", "a..b=1"], "--set a..b=1: expected KEY=VALUE"),
        (["run", "spread-3", "--set", "seed=!!python/name:os.system"], "line 1: tags are not allowed"),
        (["run", "spread-3", "--set", "seed=.nan"], "expected a finite number, got nan"),
        (["run", "spread-3", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "spread-3", "--seed", "-1"], "Invalid value for '--seed'"),
        (["run", "spread-3", "--sed", "1"], "--seed"),
        (["run"], "expected the name of an experiment, or a run to resume"),
        (["evaluate", "no-such-run"], "no-such-run: no such folder"),
        (["evaluate", ".", "--episodes", "0"], "Invalid value for '--episodes'"),
        (
            ["lst"],
            "unknown command 'lst'; did you mean 'list'? allowed: compare, decentralize, doctor",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(call, pipeline, arguments, problem):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert problem in err
    assert err.count("\n") == 1
    assert not pipeline.calls


def test_ctrl_c_is_one_line_and_code_130(call, pipeline, monkeypatch):
    def interrupted(name, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.module, "run", interrupted)
    code, _, err = call("run", "spread-3")
    assert (code, err.strip()) == (130, "error: interrupted")


def test_a_bug_keeps_its_traceback(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline.module, "run", lambda name, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "spread-3"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help(call, arguments):
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "spread3"]])
def test_what_needs_no_pytorch_does_not_import_it(arguments):
    code = (
        "import sys\nfrom cesma_sb3.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "found = {'torch', 'stable_baselines3', 'matplotlib', 'optuna', 'imitation'} & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_messages_can_be_changed_in_every_way_there_is():
    (messages,) = (option for option in cli.cesma.commands["evaluate"].params if option.name == "messages")
    assert tuple(messages.type.choices) == get_args(MessageAblation)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e3", 1000), ("2_000", 2000), ("3.0", 3), ("7", 7), ("9007199254740993", 2**53 + 1)],
)
def test_options_take_integers_as_yaml_writes_numbers(text, number):
    found = Whole(min=1).convert(text, None, None)
    assert repr(found) == repr(number)


@pytest.mark.parametrize("text", ["1.5", "1e-3", "inf", "nan", "0", "-1e3", "many", "0x10"])
def test_options_refuse_what_is_no_such_integer(text):
    with pytest.raises(click.BadParameter):
        Whole(min=1).convert(text, None, None)
