"""Runs on a GPU, where there is one: CUDA_VISIBLE_DEVICES=0 make test ARGS=tests/faults/test_gpu.py"""

import json

import pytest
import torch as th
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ConfigError
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.faults.interrupted import results, run_in_pieces
from tests.faults.test_resume import EVALUATION, RUNS

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to run PPO on the GPU:UserWarning")
GPU = th.cuda.is_available()
on_a_gpu = pytest.mark.skipif(not GPU, reason="no GPU here, or none in CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("device", "is_here"), [("cuda", GPU), ("mps", th.backends.mps.is_available())])
def test_a_device_that_is_not_here_is_told_before_anything_is_trained(device, is_here, tmp_path):
    if is_here:
        pytest.skip(f"{device} is here")
    for name in ("spread-3", "spread-3-scripted", "spread-3-maddpg"):
        with pytest.raises(ConfigError, match=f"^device: {device} is not here, expected cpu or auto"):
            cesma_sb3.run(name, out=tmp_path / "run", device=device)
        assert not (tmp_path / "run").exists()


@on_a_gpu
@pytest.mark.parametrize("kind", RUNS)
def test_interrupted_runs_on_a_gpu_end_as_whole_ones(kind, tmp_path):
    name, values = RUNS[kind]
    whole = cesma_sb3.run(
        name, out=tmp_path / "whole", device="cuda", **{**values, "checkpoint.save_freq": None}
    )
    policy = whole.students
    assert policy.device.type == "cuda"
    run_in_pieces(name, tmp_path / "pieces", device="cuda", **values)
    assert results(tmp_path / "whole") == results(tmp_path / "pieces")
    # What is loaded acts on the processor, with sums in another order.
    for run in ("whole", "pieces"):
        report = json.loads((tmp_path / run / "report.json").read_text())
        for who, found in evaluate_run(tmp_path / run)["return"].items():
            assert found == pytest.approx(report["return"][who], rel=0.05)


@on_a_gpu
def test_a_controller_on_a_gpu_is_decentralized_on_either(tmp_path):
    model = PPO("MlpPolicy", ParticleVecEnv(Spread(3), 8, seed=0), n_steps=8, batch_size=64, device="cuda")
    env = {"id": "spread", "kwargs": {"n_agents": 3}}
    small = {"dagger.n_envs": 8, "dagger.batch_size": 32, "evaluation": EVALUATION}
    for device in ("cpu", "cuda", "auto"):
        result = cesma_sb3.decentralize(
            model, env, total_timesteps=400, out=tmp_path / device, device=device, **small
        )
        assert result.students.device.type == ("cpu" if device == "cpu" else "cuda")
