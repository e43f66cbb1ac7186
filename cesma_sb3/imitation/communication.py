"""Messages with gradients: what the current senders would have sent at the step before.

Shape suffixes: B batch, I entries of the joint observation, O network outputs, L received entries, C discrete
message columns, K categories (padded to the largest), N agents.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch as th
from torch.nn import functional as F

from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.imitation.settings import MessageConfig
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.spaces.communication import MessageChannel, message_columns
from cesma_sb3.utils.stateful import Stateful


class Communication(Stateful):
    """Messages of the current senders in the observations of a batch.

    The losses of the receivers then reach the senders through what is received, all in one backward pass. For
    agents with weights of their own, the gradient of the sum of the agents' losses is that of Algorithm 2's
    loop, agent by agent: let l_j(w_j, m) be the action loss of agent j and m_i(w_i) the message of agent i.
    The loop gives agent i

        d l_i / d w_i  +  1 / (M - 1) * sum over j != i of (d l_j / d m_i) (d m_i / d w_i),

    its action loss with the messages of the others held constant, and the communication loss through its own
    message. No l_i depends on m_i, and m_i depends on no other agent's weights, because the messages inside
    the *earlier* observation are those recorded. So both terms are the gradient of the sum of all l_j, once
    the gradient that passes through each message is divided by M - 1. Agents that share weights get the sum
    of these gradients. Where fewer than all others listen to an agent (`Topology`), that is how many do.

    All of this holds of agents with a memory, whose l_j and m_i are those of whole episodes: senders remember
    the recorded observations up to the message, receivers what they have received from the current senders.

    Args:
        channel: Who receives whose messages.
        head: Reads the networks' outputs.
        config: How messages are learned. An `entropy` of 0 is Algorithm 2 as written.
        generator: Draws the Gumbel noise; on the device of the outputs.

    Source: section 4.4, Figure 2, Algorithm 2; section 6.3 for the softmax as the bridge between discrete and
    continuous; Jang et al. (2017).
    """

    state_attributes = ("generator",)

    def __init__(
        self,
        channel: MessageChannel,
        head: ActionHead,
        config: MessageConfig,
        *,
        generator: th.Generator | None = None,
    ) -> None:
        self.channel = channel
        self.head = head
        self.config = config
        self.generator = generator
        self.temperature = config.temperature
        team = channel.team
        pairs = set(zip(channel.senders.tolist(), channel.receivers.tolist(), strict=True))
        listeners = Counter(sender for sender, _ in pairs)
        self._n_listeners_L = th.tensor([float(listeners[sender]) for sender in channel.senders.tolist()])
        self._places_L = th.from_numpy(channel.places)
        self._senders_L = th.from_numpy(channel.senders)
        is_message = message_columns(team)
        is_discrete = np.array(team.column_categories) > 0
        # Places among the head's categorical and among its continuous columns.
        self._discrete_C = th.from_numpy(np.flatnonzero(is_message[is_discrete]))
        self._continuous_D = th.from_numpy(np.flatnonzero(is_message[~is_discrete]))
        owners = np.repeat(np.arange(team.n_agents), [c.stop - c.start for c in team.action_columns])
        self._owners_C = th.from_numpy(owners[is_message & is_discrete])
        # Each received entry's place in what is sent: all categories of discrete columns, then the scalars.
        discrete = np.flatnonzero(is_message & is_discrete)
        continuous = np.flatnonzero(is_message & ~is_discrete)
        self._sources_L = th.from_numpy(
            np.where(
                channel.categories >= 0,
                np.searchsorted(discrete, channel.columns) * head.n_categories + channel.categories,
                len(discrete) * head.n_categories + np.searchsorted(continuous, channel.columns),
            )
        )
        if len(continuous):
            bounds: Any = team.action_space  # a Box wherever a column is continuous
            self._low, self._high = (
                th.as_tensor(bounds.low[continuous]),
                th.as_tensor(bounds.high[continuous]),
            )

    def set_progress(self, progress_remaining: float) -> None:
        """Set the temperature for the remaining progress, from 1 to 0."""
        passed = 1.0 - progress_remaining
        self.temperature = self.config.temperature * self.config.temperature_final**passed

    def observations(self, outputs_BO: th.Tensor, batch: Batch) -> th.Tensor:
        """The batch's observations with the messages of the current senders in them.

        Args:
            outputs_BO: The policy's network outputs on `batch.previous`.
            batch: With `previous` and `follows`.

        Returns:
            [B, I] float32. Messages of senders that were not there before (`follows` False) stay as recorded.
        """
        assert batch.follows is not None
        recorded_BL = batch.observations[:, self._places_L]
        current_BL = self.received(outputs_BO, batch.previous_masks)
        received_BL = th.where(batch.follows[:, self._senders_L], current_BL, recorded_BL)
        observations = batch.observations.clone()
        observations[:, self._places_L] = received_BL
        return observations

    def entropy_cost(self, outputs_BO: th.Tensor, batch: Batch) -> th.Tensor:
        """Minus the entropy of each sender's symbols over the batch: what it costs to leave symbols unused.

        Without it senders soon use one symbol for several meanings, before the receivers have learned to tell
        symbols apart, and a symbol that is never sent gets no gradient any more.

        Args:
            outputs_BO: The policy's network outputs on `batch.previous`.
            batch: With `follows`.

        Returns:
            The sum over discrete message columns, times `config.entropy`; [] float32.
        """
        assert batch.follows is not None
        if not self.config.entropy or not len(self._discrete_C):
            return outputs_BO.new_zeros(())
        logits_BCK = (
            self.head.logits(outputs_BO, batch.previous_masks)[:, self._discrete_C] / self.temperature
        )
        sent_BC1 = batch.follows[:, self._owners_C].unsqueeze(2).to(outputs_BO.dtype)
        share_CK = (F.softmax(logits_BCK, dim=-1) * sent_BC1).sum(dim=0) / sent_BC1.sum(dim=0).clamp(min=1.0)
        return self.config.entropy * (share_CK * share_CK.clamp(min=1e-9).log()).sum()

    def received(self, outputs_BO: th.Tensor, masks_BM: th.Tensor | None = None) -> th.Tensor:
        """Messages received after these outputs, [B, L]; the gradient is divided by how many listen to each.

        Args:
            outputs_BO: The policy's network outputs.
            masks_BM: Categories that were available, or None.
        """
        parts = []
        if len(self._discrete_C):
            logits_BCK = self.head.logits(outputs_BO, masks_BM)[:, self._discrete_C]
            parts.append(self._relaxed(logits_BCK).flatten(1))
        if len(self._continuous_D):
            means = self.head.means(outputs_BO)[:, self._continuous_D]
            parts.append(_clipped(means, self._low.to(means.device), self._high.to(means.device)))
        received_BL = th.cat(parts, dim=1)[:, self._sources_L]
        fixed = received_BL.detach()
        return fixed + (received_BL - fixed) / self._n_listeners_L.to(fixed.device)

    def _relaxed(self, logits_BCK: th.Tensor) -> th.Tensor:
        """Symbols [B, C, K] that a gradient passes through."""
        if self.config.relaxation != "softmax":
            logits_BCK = self._noisy(logits_BCK)
        soft = F.softmax(logits_BCK / self.temperature, dim=-1)
        if self.config.relaxation != "straight-through":
            return soft
        symbols = F.one_hot(logits_BCK.argmax(dim=-1), logits_BCK.shape[-1]).to(soft.dtype)
        return symbols + (soft - soft.detach())

    def _noisy(self, logits_BCK: th.Tensor) -> th.Tensor:
        """Logits whose largest is a draw from their softmax; Gumbel noise is -log of an exponential."""
        exponential = th.empty_like(logits_BCK).exponential_(generator=self.generator)
        return logits_BCK - exponential.clamp(min=1e-20).log()


def _clipped(values: th.Tensor, low: th.Tensor, high: th.Tensor) -> th.Tensor:
    """Values clipped as when acting; no gradient leads further out of the bounds, but one leads back.

    Receivers that want more than a bound allows would push their sender on and on, and with it the weights
    that it acts by.

    Source: Hausknecht and Stone (2016), "Deep reinforcement learning in parameterized action space": zeroing
    gradients.
    """
    clipped = values + (values.clamp(low, high) - values).detach()
    if clipped.requires_grad:
        above, below = values.detach() >= high, values.detach() <= low
        clipped.register_hook(
            lambda gradient: gradient.masked_fill((above & (gradient < 0)) | (below & (gradient > 0)), 0.0)
        )
    return clipped
