"""Types of the arrays that pass between environments, experts and teams.

Letters in the shapes: B environments, I entries of a joint observation, C columns of a packed joint action, M
categories of all its discrete columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]  # a frame [height, width, 3]
Observations = npt.NDArray[np.float32]  # joint observations [B, I]
Masks = npt.NDArray[np.bool_]  # available categories [B, M]
Packed = npt.NDArray[np.int64] | npt.NDArray[np.float32]  # packed joint actions [B, C]
Space = spaces.Space[Any]
Info = dict[str, Any]
Actor = Callable[[Observations, Masks | None], Packed]  # joint observations and masks to packed actions
