"""`amax` with a faster backward pass, by which networks over entities sum up a group."""

from __future__ import annotations

from typing import Any

import torch as th


def amax(x: th.Tensor, dim: int) -> th.Tensor:
    """The maxima of floats over a dimension, which is kept: [..., n, ...] -> [..., 1, ...].

    As `torch.amax`, whose gradient is shared equally by equal maxima; three to four times as fast backward on
    a processor, where PyTorch counts the maxima as integers.
    """
    if th.is_grad_enabled() and x.requires_grad:
        maxima: th.Tensor = _Amax.apply(x, dim)  # type: ignore[no-untyped-call]  # PyTorch's has no annotations
        return maxima
    return x.amax(dim, keepdim=True)


class _Amax(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: th.Tensor, dim: int) -> th.Tensor:
        maxima = x.amax(dim, keepdim=True)
        ctx.save_for_backward(x, maxima)
        ctx.dim = dim
        return maxima

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, None]:
        x, maxima = ctx.saved_tensors
        share = th.eq(x, maxima, out=th.empty_like(x))  # floats at once, in place of flags
        return share.mul_(gradient / share.sum(ctx.dim, keepdim=True)), None
