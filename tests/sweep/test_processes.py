"""Sweeps whose runs are processes of this machine: one that fails, and one that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from cesma_sb3.cli import cesma
from cesma_sb3.multirun.sweep import sweep
from tests.in_this_process import in_this_process
from tests.reproduce.tiny import FAILS, TINY, as_words

pytestmark = pytest.mark.integration


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    (tmp_path / "fails.yaml").write_text("extends: spread-3-scripted\ndagger: {labels: soft}\n")
    values = {key: value for key, value in FAILS.items() if key != "dagger.labels"}
    words = ["sweep", str(tmp_path / "fails.yaml"), "spread-3-scripted", "--seeds", "1", "--json"]
    words += [*as_words(values), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(cesma, words, standalone_mode=False)
    told = json.loads(found.stdout)
    assert found.return_value == 1
    (failure,) = told["failures"]
    assert failure["run"].startswith("fails-")
    assert "has no `probabilities`" in failure["cause"]
    assert [row["seeds"] for row in told["rows"]] == [0, 1]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_when_stopped_what_is_finished_stays_and_what_to_type_is_told(tmp_path, name):
    out = tmp_path / "out"
    with in_this_process():
        sweep(["spread-3-scripted"], seeds=1, out=out, **TINY)
    settings = as_words({**TINY, "dagger.total_timesteps": 10**9})
    command = [sys.executable, "-m", "cesma_sb3", "sweep", "spread-3-scripted", "--seeds", "1", *settings]
    with (tmp_path / "err").open("w") as err:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
        process = subprocess.Popen([*command, "--out", str(out)], stderr=err)
        signal.signal(signal.SIGINT, before)
        while len(list(out.glob("runs/*/seed-0/logs"))) < 2:
            assert process.poll() is None, (tmp_path / "err").read_text()
            time.sleep(0.1)
        process.send_signal(getattr(signal, name))
        assert process.wait() == 130
    assert "to resume: python -m cesma_sb3 sweep spread-3-scripted " in (tmp_path / "err").read_text()
    statuses = [json.loads(path.read_text())["status"] for path in out.glob("runs/*/seed-0/run.json")]
    assert sorted(statuses) == ["finished", "interrupted"]
