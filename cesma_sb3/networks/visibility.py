"""What a component of a network may see."""

from typing import Literal

Visibility = Literal["own", "joint"]
"""`own`: its own agent's observation; `joint`: the observations of the whole team."""
