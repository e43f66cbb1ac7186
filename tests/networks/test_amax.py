"""`amax` is PyTorch's, values and gradients alike."""

import pytest
import torch as th

from cesma_sb3.policies.networks.amax import amax


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_values_and_gradients_are_pytorchs(dim):
    th.manual_seed(0)
    x = th.randn(4, 5, 6, dtype=th.float64).round(decimals=0).requires_grad_()  # many equal maxima
    weights = th.randn(x.amax(dim, keepdim=True).shape, dtype=th.float64)
    found, expected = amax(x, dim), x.amax(dim, keepdim=True)
    assert th.equal(found, expected)
    gradients = [th.autograd.grad((each * weights).sum(), x)[0] for each in (found, expected)]
    th.testing.assert_close(*gradients)


def test_without_gradients_it_is_the_plain_operation():
    x = th.randn(3, 4, requires_grad=True)
    with th.no_grad():
        assert th.equal(amax(x, 1), x.amax(1, keepdim=True))
    assert not amax(x.detach(), 1).requires_grad
