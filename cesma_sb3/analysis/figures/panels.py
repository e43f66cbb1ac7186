"""What one panel of a figure shows of finished runs: the lines that are drawn, and the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from cesma_sb3.analysis.figures.schema import Line, Panel
from cesma_sb3.analysis.markdown import TableRow
from cesma_sb3.analysis.run_data import Measurement, Role, RunData
from cesma_sb3.utils.plotting import PlotLine, PlotPanel, Points, envelope

_AXES = {
    "episodes": "episodes",
    "samples": "environment samples",
    "loss": "loss of imitation",
    "return": "mean return of an episode",
    "win_rate": "share of battles won",
}


def plot_panel(panel: Panel, runs: Mapping[str, Sequence[RunData]]) -> PlotPanel:
    """Collect what a panel draws; lines without a finished run are left out.

    Args:
        panel: As its file defines it.
        runs: By the label of a line, the finished runs of all seeds.
    """
    lines: list[PlotLine] = []
    for line in panel.lines:
        of_line = runs[line.label]
        if of_line and panel.has_losses:
            lines += _agent_lines(panel, line, of_line)
        elif of_line:
            lines.append(_line(panel, line, of_line))
    return PlotPanel(panel.title, _AXES[panel.x], _AXES[panel.y], tuple(lines))


def _line(panel: Panel, line: Line, runs: Sequence[RunData]) -> PlotLine:
    measurement: Measurement = "win_rate" if panel.y == "win_rate" else "return"
    if line.kind == "converged":
        if measurement == "win_rate":
            return PlotLine(line.label, level=_win_rates(panel, "students", runs).get("win_rate"))
        return PlotLine(line.label, level=_center(panel, [run.report["return"]["students"] for run in runs]))
    parts: list[list[Points]] = []
    if line.kind.startswith("expert"):
        parts.append([run.curve("expert", measurement) for run in runs])
    if line.kind != "expert":
        parts.append([run.curve("students", measurement, after_expert=_follows(line)) for run in runs])
    curves = tuple(
        envelope([[(x / _scale(panel), y) for x, y in curve] for curve in part], panel.center)
        for part in parts
        if all(part)
    )
    return PlotLine(line.label, curves, extends=_follows(line))


def _follows(line: Line) -> bool:
    """Return whether the students' samples count from where the expert's end."""
    return line.kind == "expert-then-students"


def _center(panel: Panel, values: Sequence[float]) -> float:
    return float(np.median(values) if panel.center == "median" else np.mean(values))


def _agent_lines(panel: Panel, line: Line, runs: Sequence[RunData]) -> list[PlotLine]:
    """Collect one line an agent: its loss against samples, or the team's return against its loss."""
    scale = _scale(panel)
    lines = []
    for agent in runs[0].losses:
        points = [run.losses[agent] for run in runs if run.losses.get(agent)]
        if not points:
            continue
        label = line.agents.get(agent, agent)
        loss = envelope([[(p.samples / scale, p.loss) for p in run] for run in points])
        if panel.y == "loss":
            lines.append(PlotLine(label, (loss,)))
        else:
            returns = envelope([[(p.samples / scale, p.team_return) for p in run] for run in points])
            single = tuple((p.loss, p.team_return) for run in points for p in run)
            path = tuple(zip(loss.center.tolist(), returns.center.tolist(), strict=True))
            lines.append(PlotLine(label, points=single, path=path))
    return lines


def _scale(panel: Panel) -> float:
    return panel.episode_timesteps if panel.x == "episodes" else 1.0


def table_rows(panel: Panel, runs: Mapping[str, Sequence[RunData]]) -> list[TableRow]:
    """Make a row for each policy of each line, or for each agent where losses are drawn: means over seeds.

    `env_samples` and `seconds` of students that are drawn after their expert contain the expert's.
    `return_low` and `return_high` are the 95% interval of the mean over seeds (Student's t).
    `samples_to_match` is the mean over those seeds that matched (`seeds_matched`): the samples at the first
    evaluation that is at least the final return, averaged over seeds, of the line `match`.
    """
    target = None
    if panel.match is not None and runs[panel.match]:
        target = _mean([run.report["return"]["students"] for run in runs[panel.match]])
    rows: list[TableRow] = []
    for line in panel.lines:
        roles: dict[str, list[Role]] = {"expert": ["expert"], "expert-then-students": ["expert", "students"]}
        for role in roles.get(line.kind, ["students"]):
            row: TableRow = {
                "panel": panel.name,
                "line": line.label,
                "policy": role,
                "experiment": line.experiment,
            }
            row |= _numbers(line, role, runs[line.label], target)
            if panel.y == "win_rate":
                row |= _win_rates(panel, role, runs[line.label])
            rows += _with_losses(row, line, runs[line.label]) if panel.has_losses else [row]
    return rows


def _numbers(line: Line, role: Role, runs: Sequence[RunData], target: float | None) -> TableRow:
    if not runs:
        return {"seeds": 0}
    returns = [run.report["return"][role] for run in runs]
    with_expert = _follows(line)
    row: TableRow = {
        "seeds": len(runs),
        "return": _mean(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        **_interval(returns),
        "normalized": _mean([run.report["normalized"].get(role) for run in runs]),
        "env_samples": _mean([run.cost("env_samples", role, with_expert=with_expert) for run in runs]),
        "seconds": _mean([run.cost("seconds", role, with_expert=with_expert) for run in runs]),
    }
    if target is not None and role == "students":
        curves = [run.curve("students", after_expert=_follows(line)) for run in runs]
        first = [next((x for x, y in curve if y >= target), None) for curve in curves]
        matched = [x for x in first if x is not None]
        row |= {"samples_to_match": _mean(matched), "seeds_matched": len(matched)}
    return row


def _interval(returns: Sequence[float]) -> TableRow:
    """Student's 95% interval of the mean return over seeds; of one seed there is none."""
    if len(returns) < 2:
        return {"return_low": None, "return_high": None}
    low, high = stats.t.interval(0.95, len(returns) - 1, np.mean(returns), max(stats.sem(returns), 1e-12))
    return {"return_low": float(low), "return_high": float(high)}


def _win_rates(panel: Panel, role: Role, runs: Sequence[RunData]) -> TableRow:
    """Return the win rate over seeds, and the narrowest interval that holds each run's 95% interval."""
    wins = [run.report["win_rate"][role] for run in runs if "win_rate" in run.report]
    if not wins:
        return {}
    rates = [won["rate"] for won in wins]
    ends = [(won["low"], won["high"]) for won in wins if won["low"] is not None]
    whole = len(ends) == len(wins)  # no interval holds that of a run that has none
    return {
        "win_rate": _center(panel, rates),
        "win_rate_min": min(rates),
        "win_rate_max": max(rates),
        "win_rate_low": min(low for low, _ in ends) if whole else None,
        "win_rate_high": max(high for _, high in ends) if whole else None,
    }


def _with_losses(row: TableRow, line: Line, runs: Sequence[RunData]) -> list[TableRow]:
    """Make a row for each agent, with the last loss of its line."""
    agents = [
        agent for agent in (runs[0].losses if runs else ()) if all(run.losses.get(agent) for run in runs)
    ]
    return [
        {
            **row,
            "agent": line.agents.get(agent, agent),
            "loss": _mean([run.losses[agent][-1].loss for run in runs]),
        }
        for agent in agents
    ] or [row]


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there are no values, or one is missing (as a score without a reference)."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
