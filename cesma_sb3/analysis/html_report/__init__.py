"""`cesma report`: a finished run, or several, as one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cesma_sb3.analysis.frames import Rollout, record
from cesma_sb3.analysis.html_report import charts
from cesma_sb3.analysis.run_data import RunData, read_run
from cesma_sb3.config.registry import flatten
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import CesmaError, ConfigError, MissingExtraError, UntrustedError
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path

PAGE = "report.html"
_POLICIES = ("expert", "imitators", "students", "reference", "random")
_WIDTH = 400
"""Of a picture, in pixels."""


def write_page(
    run_dirs: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    episodes: int = 3,
    trust: bool = False,
) -> Path:
    """Writes a page about a finished run, or one that compares several.

    It holds its scripts and pictures itself, and asks no network for anything.

    Args:
        run_dirs: Their folders. Of one whose policies are not there no episodes are shown.
        out: The file; None: `report.html` in the run folder, of several under the current folder.
        episodes: Of each policy, to be played; 0: none.
        trust: That episodes may run the code that the folder names or holds, though it was made elsewhere.

    Raises:
        ConfigError: No runs, or one is named twice.
        StorageError: A run did not finish, or a file is torn.
        UntrustedError: Episodes would run code of a folder that was not made here.
        MissingExtraError: Plotly or Jinja is not installed.
    """
    folders = [RunFolder.open(run_dir) for run_dir in run_dirs]
    if not folders or len({folder.path.resolve() for folder in folders}) < len(folders):
        raise ConfigError("expected at least one run folder, each of them once")
    labels = _labels(folders)
    runs = {label: read_run(folder.path) for label, folder in zip(labels, folders, strict=True)}
    is_alone = len(folders) == 1
    path = as_path(out) if out is not None else folders[0].path / PAGE if is_alone else Path(PAGE)
    content = _render(
        title=labels[0] if is_alone else "Comparison",
        runs=[_summary(label, folder, runs[label]) for label, folder in zip(labels, folders, strict=True)],
        differences=[] if is_alone else _differences([folder.experiment for folder in folders]),
        charts=charts.in_page({name: chart for name, chart in _charts(folders, runs).items() if chart}),
        **(_alone(folders[0], episodes, trust=trust) if is_alone else {}),
    )
    atomic.write(path, lambda file: file.write_text(content, encoding="utf-8"))
    return path


def _labels(folders: Sequence[RunFolder]) -> list[str]:
    """A name for each: the experiment's with its seed, numbered if that is not enough."""
    names = [f"{folder.experiment.name}, seed {folder.experiment.seed}" for folder in folders]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: n + 1].count(name)})"
        for n, name in enumerate(names)
    ]


def _charts(folders: Sequence[RunFolder], runs: Mapping[str, RunData]) -> dict[str, charts.Chart | None]:
    found: dict[str, charts.Chart | None] = {"curves": charts.learning_curves(runs)}
    if len(folders) == 1:
        (run,) = runs.values()
        returns = _optional(folders[0], "episodes.json")
        found |= {"losses": charts.losses(run), "episodes": charts.episodes(returns)}
    return found


def _optional(folder: RunFolder, name: str) -> dict[str, Any]:
    """A JSON file that a run may not have."""
    path = folder.file(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _summary(label: str, folder: RunFolder, run: RunData) -> dict[str, Any]:
    """What every page has of a run."""
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
        "description": folder.experiment.description,
        "policies": policies,
        "notes": report.get("notes", []),
        "reward": report.get("reward", ""),
        "stages": [
            {"name": stage, "samples": samples, "seconds": report["seconds"].get(stage)}
            for stage, samples in report["env_samples"].items()
        ],
        "parameters": report.get("parameters", {}),
        "command": folder.info.get("command", ""),
        "info": folder.info,
    }


def _alone(folder: RunFolder, episodes: int, *, trust: bool) -> dict[str, Any]:
    """What the page of a single run has besides."""
    missing, found = "", dict[str, list[Rollout]]()
    for pictures in (True, False) if episodes else ():  # where there are none the episodes are shown without
        try:
            found = record(folder.path, episodes=episodes, trust=trust, pictures=pictures)
            break
        except UntrustedError:
            raise
        except CesmaError as error:
            missing = str(error)
    rollouts = {name: [_played(each) for each in these] for name, these in found.items()}
    return {
        "rollouts": charts.in_page(rollouts),
        "policies_played": list(rollouts),
        "missing": missing,
        "price": _optional(folder, "price.json").get("rows", []),
        "config": [(key, json.dumps(value)) for key, value in _flat(folder.experiment).items()],
    }


def _played(rollout: Rollout) -> dict[str, Any]:
    """An episode for the page's script."""
    return {
        "pictures": [_as_address(Image.fromarray(picture)) for picture in rollout.pictures],
        "steps": rollout.steps,
        "returns": rollout.returns,
        "won": rollout.won,
    }


def _as_address(picture: Image.Image) -> str:
    """A picture as a `data:` address."""
    if picture.width > _WIDTH:
        height = round(picture.height * _WIDTH / picture.width)
        picture = picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _differences(experiments: Sequence[Experiment]) -> list[tuple[str, list[str]]]:
    """Values that are not the same in all runs: a key, and what each has."""
    flat = [_flat(experiment) for experiment in experiments]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [(key, [json.dumps(each[key]) if key in each else "" for each in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _flat(experiment: Experiment) -> dict[str, Any]:
    return {".".join(path): value for path, value in flatten(experiment.to_mapping())}


def _render(**values: Any) -> str:
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtraError("Plotly or Jinja is not installed: pip install 'cesma-sb3[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    alone: dict[str, Any] = {
        "rollouts": "{}",
        "policies_played": [],
        "missing": "",
        "price": None,
        "config": [],
    }
    template = environment.get_template("page.html")
    # The page runs these two and refuses any other, by their digests: its data is no script.
    scripts = [get_plotlyjs(), (Path(__file__).parent / "page.js").read_text(encoding="utf-8")]
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    return template.render(scripts=scripts, digests=digests, **{**alone, **values})
