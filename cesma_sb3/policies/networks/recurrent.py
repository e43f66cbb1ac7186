"""Recurrent networks side by side: a linear layer, a GRU and a linear layer for each component of a team.

Shape suffixes: T timesteps, B batch, R rows of all timesteps, I inputs (of the whole net), N components,
F features a component sees (padded to the largest), H hidden units, S entries of the state, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch as th
from torch import nn
from torch.nn import functional as F

from cesma_sb3.policies.networks.feed_forward import (
    check_components,
    is_in_order,
    padded_columns,
    places_among,
    real_outputs,
)
from cesma_sb3.policies.stateful_actor import DeviceState


class RecurrentTeamNet(nn.Module):
    """Components with a memory, each reading some columns of one flat input.

    A component is linear, activation, GRU, linear. All of them, and all timesteps, go through the linear maps
    at once; only the GRU goes step by step.

    Args:
        visible: For each component, the indices of the input that it sees.
        output_sizes: For each component, how many outputs it gives. The outputs stand one after the other.
        hidden_size: H (the paper's and PyMARL's: 64).
        activation: Module class after the first map.
        share_parameters: One set of weights for all components; each input then carries the component's
            one-hot number, as in the paper. False: each has its own.

    Call: x [B, I] float32 -> [B, sum(output_sizes)], as if it were an episode's first step.

    Source: appendix E.1; Samvelyan et al. (2019).
    """

    def __init__(
        self,
        visible: Sequence[Sequence[int]],
        output_sizes: Sequence[int],
        *,
        hidden_size: int = 64,
        activation: type[nn.Module] = nn.ReLU,
        share_parameters: bool = True,
    ) -> None:
        super().__init__()
        check_components(visible, output_sizes)
        self.n_components = len(visible)
        self.visible = tuple(tuple(columns) for columns in visible)
        self.output_sizes = tuple(output_sizes)
        self.hidden_size = hidden_size
        self.share_parameters = share_parameters and self.n_components > 1
        widest, most = max(len(columns) for columns in visible), max(output_sizes)
        n_ids = self.n_components if self.share_parameters else 0
        n_sets = 1 if self.share_parameters else self.n_components
        self.encode = nn.ModuleList([nn.Linear(widest + n_ids, hidden_size) for _ in range(n_sets)])
        self.remember = nn.ModuleList([nn.GRU(hidden_size, hidden_size) for _ in range(n_sets)])
        self.decode = nn.ModuleList([nn.Linear(hidden_size, most) for _ in range(n_sets)])
        self.activation = activation()
        # With many agents, copies of inputs would take longer than all that is computed.
        self._is_in_order = is_in_order(visible)
        self.register_buffer("_gather", padded_columns(visible), persistent=False)
        self._has_no_padding = len(set(output_sizes)) == 1
        self.register_buffer("_real_outputs", real_outputs(output_sizes), persistent=False)
        self.register_buffer("_ids", th.eye(n_ids), persistent=False)

    activation: nn.Module
    _gather: th.Tensor
    _real_outputs: th.Tensor
    _ids: th.Tensor

    @property
    def state_size(self) -> int:
        """S: the hidden units of all components."""
        return self.n_components * self.hidden_size

    def initial_state(self, batch: int) -> th.Tensor:
        """The state before an episode's first step, [B, S]: zeros."""
        return self._ids.new_zeros(batch, self.state_size)

    def carried(
        self,
        state: DeviceState | None,
        episode_start: npt.NDArray[np.bool_] | None,
        batch: int,
    ) -> th.Tensor:
        """The hidden state [B, S] from the arguments of `predict`: zeros where an episode begins."""
        if state is None:
            return self.initial_state(batch)
        carried = th.as_tensor(state[0], device=self._ids.device).float().reshape(batch, self.state_size)
        if episode_start is None:
            return carried
        starts = th.as_tensor(episode_start, device=carried.device).reshape(batch, 1)
        return carried.masked_fill(starts, 0.0)

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Outputs [B, sum(output_sizes)] as if the inputs [B, I] were those of an episode's first step."""
        return self.step(x_BI, self.initial_state(len(x_BI)))[0]

    def step(self, x_BI: th.Tensor, state_BS: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """One timestep: inputs [B, I] and the state [B, S] to outputs [B, O] and the next state [B, S]."""
        outputs_TBO, state_BS = self.unroll(x_BI.unsqueeze(0), state_BS)
        return outputs_TBO[0], state_BS

    def unroll(self, x_TBI: th.Tensor, state_BS: th.Tensor | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Many timesteps of the same episodes.

        Args:
            x_TBI: Inputs in the order of time.
            state_BS: The state before the first; None: the episodes begin there.

        Returns:
            Outputs [T, B, sum(output_sizes)], and the state after the last step [B, S].
        """
        n_steps, batch, _ = x_TBI.shape
        state_BS = self.initial_state(batch) if state_BS is None else state_BS
        seen_TBNF = self._seen(x_TBI)
        state_NBH = state_BS.view(batch, self.n_components, self.hidden_size).transpose(0, 1)
        if self.share_parameters:
            rows = self._encoded(seen_TBNF).transpose(1, 2).flatten(1, 2)  # [T, N * B, H]
            outputs, state = self._component(0, rows, state_NBH.flatten(0, 1))
            outputs_TBNO = outputs.view(n_steps, self.n_components, batch, -1).transpose(1, 2)
            state_NBH = state.view(self.n_components, batch, -1)
        else:
            each = [
                self._component(n, self.encode[n](seen_TBNF[:, :, n]), state_NBH[n])
                for n in range(self.n_components)
            ]
            outputs_TBNO = th.stack([outputs for outputs, _ in each], dim=2)
            state_NBH = th.stack([state for _, state in each])
        return self._real(outputs_TBNO), state_NBH.transpose(0, 1).reshape(batch, -1)

    def unroll_packed(self, x_RI: th.Tensor, sizes: Sequence[int]) -> th.Tensor:
        """All timesteps of episodes of different lengths, from their first on.

        Args:
            x_RI: Inputs: of all episodes in their first timestep, then of those with a second, and so on; in
                every timestep in the same order.
            sizes: How many episodes each timestep has: T numbers of the sum R that never rise, as
                `batch_sizes` of PyTorch's `PackedSequence`. Timesteps in a row that have the same number take
                least time.

        Returns:
            Outputs [R, sum(output_sizes)].
        """
        seen_RNF = self._seen(x_RI.unsqueeze(0))[0]
        if self.share_parameters:
            encoded_RNH = self._encoded(seen_RNF)
            rows = self._remembered(0, encoded_RNH.flatten(0, 1), [self.n_components * n for n in sizes])
            outputs_RNO = rows.view(len(x_RI), self.n_components, -1)
        else:
            each = [
                self._remembered(n, self.encode[n](seen_RNF[:, n]), sizes) for n in range(self.n_components)
            ]
            outputs_RNO = th.stack(each, dim=1)
        return self._real(outputs_RNO)

    def _real(self, outputs: th.Tensor) -> th.Tensor:
        """The outputs of all components one after the other, without padding: [..., N, O] -> [..., sum]."""
        flat = outputs.flatten(-2)
        return flat if self._has_no_padding else flat[..., self._real_outputs]

    def _remembered(self, index: int, encoded_RH: th.Tensor, sizes: Sequence[int]) -> th.Tensor:
        """One component over packed timesteps: [R, H] -> [R, O]."""
        blocks = [(size, len(list(steps))) for size, steps in groupby(sizes)]
        inputs = self.activation(encoded_RH).split([size * n_steps for size, n_steps in blocks])
        state, hidden = None, []
        for (size, n_steps), rows in zip(blocks, inputs, strict=True):
            # PyTorch's own packed form calls the network for every timestep, whose gradient takes long.
            state = None if state is None else state[:, :size].contiguous()
            outputs, state = self.remember[index](rows.view(n_steps, size, -1), state)
            hidden.append(outputs.flatten(0, 1))
        decoded: th.Tensor = self.decode[index](th.cat(hidden))
        return decoded

    def _encoded(self, seen: th.Tensor) -> th.Tensor:
        """The first map of shared weights: [..., N, F] -> [..., N, H]."""
        encode, widest = _linear(self.encode, 0), self._gather.shape[1]
        encoded = F.linear(seen, encode.weight[:, :widest], encode.bias)
        return encoded + encode.weight[:, widest:].T  # a one-hot number picks a column

    def unroll_rollout(self, x_TBI: th.Tensor, state_BS: th.Tensor, starts_TB: th.Tensor) -> th.Tensor:
        """Many timesteps of environments in which episodes begin at any time.

        All episodes, and the ends of those that were under way, are unrolled side by side.

        Args:
            x_TBI: Inputs in the order of time.
            state_BS: The state before the first.
            starts_TB: Where episodes begin, bool.

        Returns:
            Outputs [T, B, sum(output_sizes)].
        """
        n_steps, batch, n_inputs = x_TBI.shape
        begins_TB = starts_TB.clone()
        begins_TB[0] = True
        times_T1 = th.arange(n_steps, device=x_TBI.device).unsqueeze(1)
        # Of each timestep, which episode it belongs to (counted over all environments), and its time in that.
        episodes_TB = (begins_TB.T.flatten().cumsum(0) - 1).view(batch, n_steps).T
        ages_TB = times_T1 - th.where(begins_TB, times_T1, 0).cummax(dim=0).values
        inputs = x_TBI.new_zeros(int(ages_TB.max()) + 1, int(episodes_TB.max()) + 1, n_inputs)
        inputs[ages_TB, episodes_TB] = x_TBI
        state = self.initial_state(inputs.shape[1])
        state[episodes_TB[0]] = state_BS.masked_fill(starts_TB[0].unsqueeze(1), 0.0)
        return self.unroll(inputs, state)[0][ages_TB, episodes_TB]

    def _seen(self, x_TBI: th.Tensor) -> th.Tensor:
        """What each component sees, [T, B, N, F]."""
        if self._is_in_order and x_TBI.shape[-1] == self._gather.numel():
            n_steps, batch, _ = x_TBI.shape
            return x_TBI.reshape(n_steps, batch, *self._gather.shape)
        return F.pad(x_TBI, (0, 1))[..., self._gather]

    def _component(
        self, index: int, encoded_TBH: th.Tensor, state_BH: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        encoded = self.activation(encoded_TBH)
        hidden, state = self.remember[index](encoded, state_BH.unsqueeze(0).contiguous())
        return self.decode[index](hidden), state[0]

    def component(self, index: int, inputs: Sequence[int] | None = None) -> RecurrentTeamNet:
        """One component alone: [B, len(inputs)] -> [B, output_sizes[index]].

        With shared weights, the input that carried the agent's number becomes part of the first map's bias.

        Args:
            index: Which.
            inputs: The columns of the whole input that it gets, at least those that it sees; None: these.
        """
        seen = self.visible[index]
        alone = RecurrentTeamNet(
            [places_among(seen, seen if inputs is None else inputs)],
            [self.output_sizes[index]],
            hidden_size=self.hidden_size,
            activation=type(self.activation),
            share_parameters=False,
        )
        which = 0 if self.share_parameters else index
        encode, decode = _linear(self.encode, which), _linear(self.decode, which)
        own, last = _linear(alone.encode, 0), _linear(alone.decode, 0)
        n_inputs, n_outputs = len(seen), self.output_sizes[index]
        with th.no_grad():
            own.weight.copy_(encode.weight[:, :n_inputs])
            own.bias.copy_(encode.bias)
            if self.share_parameters:
                own.bias.add_(encode.weight[:, self._gather.shape[1] + index])
            last.weight.copy_(decode.weight[:n_outputs])
            last.bias.copy_(decode.bias[:n_outputs])
        alone.remember[0].load_state_dict(self.remember[which].state_dict())
        return alone


def step_network(
    network: nn.Module,
    inputs: th.Tensor,
    state: DeviceState | None,
    episode_start: npt.NDArray[np.bool_] | None,
) -> tuple[th.Tensor, DeviceState | None]:
    """One timestep of a network with or without a memory, with the arguments of SB3's `predict`.

    Args:
        network: A `RecurrentTeamNet`, or any module without a memory.
        inputs: [B, I] float32.
        state: What the call of the step before returned, ([B, S] float32,), or arrays of it; None: an episode
            begins.
        episode_start: Where an episode begins with these inputs, [B] bool.

    Returns:
        Outputs [B, O], and the state for the next step, which stays on the device; without a memory, `state`
        as it came.
    """
    if not isinstance(network, RecurrentTeamNet):
        return network(inputs), state
    outputs, carried = network.step(inputs, network.carried(state, episode_start, len(inputs)))
    return outputs, (carried,)


def _linear(modules: nn.ModuleList, index: int) -> nn.Linear:
    module = modules[index]
    assert isinstance(module, nn.Linear)
    return module
