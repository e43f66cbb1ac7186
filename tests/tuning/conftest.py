"""Studies are not drawn, which takes Optuna a second for each: one test does it."""

import pytest

from cesma_sb3.multirun.tuning import results


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(results, "_FOR_FIGURES", 10**9)
