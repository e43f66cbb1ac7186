"""Tools that know nothing of teams: files written whole, processes, signals, progress, plots."""
