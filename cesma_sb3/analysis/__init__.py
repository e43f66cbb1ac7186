"""Finished runs: comparisons, figures, the price of decentralization, pages, videos."""
