"""Weights on disk: a tensor with several names is written once, and loading gives each name its values."""

import json

import pytest
import torch as th
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from cesma_sb3.errors import StorageError
from cesma_sb3.policies.save_util import load_weights, weights


class Tied(nn.Module):
    """One layer with two names, tied weights, a part of a tensor as a buffer, and an empty one."""

    def __init__(self, tied=True):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = self.first if tied else nn.Linear(3, 3)
        self.last = nn.Linear(3, 3, bias=False)
        if tied:
            self.last.weight = self.first.weight
        table = th.arange(6.0)
        self.register_buffer("whole", table)
        self.register_buffer("part", table[2:4])
        self.register_buffer("none", th.zeros(0))
        self.register_buffer("nothing", th.zeros(0))


def written(module, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights(module))
    return path


def test_a_shared_tensor_is_written_once(tmp_path):
    with safe_open(written(Tied(), tmp_path), framework="pt") as file:
        names = {"first.weight", "first.bias", "whole", "part", "none", "nothing"}
        assert set(file.keys()) == names
        shared = {
            "second.weight": "first.weight",
            "second.bias": "first.bias",
            "last.weight": "first.weight",
        }
        assert json.loads(file.metadata()["shared"]) == shared


@pytest.mark.parametrize("tied", [True, False])
def test_every_name_has_its_values_again(tmp_path, tied):
    """Also in a module whose layers are no longer the same."""
    saved, loaded = Tied(), Tied(tied)
    load_weights(loaded, written(saved, tmp_path))
    for name, value in saved.state_dict().items():
        assert th.equal(loaded.state_dict()[name], value)
    assert (loaded.first is loaded.second) is tied


def test_what_shares_nothing_is_written_as_ever(tmp_path):
    module = nn.Linear(2, 2)
    path = written(module, tmp_path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() is None
    other = nn.Linear(2, 2)
    load_weights(other, path)
    assert th.equal(other.weight, module.weight)


@pytest.mark.parametrize("shared", ["[]", '{"bias": "nowhere"}', "{", '{"bias": 3}'])
def test_a_file_with_other_names_is_refused(tmp_path, shared):
    path = tmp_path / "weights.safetensors"
    save_file({"weight": th.zeros(2, 2)}, path, {"shared": shared})
    with pytest.raises(StorageError, match=r"weights.safetensors: cannot be read: ") as caught:
        load_weights(nn.Linear(2, 2), path)
    assert "\n" not in str(caught.value)


def test_state_that_is_no_tensor_is_refused():
    class Counts(nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

    with pytest.raises(StorageError) as caught:
        weights(Counts(2, 2))
    assert str(caught.value) == "Counts: _extra_state of its state_dict(): dict, expected a tensor"
