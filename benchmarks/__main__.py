"""Runs one benchmark, prints its result, and writes it to the page of docs/results that has its section.

python -m benchmarks world-3 --json
python -m benchmarks dagger --no-write
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

# name -> "module:function"; the module is imported only when the benchmark runs.
BENCHMARKS = {
    "world-3": "benchmarks.world:run_world_3",
    "world-6": "benchmarks.world:run_world_6",
    "world-3-jax": "benchmarks.world:run_world_3_jax",
    "world-6-jax": "benchmarks.world:run_world_6_jax",
    "dagger": "benchmarks.dagger:run_dagger",
    "main-job": "benchmarks.main_job:run_main_job",
    "imitation": "benchmarks.imitation:run_imitation",
    "scripted": "benchmarks.main_job:run_scripted",
    "spread-3-hetero": "benchmarks.main_job:run_hetero",
    "spread-6": "benchmarks.main_job:run_six",
    "spread-6-hetero": "benchmarks.main_job:run_six_hetero",
    "speaker-listener": "benchmarks.main_job:run_speaker_listener",
    "navigation-comm": "benchmarks.main_job:run_navigation_comm",
    "navigation-comm-3": "benchmarks.main_job:run_navigation_comm_3",
    "growing-teams": "benchmarks.growing_teams:run_growing_teams",
    "memory": "benchmarks.memory:run_memory",
    "deployment": "benchmarks.deployment:run_deployment",
    "foraging": "benchmarks.foraging:run_foraging",
    "vmas-step": "benchmarks.vmas_step:run_vmas_step",
    "vmas-peers": "benchmarks.vmas_peers:run_vmas_peers",
    "warehouse": "benchmarks.foraging:run_warehouse",
    "battles": "benchmarks.battles:run_battles",
    "battle-peers": "benchmarks.battle_peers:run_battle_peers",
    "tuning": "benchmarks.tuning:run_tuning",
    "scale": "benchmarks.scale:run_scale",
    "first-use": "benchmarks.first_use:run_first_use",
    "checkpoints": "benchmarks.checkpoints:run_checkpoints",
    "training-page": "benchmarks.training_page:run_training_page",
    "intervals": "benchmarks.intervals:run_intervals",
}
RESULTS = Path(__file__).parents[1] / "docs" / "results"
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium", "pettingzoo", "mpe2", "imitation")


def machine() -> str:
    """Processor, cores and system, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found.group(1) if found else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    return {package: version(package) for package in PACKAGES}


def section(name: str, result: dict[str, Any]) -> str:
    """The benchmark's part of its page."""
    shown = {key: value for key, value in result.items() if key != "compared"}
    tables = {key: shown.pop(key) for key in list(shown) if _is_table(shown[key])}
    rows = "".join(f"| {key} | {_cell(value)} |\n" for key, value in shown.items())
    compared = "".join(f"- {key}: {_cell(value)}\n" for key, value in result.get("compared", {}).items())
    packages = ", ".join(f"{package} {number}" for package, number in versions().items())
    command = f"`python -m benchmarks {name} --json`"
    return (
        f"## {name}\n\n{command}, {date.today().isoformat()}, {machine()}; {packages}\n\n"
        f"| | |\n|---|---|\n{rows}\n{''.join(map(_table, tables.values()))}{compared}"
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _table(rows: list[dict[str, Any]]) -> str:
    """A list of alike rows as one table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return json.dumps(value) if isinstance(value, list) else str(value)


def page_of(name: str) -> Path:
    """The page that has the benchmark's section; of a new one, that of speed."""
    has_it = (page for page in sorted(RESULTS.glob("*.md")) if f"\n## {name}\n" in page.read_text())
    return next(has_it, RESULTS / "speed.md")


def write_section(name: str, text: str, path: Path) -> None:
    """Puts a section in its place in the page, or at its end."""
    content = path.read_text()
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = text.rstrip("\n") + "\n\n"
    content = (
        pattern.sub(lambda _: text, content) if pattern.search(content) else f"{content.rstrip()}\n\n{text}"
    )
    path.write_text(content.rstrip("\n") + "\n")


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(sorted(BENCHMARKS)))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--write/--no-write", default=True, help="Write the result to its page of docs/results.")
def main(name: str, as_json: bool, write: bool) -> None:
    """Runs one benchmark."""
    module, function = BENCHMARKS[name].split(":")
    run: Callable[[], dict[str, Any]] = getattr(import_module(module), function)
    result = run()
    text = section(name, result)
    if write:
        write_section(name, text, page_of(name))
    click.echo(json.dumps(result) if as_json else text)


if __name__ == "__main__":
    main()
