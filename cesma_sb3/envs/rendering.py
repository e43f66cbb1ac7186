"""Render modes of environments, and what they render as RGB pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cesma_sb3.errors import EnvError
from cesma_sb3.spaces.types import Pixels

RGB = "rgb_array"


def render_mode_of(env: Any) -> str | None:
    """The render mode of an environment, found beneath wrappers too."""
    modes = (getattr(layer, "render_mode", None) for layer in _layers(env))
    return next((mode for mode in modes if mode is not None), None)


def can_render_rgb(env: Any) -> bool:
    """Whether the metadata of an environment or of one that it wraps lists the render mode `rgb_array`."""
    return any(RGB in _modes(layer) for layer in _layers(env))


def set_rgb_mode(env: Any) -> None:
    """Sets the render mode `rgb_array` of an environment that has it, where another one is set."""
    if render_mode_of(env) == RGB or not can_render_rgb(env):
        return
    for layer in _layers(env):
        with contextlib.suppress(AttributeError):  # a wrapper's property, which reads the next layer's
            layer.render_mode = RGB


def to_rgb(rendered: Any, name: str) -> Pixels:
    """A rendered frame as [height, width, 3] uint8.

    Accepts grayscale and alpha channels (on white), floats from 0 to 1 or to 255, and lists of frames, whose
    last one counts.

    Args:
        rendered: What `render` returned.
        name: The environment's name in messages.

    Raises:
        EnvError: It is no frame.
    """
    if isinstance(rendered, list | tuple) and rendered and isinstance(rendered[-1], np.ndarray):
        rendered = rendered[-1]
    found = np.asarray(rendered)
    shape = (*found.shape, 1) if found.ndim == 2 else found.shape
    if found.dtype.kind not in "buif" or len(shape) != 3 or shape[2] not in {1, 3, 4} or 0 in shape:
        what = "None" if rendered is None else f"{type(rendered).__name__} of shape {list(found.shape)}"
        raise EnvError(f"{name}: gives no pictures: render returned {what}, expected [height, width, 3]")
    if found.dtype == np.uint8 and shape[2] == 3:
        return found.copy()
    pixels = np.nan_to_num(found.reshape(shape).astype(np.float64))
    if found.dtype.kind in "bf" and pixels.max() <= 1.0:
        pixels *= 255.0
    pixels = np.clip(pixels, 0.0, 255.0)
    if shape[2] == 4:
        opacity = pixels[..., 3:] / 255.0
        pixels = pixels[..., :3] * opacity + 255.0 * (1.0 - opacity)
    return np.broadcast_to(np.rint(pixels).astype(np.uint8), (*shape[:2], 3)).copy()


def _layers(env: Any) -> Iterator[Any]:
    """An environment and those that it wraps, from the outermost."""
    seen: list[Any] = []
    while env is not None and not any(env is layer for layer in seen):
        seen.append(env)
        yield env
        own = getattr(env, "__dict__", {})
        env = own.get("env", own.get("aec_env")) or getattr(env, "unwrapped", None)


def _modes(env: Any) -> tuple[str, ...]:
    metadata = getattr(env, "metadata", None)
    if not isinstance(metadata, Mapping):
        return ()
    return tuple(metadata.get("render_modes") or metadata.get("render.modes") or ())
