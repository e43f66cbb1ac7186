"""Networks of a team, by visibility: feed-forward, recurrent, over entities, or your own; mixers."""
