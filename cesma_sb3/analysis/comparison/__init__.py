"""Several runs of several experiments: statistics, tables and plots."""
