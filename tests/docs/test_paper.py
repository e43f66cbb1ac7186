"""docs/paper.md says of our values what the registered experiments and the code say."""

import inspect
import re
from pathlib import Path

import pytest

from cesma_sb3 import list_experiments, load_experiment
from cesma_sb3.analysis.figures.schema import list_figures
from cesma_sb3.config.resolve import algorithm_class, policy_class
from cesma_sb3.config.yaml import read_value
from cesma_sb3.envs.particle.spread import HOMOGENEOUS, KINDS
from cesma_sb3.imitation.registry import ALGORITHMS

PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables():
    """Header and rows of each table."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.M):
        header, _, *rows = block.splitlines()
        yield cells(header), [cells(row) for row in rows]


def tables_of_values():
    """For each column under an experiment's name in a table of keys: the name, then a value for each key."""
    for header, rows in tables():
        if header[0] == "key":
            for column, title in enumerate(header):
                if title.startswith("`"):
                    yield title.strip("`"), {row[0].strip("`"): row[column] for row in rows}


COLUMNS = list(tables_of_values())


def value_of(experiment, key):
    """What the experiment says of a dotted key, else its algorithm's or its policy's default."""
    found = experiment.to_mapping()
    for part in key.split("."):
        if part not in found:
            return default(experiment.expert, key)
        found = found[part]
    return found


def default(expert, key):
    _, group, argument = key.split(".")
    algorithm = algorithm_class(expert.algorithm)
    owner = algorithm if group == "kwargs" else policy_class(algorithm, expert.policy)
    signatures = (inspect.signature(kind.__init__).parameters for kind in owner.__mro__)
    return next(signature[argument].default for signature in signatures if argument in signature)


def named_first(title):
    """What the first cells of the table with this title over its first column name."""
    (rows,) = [rows for header, rows in tables() if header[0] == title]
    return [row[0].strip("`") for row in rows]


def test_the_tables_are_read():
    names = [name for name, _ in COLUMNS]
    assert len(names) == len(set(names)) > 10
    assert all(len(values) > 7 for _, values in COLUMNS)
    assert all(len(row) == len(header) for header, rows in tables() for row in rows)


@pytest.mark.parametrize(("name", "values"), COLUMNS, ids=[name for name, _ in COLUMNS])
def test_values(name, values):
    experiment = load_experiment(name)
    for key, cell in values.items():
        assert value_of(experiment, key) == read_value(cell, key), f"{name}: {key}"


def test_every_experiment_named_is_registered():
    tasks = r"spread-\d|speaker-listener|navigation-comm|smax-|smac-"
    assert set(re.findall(rf"`((?:{tasks})[\w-]*)`", PAGE)) <= set(list_experiments())


def test_imitation_algorithms_and_figures_are_those_that_there_are():
    assert named_first("name") == list(ALGORITHMS)
    assert named_first("figure") == [figure.name for figure in list_figures()]


def test_kinds_of_agents():
    for body in (*KINDS, HOMOGENEOUS):
        name = "all alike (mpe2)" if body is HOMOGENEOUS else body.name
        row = re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \| ([\d.]+) \| ([\w.]+) \|", PAGE, flags=re.M)
        radius, accel, top = row.groups()
        assert (float(radius), float(accel)) == (body.size, body.accel)
        assert float("inf" if top == "none" else top) == body.max_speed
