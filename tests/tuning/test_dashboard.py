"""optuna-dashboard shows a study that `tune` has left in a database, in a real browser."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.training import run as run_module
from tests.tuning.test_studies import scored

pytestmark = pytest.mark.integration

SPACE = "dagger.learning_rate: {low: 1e-3, high: 1, log: true}\ndagger.batch_size: {choices: [8, 16]}\n"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def stored(tmp_path, monkeypatch) -> str:
    """A study in SQLite, of runs that take no time."""

    def run(experiment, *, out, watch):
        return run_module.RunResult(None, None, scored(-experiment.dagger.learning_rate), out)

    monkeypatch.setattr(run_module, "run_experiment", run)
    (tmp_path / "space.yaml").write_text(SPACE)
    url = f"sqlite:///{tmp_path}/study.db"
    study_module.tune(
        "spread-3-scripted",
        space=tmp_path / "space.yaml",
        trials=6,
        storage=url,
        study="shown",
        out=tmp_path / "study",
    )
    return url


@pytest.fixture
def dashboard(stored):
    """The dashboard's address, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen(
        [str(command), stored, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    while True:
        assert process.poll() is None, "the dashboard ended"
        try:
            with urllib.request.urlopen(f"{url}/dashboard/"):
                break
        except OSError:
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait()


def seen(url: str, profile: Path) -> str:
    """The text of a page, once its scripts have run."""
    assert BROWSER is not None
    words = (BROWSER, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url)
    page = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for noise in (r"<(style|script).*?</\1>", r"<[^>]+>", r"\s+"):
        page = re.sub(noise, " ", page, flags=re.S)
    return page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_the_dashboard_shows_the_study(dashboard, stored, tmp_path):
    assert "1. shown" in seen(f"{dashboard}/dashboard/", tmp_path / "studies")
    page = seen(f"{dashboard}/dashboard/studies/1", tmp_path / "study")
    study = optuna.load_study(study_name="shown", storage=stored)
    for text in (
        f"Best Trial (number={study.best_trial.number}) {study.best_value}",
        "Hyperparameter Importance",
        f"dagger.learning_rate: {study.best_params['dagger.learning_rate']}",
    ):
        assert text in page
