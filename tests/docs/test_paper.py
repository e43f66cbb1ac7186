"""docs/paper.md says of our values what the registered experiments and the code say."""

import re
from pathlib import Path

import pytest

from cesma_sb3 import load_experiment
from cesma_sb3._yaml import read_value
from cesma_sb3.envs.particle.spread import HOMOGENEOUS, KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|", PAGE, flags=re.M)


def test_the_table_is_read():
    assert len(ROWS) > 10


@pytest.mark.parametrize(("name", "column"), [("spread-3-mlp", 1), ("spread-3", 2)])
def test_values(name, column):
    values = load_experiment(name).to_mapping()
    for row in ROWS:
        found = values
        for key in row[0].split("."):
            found = found[key]
        assert found == read_value(row[column].strip(), row[0]), f"{name}: {row[0]}"


def test_kinds_of_agents():
    for body in (*KINDS, HOMOGENEOUS):
        name = "all alike (mpe2)" if body is HOMOGENEOUS else body.name
        row = re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \| ([\d.]+) \| ([\w.]+) \|", PAGE, flags=re.M)
        radius, accel, top = row.groups()
        assert (float(radius), float(accel)) == (body.size, body.accel)
        assert float("inf" if top == "none" else top) == body.max_speed
