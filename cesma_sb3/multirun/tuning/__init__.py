"""Search for better values of an experiment, with Optuna."""
