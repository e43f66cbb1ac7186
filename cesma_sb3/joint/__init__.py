"""The seam between many agents and one."""
