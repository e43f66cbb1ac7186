"""Write an HTML page of one finished run, or of several, which is one file and needs no network.

A report (`write_html_report`) has charts, which Plotly draws. A page to watch a team at work
(`write_watch_page`) has none, and needs no extra.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cesma_sb3.analysis.html_report import charts
from cesma_sb3.analysis.html_report import live as live_part
from cesma_sb3.analysis.html_report.rendering import PLAYER, for_player, read_scripts, render
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.analysis.run_data import RunData, read_run
from cesma_sb3.config.overrides import flatten
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import CesmaError, ConfigError, UntrustedError
from cesma_sb3.training.run_folder import PRICE, RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.installation import missing_extra

HTML = "report.html"
_POLICIES = ("expert", "imitators", "students", "reference", "random")


def write_html_report(
    run_dirs: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    episodes: int = 3,
    trust: bool = False,
) -> Path:
    """Write an HTML report of a finished run, or one that compares several.

    The file holds its scripts and pictures itself.

    Args:
        run_dirs: The folders of the runs, or names of pretrained teams. Where the policies of a single run
            are missing, no episodes are shown.
        out: The file; None: `report.html` in the folder of a single run (of a pretrained team, in
            `runs/NAME/pretrained`), else in the current folder.
        episodes: Episodes of each policy to show, of a single run; 0: none.
        trust: Let the folder run the code that it names or holds, though it was made elsewhere.

    Raises:
        ConfigError: There are no runs, or one is named twice.
        StorageError: A run did not finish, or a file is damaged.
        UntrustedError: Episodes would run code of a folder that was not made here.
        MissingExtraError: Plotly or Jinja is not installed.
    """
    found = [read_run(run_dir) for run_dir in run_dirs]
    if not found or len({run.path.resolve() for run in found}) < len(found):
        raise ConfigError("expected at least one run folder, each of them once")
    labels = _labels(found)
    runs = dict(zip(labels, found, strict=True))
    single = found[0] if len(found) == 1 else None
    path = as_path(out) if out is not None else single.folder.outputs / HTML if single else Path(HTML)
    content = _render(
        with_charts=True,
        title=labels[0] if single else "Comparison",
        runs=[_summary(label, run) for label, run in runs.items()],
        differences=[] if single else _differences([run.experiment for run in found]),
        charts=charts.to_json(_charts(runs)),
        **(_details(single, episodes, trust=trust) if single else _NO_DETAILS),
    )
    atomic.write(path, lambda file: file.write_text(content, encoding="utf-8"))
    return path


def write_watch_page(
    run_dir: Path | str,
    out: Path | str | None = None,
    *,
    episodes: int = 3,
    seed: int | None = None,
    trust: bool = False,
) -> Path:
    """Write an HTML page on which a team and its expert play episodes, side by side, one after another.

    Of a team of particles, the page also has a live part: the students' networks act in the browser, while
    the user moves bodies and changes messages (`cesma_sb3.analysis.html_report.live`).

    Args:
        run_dir: The folder of a finished run, or the name of a pretrained team.
        out: The file; None: a new one in a temporary folder.
        episodes: Episodes of each policy, at least 1.
        seed: Seed of the initial states; None: the run's, which shows episodes of its final evaluation.
        trust: Let the folder run the code that it names or holds, though it was made elsewhere.

    Raises:
        StorageError: There is no such run or team, it did not finish, or a file is damaged.
        UntrustedError: The folder would run code, and was not made here.
        MissingExtraError: The environment needs a package that is not installed.
    """
    run = read_run(run_dir)
    by_policy, missing = _play(run.path, episodes, seed, trust=trust)
    (label,) = _labels([run])
    live = live_part.live_team(RunFolder.open(run.path, trust=trust))
    content = _render(
        with_charts=False,
        live=charts.to_json(live) if live else None,
        title=label,
        runs=[_summary(label, run)],
        differences=[],
        charts="{}",
        episodes=charts.to_json(by_policy),
        policies=list(by_policy),
        missing=missing,
        price=[],
        config=_config(run.experiment),
    )
    path = Path(tempfile.mkdtemp(prefix="cesma-"), f"{run.path.name}.html") if out is None else as_path(out)
    atomic.write(path, lambda file: file.write_text(content, encoding="utf-8"))
    return path


def _labels(runs: Sequence[RunData]) -> list[str]:
    """Name each run by its experiment and seed, and number those of one name."""
    names = [f"{run.experiment.name}, seed {run.experiment.seed}" for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: n + 1].count(name)})"
        for n, name in enumerate(names)
    ]


def _charts(runs: Mapping[str, RunData]) -> dict[str, charts.Chart]:
    """Make the charts that have something to show, by the id of their place in the page."""
    by_id: dict[str, charts.Chart | None] = {"curves": charts.learning_curves(runs)}
    if len(runs) == 1:
        (run,) = runs.values()
        by_id["losses"] = charts.losses(run)
        by_id["returns"] = charts.returns(_read_optional(run.folder.file("episodes.json")))
    return {name: chart for name, chart in by_id.items() if chart}


def _read_optional(path: Path) -> dict[str, Any]:
    """Read a JSON file that a run may not have; empty where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _summary(label: str, run: RunData) -> dict[str, Any]:
    """Collect what every report shows of a run."""
    report = run.report
    policies = [
        {
            "name": name,
            "return": report["return"][name],
            "error": report.get("standard_error", {}).get(name),
            "normalized": report["normalized"].get(name),
            "won": report.get("win_rate", {}).get(name),
            "agents": report.get("agent_return", {}).get(name, {}),
        }
        for name in _POLICIES
        if name in report["return"]
    ]
    return {
        "label": label,
        "description": run.experiment.description,
        "policies": policies,
        "notes": report.get("notes", []),
        "reward": report.get("reward", ""),
        "stages": [
            {
                "name": stage,
                "samples": samples,
                "updates": report.get("updates", {}).get(stage),
                "seconds": report["seconds"].get(stage),
                "processor_seconds": report.get("processor_seconds", {}).get(stage),
            }
            for stage, samples in report["env_samples"].items()
        ],
        "parameters": report.get("parameters", {}),
        "info": run.folder.info,
    }


_NO_DETAILS: dict[str, Any] = {"episodes": "{}", "policies": [], "missing": "", "price": [], "config": []}
"""The details of a report on several runs."""


def _details(run: RunData, episodes: int, *, trust: bool) -> dict[str, Any]:
    """Collect what only the report of a single run shows."""
    by_policy, missing = dict[str, list[dict[str, Any]]](), ""
    if episodes:
        try:
            by_policy, missing = _play(run.path, episodes, None, trust=trust)
        except UntrustedError:
            raise
        except CesmaError as error:
            missing = str(error)
    return {
        "episodes": charts.to_json(by_policy),
        "policies": list(by_policy),
        "missing": missing,
        "price": _read_optional(run.folder.outputs / PRICE).get("rows", []),
        "config": _config(run.experiment),
    }


def _config(experiment: Experiment) -> list[tuple[str, str]]:
    """Return every value of an experiment by its dotted key, as JSON."""
    return [(key, json.dumps(value)) for key, value in flatten(experiment.to_mapping()).items()]


def _play(
    run_dir: Path, episodes: int, seed: int | None, *, trust: bool
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Record episodes of each policy as the page's script reads them, and say why there are no pictures."""
    missing = ""
    try:
        recorded = record_episodes(run_dir, episodes=episodes, seed=seed, trust=trust)
    except CesmaError as error:  # what cannot be rendered is shown without pictures
        missing = str(error)
        recorded = record_episodes(run_dir, episodes=episodes, seed=seed, trust=trust, frames=False)
    return {policy: [for_player(episode) for episode in each] for policy, each in recorded.items()}, missing


def _differences(experiments: Sequence[Experiment]) -> list[tuple[str, list[str]]]:
    """Return the keys whose values are not the same in all runs, each with the value of every run."""
    flat = [flatten(experiment.to_mapping()) for experiment in experiments]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [(key, [json.dumps(each[key]) if key in each else "" for each in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _render(*, with_charts: bool, live: str | None = None, **values: Any) -> str:
    scripts = read_scripts([*PLAYER, "html_report/page.js"])
    if with_charts:
        try:
            from plotly.offline import get_plotlyjs
        except ImportError as error:
            raise missing_extra("a page", "report", error) from None
        scripts.insert(0, get_plotlyjs())
    if live:
        scripts += live_part.scripts()
    return render("html_report/page.html", scripts, watched=not with_charts, live=live, **values)
