"""Students that collected nothing themselves, and MADDPG beside them: `python -m benchmarks.free_students`.

The first table is made from the kept runs (docs/reproduced/runs, by `cesma run NAME --seed SEED` and
`benchmarks.keep`), the second from the tables of figures 5 and 6.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.keep import KEPT

TASKS = (
    *("spread-3", "spread-3-hetero", "spread-6", "spread-6-hetero"),
    *("speaker-listener", "navigation-comm", "navigation-comm-3"),
)
HEADER = (
    *("name", "seeds", "expert", "students", "students / expert", "samples of the expert"),
    *("of the students", "updates", "processor seconds", "wall-clock"),
)


def table(kept: Path = KEPT) -> str:
    """The table as Markdown: means over seeds, with 95% intervals (Student's t) where there are several."""
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    for name in TASKS:
        paths = sorted(kept.glob(f"runs/{name}/seed-*/report.json"))
        if reports := [json.loads(path.read_text(encoding="utf-8")) for path in paths]:
            lines.append(" | ".join(_row(name, reports)))
    return "".join(f"| {line} |\n" for line in lines)


def comparison(kept: Path = KEPT) -> str:
    """Every system on every task as Markdown: the return over seeds with its 95% interval, and samples."""
    header = (
        *("task", "system", "seeds", "return", "95% interval", "normalised", "samples"),
        "samples to MADDPG's return",
    )
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    rows = [
        row
        for figure, wanted in (("figure-5", True), ("figure-6", False))
        for row in csv.DictReader((kept / f"{figure}.csv").read_text(encoding="utf-8").splitlines())
        # Figure 5 counts the expert's samples; independent DDPG is in figure 6 alone.
        if row["policy"] == "students" and (row["line"] != "independent DDPG") is wanted
    ]
    for row in sorted(rows, key=lambda row: TASKS.index(row["panel"])):
        if row["seeds"] == "0":
            continue
        interval = [f"{float(row[end]):.2f}" for end in ("return_low", "return_high") if row[end]]
        matched = row["samples_to_match"]
        cells = (
            *(row["panel"], row["line"], row["seeds"], f"{float(row['return']):.2f}", " to ".join(interval)),
            *(f"{float(row['normalized']):.3f}", f"{float(row['env_samples']):,.0f}"),
            f"{float(matched):,.0f} ({row['seeds_matched']})" if matched else "never",
        )
        lines.append(" | ".join(cells))
    return "".join(f"| {line} |\n" for line in lines)


def _row(name: str, reports: Sequence[Any]) -> list[str]:
    expert, students = (
        [report["normalized"][policy] for report in reports] for policy in ("expert", "students")
    )
    ratios = np.divide(students, expert)
    samples = reports[0]["env_samples"]
    return [
        f"`{name}`",
        str(len(reports)),
        _mean(expert),
        _mean(students),
        f"{ratios.mean():.3f} ({ratios.min():.3f})",
        f"{samples['expert']:,}",
        f"{samples['decentralize']:,}",
        f"{reports[0]['updates']['decentralize']:,}",
        *(
            " + ".join(
                f"{np.median([report[what][stage] for report in reports]):.0f}"
                for stage in ("expert", "decentralize")
            )
            for what in ("processor_seconds", "seconds")
        ),
    ]


def _mean(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean} ± {half:.3f}"


if __name__ == "__main__":
    print(table(), comparison(), sep="\n", end="")
