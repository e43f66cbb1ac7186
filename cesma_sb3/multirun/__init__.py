"""Many runs: planned, in processes or on a Ray cluster; sweeps, and studies of Optuna."""
