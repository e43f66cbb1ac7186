"""Every imitation algorithm by its key, from an experiment to a run folder and back."""

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3.errors import ConfigError
from cesma_sb3.policies import MixturePolicy, SequencePolicy, TeamPolicy
from cesma_sb3.training.evaluate_run import evaluate_run

TINY = {
    "dagger": {"total_timesteps": 1_400, "n_envs": 4, "batch_size": 32},
    "students": {"hidden_sizes": [16, 16]},
    "evaluation": {"n_final_episodes": 12, "n_eval_episodes": 4, "eval_freq": 700, "n_envs": 4},
}
KINDS = {
    "bc": (TeamPolicy, {"final_updates": 5}),
    "forward-training": (SequencePolicy, {"updates_per_iteration": 2}),
    "smile": (MixturePolicy, {"n_iterations": 3, "updates_per_iteration": 5}),
    "searn": (MixturePolicy, {"n_iterations": 3, "updates_per_iteration": 5, "share": 0.5}),
}


@pytest.mark.parametrize("algorithm", KINDS)
def test_it_runs_and_is_measured_again(algorithm, tmp_path):
    kind, arguments = KINDS[algorithm]
    dagger = {**TINY["dagger"], "algorithm": algorithm, "algorithm_kwargs": arguments}
    result = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **{**TINY, "dagger": dagger})
    assert type(result.students) is kind
    assert result.report["parameters"]["students"]["agent"] > 0
    assert evaluate_run(result.run_dir)["return"] == pytest.approx(result.report["return"])
    agent = result.students.agent("agent_1")
    own = np.zeros(agent.spaces.observation_size, dtype=np.float32)
    assert agent.predict(own, deterministic=True)[0] in range(5)


def test_arguments_of_another_algorithm_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'n_iterations'"):
        cesma_sb3.load_experiment(
            "spread-3-gumbel-softmax",
            {"dagger.algorithm": "smile", "dagger.algorithm_kwargs": {"n_iteration": 3}},
        )
    with pytest.raises(ConfigError, match=r"dagger.beta: expected none, for bc says itself who acts"):
        cesma_sb3.load_experiment(
            "spread-3-gumbel-softmax", {"dagger.algorithm": "bc", "dagger.beta.schedule": "linear"}
        )
