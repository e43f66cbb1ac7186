"""Comparison of experiments over seeds: statistics, tables and plots."""
