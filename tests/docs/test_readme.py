"""The README's Python runs, block after block as one session, and what else it names exists."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3.cli import cesma
from cesma_sb3.envs import make_vec_env

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text()
COMMANDS = (ROOT / "docs" / "tasks" / "commands.md").read_text()

TINY = (
    '"spread-3", **{"expert.total_timesteps": 1_200, "expert.kwargs.gradient_steps": 1, '
    '"dagger.total_timesteps": 512, "evaluation.n_final_episodes": 8, "evaluation.n_eval_episodes": 8}'
)
# The only changes made to what is printed there: budgets. Each must be found exactly so often.
SUBSTITUTIONS = {
    'cesma_sb3.run("spread-3", progress=True)': (1, f"cesma_sb3.run({TINY})"),
    ".learn(100_000)": (1, ".learn(64)"),
    'PPO("MlpPolicy", env': (1, 'PPO("MlpPolicy", env, n_steps=64'),
    '"PPO", trust=True, progress=True)': (1, '"PPO", trust=True, total_timesteps=512, **SHORT)'),
}


SHORT = {"dagger.n_envs": 8, "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 8, "n_envs": 8}}


def save_a_controller(path):
    """The file that the first block has."""
    venv = make_vec_env("mpe2.simple_spread_v3", kwargs={"N": 2}, n_envs=4, team_reward="mean")
    PPO("MlpPolicy", venv, n_steps=16).learn(64).save(path)


def code():
    text = "\n".join(re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S))
    for printed, (count, run) in SUBSTITUTIONS.items():
        assert text.count(printed) == count, printed
        text = text.replace(printed, run)
    return text


@pytest.mark.no_cover
def test_every_python_block_runs(tmp_path, monkeypatch, quiet_imitation):
    monkeypatch.chdir(tmp_path)
    save_a_controller(tmp_path / "ppo.zip")
    session = {"SHORT": SHORT}
    exec(compile(code(), "README.md", "exec"), session)
    assert (session["result"].run_dir / "report.json").exists()
    assert session["result"].students.team.n_agents == 2
    assert session["team"].students.team.n_agents == 6


def test_every_command_exists():
    commands = set(re.findall(r"^    cesma (\w+)", README + COMMANDS, flags=re.M))
    assert commands == {name for name, command in cesma.commands.items() if not command.hidden}
    for name in commands:
        assert CliRunner().invoke(cesma, [name, "--help"]).exit_code == 0


def test_the_table_has_every_registered_name_once():
    table = EXPERIMENTS[EXPERIMENTS.index("| name | task |") : EXPERIMENTS.index("A baseline (")]
    cells = re.findall(r"^\| (`.*?) \|", table, flags=re.M)
    rows = [re.findall(r"`(\.{3}-)?([\w-]+)`", cell) for cell in cells]
    names = []
    for cell, row in zip(cells, rows, strict=True):
        plain, endings = ([name for dots, name in row if bool(dots) is ends] for ends in (False, True))
        if "the first three rows" in cell:
            plain += [name for first in rows[:3] for _, name in first]
        names += [f"{name}-{ending}" for name in plain for ending in endings] if endings else plain
    assert sorted(names) == sorted(cesma_sb3.list_experiments())
