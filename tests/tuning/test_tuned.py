"""The values in `tuning/tuned/` are those that the registry has."""

import statistics

import pytest

from cesma_sb3.config.documents import data_folder
from cesma_sb3.config.overrides import flatten
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.yaml import read_mapping
from cesma_sb3.multirun.tuning.search_space import load_space

FILES = sorted((data_folder("tuning") / "tuned").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_registry_takes_what_a_study_found(file):
    record = read_mapping(file.read_text(encoding="utf-8"), str(file))
    assert record["command"].startswith(f"cesma tune {file.stem} ")
    tuned = load_experiment(record["registered"])
    own = flatten(tuned.to_mapping())
    assert record["values"].keys() <= load_space(record["space"]).keys.keys()
    assert {key: own[key] for key in record["values"]} == record["values"]
    scores = record["scores"]
    assert len(scores["before"]) == len(scores["after"]) == len(record["seeds"]) >= 3
    assert record["study_seed"] not in record["seeds"]
    is_better = min(scores["after"]) > max(scores["before"])
    assert record["better_than_every_seed_before"] == is_better
    assert statistics.mean(scores["after"]) > statistics.mean(scores["before"])


def test_there_are_some():
    assert FILES
