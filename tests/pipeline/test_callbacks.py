"""Callbacks that an experiment names are called in each stage of training, as SB3 calls them."""

import pytest
from stable_baselines3.common.callbacks import BaseCallback

import cesma_sb3
from cesma_sb3.errors import CesmaError
from cesma_sb3.policies import load_team
from tests.shared_runs import RUNS

CALLED = []
NAME, SMALL = RUNS["small"]


class Recorder(BaseCallback):
    """Writes down what it is called with; ends the training of students after `at_most` calls."""

    def __init__(self, label="", at_most=10**9):
        super().__init__()
        self.label = label
        self.at_most = at_most

    def _on_training_start(self):
        CALLED.append((self.label, "start", type(self.model).__name__, self.training_env.num_envs))

    def _on_step(self):
        CALLED.append((self.label, "step", self.num_timesteps))
        self.logger.record("mine/calls", self.n_calls)
        return self.n_calls < self.at_most

    def _on_training_end(self):
        CALLED.append((self.label, "end", self.num_timesteps))


def callback(**kwargs):
    return {"name": f"{__name__}:Recorder", "kwargs": kwargs}


def test_every_stage_calls_them(tmp_path):
    CALLED.clear()
    only = {**callback(label="fine"), "stages": ["fine-tuning"]}
    fine_tuning = {"total_timesteps": 32, "n_envs": 4, "kwargs": {"n_steps": 4, "batch_size": 16}}
    changes = {"callbacks": [callback(label="all"), only], "fine_tuning": fine_tuning}
    cesma_sb3.run(NAME, overrides={**SMALL, **changes, "dagger.experience": None}, out=tmp_path / "run")
    everywhere = [call[1:] for call in CALLED if call[0] == "all"]
    starts = [call[1:] for call in everywhere if call[0] == "start"]
    assert starts == [("ExpectedDDPG", 8), ("TrainerModel", 8), ("FineTuningPPO", 4)]
    ends = [call[1] for call in everywhere if call[0] == "end"]
    assert ends == [64, 128, 32]
    steps = [call[1] for call in everywhere if call[0] == "step"]
    assert steps == [*range(8, 65, 8), *range(8, 129, 8), *range(4, 33, 4)]
    assert {call[1] for call in CALLED if call[0] == "fine"} == {"start", "step", "end"}
    assert sum(call[:2] == ("fine", "start") for call in CALLED) == 1
    columns = (tmp_path / "run" / "logs" / "students" / "progress.csv").read_text().split("\n")[0]
    assert "mine/calls" in columns.split(",")


def test_one_ends_the_training_of_students_who_need_no_timestep(tmp_path):
    CALLED.clear()
    changes = {
        "dagger": {"total_timesteps": 0, "experience": {"n_updates": 9}},
        "callbacks": [{**callback(at_most=3), "stages": ["students"]}],
    }
    result = cesma_sb3.run(NAME, overrides={**SMALL, **changes}, out=tmp_path / "run")
    assert [call[1] for call in CALLED] == ["start", "step", "step", "step", "end"]
    assert result.report["updates"]["decentralize"] == 3


class Saver(BaseCallback):
    """Uses what a callback may use of its model."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def _on_step(self):
        observations = self.training_env.reset()
        before, _ = self.model.predict(observations, deterministic=True)
        self.model.save(self.folder)
        after, _ = load_team(self.folder).predict(observations, deterministic=True)
        assert (before == after).all()
        assert self.locals["progress"].timesteps == self.num_timesteps == self.model.num_timesteps
        return False


def test_it_has_the_students_as_its_model(tmp_path):
    saver = {"name": f"{__name__}:Saver", "kwargs": {"folder": str(tmp_path / "team")}}
    changes = {"callbacks": [{**saver, "stages": ["students"]}], "dagger.experience": None}
    cesma_sb3.run(NAME, overrides={**SMALL, **changes}, out=tmp_path / "run")
    assert (tmp_path / "team").is_dir()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": f"{__name__}:Recoder"}, "callbacks.0.name: .* did you mean 'Recorder'"),
        ({"name": "torch.nn:Linear"}, "callbacks.0.name: .* expected a subclass of BaseCallback"),
        ({"name": "no_such_module:X"}, "callbacks.0.name: .* cannot import 'no_such_module'"),
        (callback(at_mots=3), "callbacks.0.kwargs.at_mots: .*did you mean 'at_most'"),
        ({**callback(), "stages": ["student"]}, "callbacks.0.stages.0: .*'students'"),
        ({"name": f"{__name__}:Saver"}, "callbacks.0: .*missing .* 'folder'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_trains(given, message, tmp_path):
    with pytest.raises(CesmaError, match=message):
        cesma_sb3.run(NAME, overrides={**SMALL, "callbacks": [given]}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "expert").exists()
