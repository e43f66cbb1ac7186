"""docs/which-expert.md is true of the registry, of the algorithms and of the results."""

import re
from pathlib import Path

import pytest
import sb3_contrib
import stable_baselines3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

import cesma_sb3
from cesma_sb3.envs import make_vec_env
from cesma_sb3.spaces.action_views import ProductActions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "which-expert.md").read_text(encoding="utf-8")
MEASURED = "".join(
    path.read_text(encoding="utf-8") for path in [*DOCS.glob("results/*.md"), *DOCS.glob("reproduced/*.md")]
)


def table(first_titles):
    """The rows of the table with these first titles, as lists of cells."""
    start = PAGE.index(f"\n| {first_titles} |")
    lines = PAGE[start + 1 : PAGE.index("\n\n", start)].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


EXPERIMENTS = table("actions | algorithm, view")
ALGORITHMS = [
    (name, column == 2, cells[column])
    for cells in table("algorithm")
    for name in re.findall(r"\w+", cells[0])
    for column in (1, 2)
    if cells[column]
]


@pytest.mark.parametrize("row", EXPERIMENTS, ids=[row[2] for row in EXPERIMENTS])
def test_the_experiment_has_this_algorithm_and_these_numbers(row):
    _, who, name, *numbers = row
    expert = cesma_sb3.load_experiment(name).expert
    assert f"{expert.algorithm}`, `{expert.action_view}" == who
    for number in re.findall(r"[\d.,]+", " ".join(numbers)):
        assert number in MEASURED, number


def test_every_other_number_is_a_measured_one():
    text = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
    for number in re.findall(r"\b[01]\.\d+", text):
        assert number in MEASURED, number


@pytest.mark.parametrize(("name", "is_continuous", "view"), ALGORITHMS)
def test_the_algorithm_acts_in_this_view(name, is_continuous, view):
    algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name, None)
    if algorithm is None:
        pytest.skip(f"this release of sb3-contrib has no {name}")
    kwargs = {"n_agents": 2, "continuous_actions": is_continuous}
    venv = make_vec_env("spread", kwargs=kwargs, n_envs=1, seed=0, view=view)
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    small = {"buffer_size": 8} if issubclass(algorithm, OffPolicyAlgorithm) else {}
    assert algorithm(policy, venv, **small).action_space == venv.view.space


def test_the_largest_product_is_the_one_named():
    venv = make_vec_env("spread", kwargs={"n_agents": 5}, n_envs=1, seed=0)
    assert f"{ProductActions(venv.team).n_actions:,}" == "3,125"
    with pytest.raises(cesma_sb3.errors.CesmaError, match="15,625"):
        make_vec_env("spread", kwargs={"n_agents": 6}, n_envs=1, seed=0, view="product")
