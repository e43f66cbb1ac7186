"""The seam between many agents and one, as spaces and arrays: teams, layouts, views, communication."""
