"""Every published number, with the command that makes it: `python -m benchmarks NAME --json`."""
