"""Every notebook runs from top to bottom in Jupyter's own kernel, with a budget that teaches nothing."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"

_SHORT = {"n_final_episodes": 4, "n_eval_episodes": 4, "n_envs": 4}
_EXPERT = {"total_timesteps": 640, "n_envs": 8, "kwargs": {"learning_starts": 100, "gradient_steps": 1}}
_TRAINED = {"expert": _EXPERT, "dagger": {"experience": {"n_updates": 4}}, "evaluation": _SHORT}
_SCRIPTED = {"dagger": {"total_timesteps": 256, "n_envs": 8}, "evaluation": _SHORT}
_BROUGHT = {"dagger.n_envs": 8, "evaluation": _SHORT}
SMALL = {
    "quick_start": f"BUDGET = {_TRAINED}",
    "bring_an_sb3_model": f"CONTROLLER_TIMESTEPS, STUDENT_TIMESTEPS, BUDGET = 1_000, 512, {_BROUGHT}",
    "bring_an_environment": "CONTROLLER_TIMESTEPS, STUDENT_TIMESTEPS = 512, 4_000",
    "learn_to_talk": f"BUDGET = {_TRAINED}",
    "tune": f"TRIALS, BUDGET = 2, {_SCRIPTED}",
}
"""What stands in place of each notebook's cell of budgets."""


def test_every_notebook_is_tested():
    assert set(SMALL) == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


def test_notebooks_are_kept_without_their_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        book = nbformat.read(path, as_version=4)
        assert not any(cell.get("outputs") for cell in book.cells), path.name


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's client
@pytest.mark.parametrize("name", SMALL)
def test_it_runs_and_shows_what_it_makes(name, tmp_path):
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    budgets = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(budgets) == 1
    budgets[0].source = SMALL[name]
    NotebookClient(
        book, timeout=None, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    tables = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert shown & {"image/png", "image/gif"} or "data:image/png" in tables, "a curve or a video"
    assert "<table>" in tables
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "\x1b[" not in printed, "progress is lines of text, for a notebook is no terminal"
