"""Feed-forward networks side by side: one batched product for a whole team.

A learner for a team is a set of *components*, each of which sees some of the joint observation and gives some
of the joint output. What a component may see is its visibility: a component that sees one agent's slice is
that agent's decentralized network, a single component that sees everything is a centralized one. `TeamNet`
evaluates all components in one batched matrix product, whatever their sizes.

Shape suffixes: B batch, I inputs (of the whole net), N components, F features a component sees (padded to the
largest), O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn
from torch.nn import functional as F


class BatchedLinear(nn.Module):
    """`N` linear maps applied at once.

    Args:
        fan_in: What each map really reads; columns beyond it are padding, and their weights stay zero.
        fan_out: What each map really gives; outputs beyond it are padding and stay zero.

    Call: x [N, B, max(fan_in)] float32 -> [N, B, max(fan_out)] float32.
    """

    def __init__(self, fan_in: Sequence[int], fan_out: Sequence[int]) -> None:
        super().__init__()
        n_maps, n_in, n_out = len(fan_in), max(fan_in), max(fan_out)
        self.n_real = sum((real_in + 1) * real_out for real_in, real_out in zip(fan_in, fan_out, strict=True))
        """Weights and biases that are no padding."""
        self.weight = nn.Parameter(th.zeros(n_maps, n_in, n_out))
        self.bias = nn.Parameter(th.zeros(n_maps, 1, n_out))
        with th.no_grad():
            # torch.nn.Linear's own initialization, by the fan-in that is real and not the padded one.
            for index, (real_in, real_out) in enumerate(zip(fan_in, fan_out, strict=True)):
                bound = 1.0 / math.sqrt(max(real_in, 1))
                self.weight[index, :real_in, :real_out].uniform_(-bound, bound)
                self.bias[index, :, :real_out].uniform_(-bound, bound)

    def forward(self, x_NBF: th.Tensor) -> th.Tensor:
        """Each map of its own input: [N, B, max(fan_in)] -> [N, B, max(fan_out)]."""
        return th.baddbmm(self.bias, x_NBF, self.weight)


def check_components(visible: Sequence[Sequence[int]], output_sizes: Sequence[int]) -> None:
    """Raise a ValueError unless there are inputs and outputs for each component."""
    if len(visible) != len(output_sizes):
        raise ValueError(
            f"{len(visible)} inputs for {len(output_sizes)} outputs: one of each for a component"
        )


def padded_columns(visible: Sequence[Sequence[int]]) -> th.Tensor:
    """Columns that each component reads, [N, F] int64; padding is -1, an extra column that is always zero."""
    widest = max(len(columns) for columns in visible)
    return th.tensor([[*columns, *[-1] * (widest - len(columns))] for columns in visible])


def real_outputs(output_sizes: Sequence[int]) -> th.Tensor:
    """Places of the outputs that are no padding among N times the most outputs, [sum(output_sizes)] int64."""
    most = max(output_sizes)
    return th.tensor([n * most + o for n, size in enumerate(output_sizes) for o in range(size)])


def is_in_order(visible: Sequence[Sequence[int]]) -> bool:
    """Whether components read as many columns each, one after the other: then their inputs need no copy."""
    places = [column for columns in visible for column in columns]
    sizes = {len(columns) for columns in visible}
    return bool(places) and len(sizes) == 1 and places == list(range(len(places)))


def places_among(seen: Sequence[int], inputs: Sequence[int]) -> list[int]:
    """Where each column that a component sees stands among the columns that it gets."""
    places = {column: place for place, column in enumerate(inputs)}
    return [places[column] for column in seen]


class TeamNet(nn.Module):
    """Networks side by side, each reading some columns of one flat input.

    Args:
        visible: For each component, the indices of the input that it sees.
        output_sizes: For each component, how many outputs it gives. The outputs stand one after the other.
        hidden_sizes: Hidden layers, the same for each component.
        activation: Module class put after each hidden layer.
        share_parameters: One set of weights for all components; each input then carries the component's
            one-hot number, so that alike agents can still take different roles (Gupta et al., 2017).

    Call: x [B, I] float32 -> [B, sum(output_sizes)] float32.

    Source: section 4.3: "a single neural network with disconnected components, each corresponding to one of
        the agents".
    """

    def __init__(
        self,
        visible: Sequence[Sequence[int]],
        output_sizes: Sequence[int],
        *,
        hidden_sizes: Sequence[int] = (128, 128),
        activation: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
    ) -> None:
        super().__init__()
        check_components(visible, output_sizes)
        self.n_components = len(visible)
        self.visible = tuple(tuple(columns) for columns in visible)
        self.output_sizes = tuple(output_sizes)
        self.hidden_sizes = tuple(hidden_sizes)
        self.activation = activation
        self.share_parameters = share_parameters and self.n_components > 1
        n_ids = self.n_components if self.share_parameters else 0
        self.register_buffer("_gather", padded_columns(visible), persistent=False)
        self.register_buffer("_real_outputs", real_outputs(output_sizes), persistent=False)
        self.register_buffer("_ids", th.eye(n_ids).unsqueeze(1), persistent=False)
        self._is_in_order = is_in_order(visible)

        fan_in, fan_out = [len(columns) for columns in self.visible], list(self.output_sizes)
        if self.share_parameters:  # one network must fit the largest member of the team
            fan_in, fan_out = [max(fan_in) + n_ids], [max(fan_out)]
        widths = [fan_in, *([size] * len(fan_in) for size in self.hidden_sizes), fan_out]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [BatchedLinear(before, after), activation()]
        self.layers = nn.Sequential(*layers[:-1])  # no activation after the last map

    _gather: th.Tensor
    _real_outputs: th.Tensor
    _ids: th.Tensor

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Outputs of all components, one after the other: [B, I] -> [B, sum(output_sizes)]."""
        return self._outputs(self._gathered(x_BI))

    def forward_per_component(self, x_NBI: th.Tensor) -> th.Tensor:
        """Outputs of all components from an input for each: [N, B, I] -> [B, sum(output_sizes)] float32."""
        padded = F.pad(x_NBI, (0, 1))
        columns = self._gather.unsqueeze(1).expand(-1, x_NBI.shape[1], -1)
        return self._outputs(padded.gather(2, columns))

    def _outputs(self, x_NBF: th.Tensor) -> th.Tensor:
        """What the components see [N, B, F] -> their outputs one after the other, [B, sum(output_sizes)]."""
        batch = x_NBF.shape[1]
        if self.share_parameters:
            with_ids = th.cat([x_NBF, self._ids.expand(-1, batch, -1)], dim=2)
            x_NBF = with_ids.reshape(1, self.n_components * batch, -1)
        outputs_NBO: th.Tensor = self.layers(x_NBF)
        if self.share_parameters:
            outputs_NBO = outputs_NBO.view(self.n_components, batch, -1)
        outputs_BO = outputs_NBO.transpose(0, 1).reshape(batch, -1)
        if len(set(self.output_sizes)) == 1:
            return outputs_BO
        return outputs_BO[:, self._real_outputs]

    def _gathered(self, x_BI: th.Tensor) -> th.Tensor:
        """What each component sees: [N, B, F]."""
        batch = x_BI.shape[0]
        if self._is_in_order and x_BI.shape[1] == self._gather.numel():  # no copy
            return x_BI.view(batch, self.n_components, -1).transpose(0, 1)
        padded = th.cat([x_BI, x_BI.new_zeros(batch, 1)], dim=1)
        return padded[:, self._gather].transpose(0, 1)

    def clip_grad_norm_(self, max_norm: float) -> None:
        """Clip the norm of each component's gradient by itself, as independent learners do.

        With shared parameters there is one gradient, and one norm.

        Args:
            max_norm: Above 0.
        """
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        if not gradients:
            return
        norms_N = th.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scales_N = (max_norm / (norms_N + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scales_N.view(-1, 1, 1))

    def component(self, index: int, inputs: Sequence[int] | None = None) -> nn.Sequential:
        """One component alone, as a plain network.

        Args:
            index: Which.
            inputs: The columns of the whole input that it gets, at least those that it sees; None: these.

        Returns:
            Linear layers and activations: [B, len(inputs)] float32 -> [B, output_sizes[index]] float32.
        """
        linears = [layer for layer in self.layers if isinstance(layer, BatchedLinear)]
        row = 0 if self.share_parameters else index
        seen, n_given = self.visible[index], self.output_sizes[index]
        inputs = seen if inputs is None else inputs
        places = places_among(seen, inputs)
        modules: list[nn.Module] = []
        for depth, batched in enumerate(linears):
            weight, bias = batched.weight[row].detach(), batched.bias[row, 0].detach()
            if depth == 0:
                if self.share_parameters:  # its one-hot number is constant: fold it into the bias
                    bias = bias + weight[weight.shape[0] - self.n_components + index]
                read = weight[: len(seen)]
                weight = weight.new_zeros(len(inputs), weight.shape[1])
                weight[places] = read
            if depth == len(linears) - 1:
                weight, bias = weight[:, :n_given], bias[:n_given]
            linear = nn.Linear(weight.shape[0], weight.shape[1])
            linear.weight.data.copy_(weight.T)
            linear.bias.data.copy_(bias)
            modules += [linear, self.activation()]
        return nn.Sequential(*modules[:-1])
