"""Interactive charts of the HTML report, as JSON for Plotly."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from cesma_sb3.analysis.run_data import Role, RunData
from cesma_sb3.utils.plotting.style import COLORS

Chart = dict[str, Any]
"""`data` and `layout` of a Plotly figure, ready for JSON."""


def learning_curves(runs: Mapping[str, RunData]) -> Chart:
    """Chart the return against environment samples, students after their expert.

    Args:
        runs: Finished runs by label.
    """
    traces: list[dict[str, Any]] = []
    for number, (label, run) in enumerate(runs.items()):
        prefix = f"{label}: " if len(runs) > 1 else ""
        colors = [COLORS[(2 * number + n) % len(COLORS)] for n in range(2)]
        for role, color in zip(get_args(Role), colors, strict=True):
            if curve := run.curve(role, after_expert=True):
                traces.append(_line(prefix + role, curve, color))
    if len(runs) == 1:
        (run,) = runs.values()
        width = max((max(trace["x"]) for trace in traces), default=1)
        for name, dash in (("reference", "dash"), ("random", "dot")):
            if (value := run.report["return"].get(name)) is not None:
                trace = _line(name, [(0, value), (width, value)], "#6b7280")
                traces.append(
                    {**trace, "mode": "lines", "line": {"color": "#6b7280", "dash": dash, "width": 1}}
                )
    return {"data": traces, "layout": _axes("environment samples", "return of an episode")}


def losses(run: RunData) -> Chart | None:
    """Chart each agent's imitation loss during training; None where none was logged."""
    if not any(run.losses.values()):
        return None
    traces = [
        _line(agent, [(point.samples, point.loss) for point in points], COLORS[number % len(COLORS)])
        for number, (agent, points) in enumerate(run.losses.items())
    ]
    return {"data": traces, "layout": _axes("environment samples of decentralization", "loss")}


def returns(returns_by_policy: Mapping[str, Sequence[float]]) -> Chart | None:
    """Chart the distribution of the returns of single episodes; None without episodes."""
    if not returns_by_policy:
        return None
    traces = [
        {
            "type": "violin",
            "name": html.escape(name, quote=False),
            "y": list(values),
            "meanline": {"visible": True},
            "points": False,
            "line": {"color": COLORS[number % len(COLORS)]},
        }
        for number, (name, values) in enumerate(returns_by_policy.items())
    ]
    return {"data": traces, "layout": {**_axes("", "return of an episode"), "showlegend": False}}


def to_json(value: Any) -> str:
    """Encode a value as JSON that is safe inside a page: no text in it ends an element; NaN becomes null."""
    return json.dumps(_finite(value), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(name: str, curve: Sequence[tuple[float, float]], color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": html.escape(name, quote=False),  # Plotly reads tags in it: a name could become a link
        "mode": "lines+markers",
        "x": [float(x) for x, _ in curve],
        "y": [float(y) for _, y in curve],
        "line": {"color": color, "width": 2},
        "marker": {"size": 5},
    }


def _axes(x: str, y: str) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": x, "standoff": 6}, "automargin": True},
        "yaxis": {"title": {"text": y}},
        "hovermode": "x unified",
    }
