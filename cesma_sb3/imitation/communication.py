"""Messages with gradients: what the current senders would have said at the step before.

Shape suffixes: B batch, I entries of the joint observation, O network outputs, L heard entries, C discrete
message columns, K categories (padded to the largest), N agents.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch as th
from torch.nn import functional as F

from cesma_sb3.errors import check_choice
from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.spaces.communication import MessageChannel, message_columns
from cesma_sb3.utils.stateful import Stateful

Messages = Literal["straight-through", "gumbel-softmax", "softmax"]


class Communication(Stateful):
    """Puts the messages of the current senders into the observations of a batch.

    The losses of the receivers then reach the senders through what they hear, all in one backward pass. For
    agents with weights of their own, the gradient of the sum of the agents' losses is that of Algorithm 2's
    loop, agent by agent: let l_j(w_j, m) be the action loss of agent j and m_i(w_i) what agent i says. The
    loop gives agent i

        d l_i / d w_i  +  1 / (M - 1) * sum over j != i of (d l_j / d m_i) (d m_i / d w_i),

    its action loss with the messages of the others held constant, and the communication loss through its own
    message. No l_i depends on m_i, and m_i depends on no other agent's weights, because the messages inside
    the *earlier* observation are those recorded. So both terms are the gradient of the sum of all l_j, once
    the gradient that passes through each message is divided by M - 1. Agents that share weights get the sum
    of these gradients.

    Args:
        channel: Who hears whom.
        head: Reads the networks' outputs.
        kind: What a discrete message is in training. `gumbel-softmax`: the softmax of logits with Gumbel
            noise, a relaxed draw of a symbol. `straight-through`: the symbol that was drawn, one-hot as when
            acting, with the gradient of `gumbel-softmax`. `softmax`: the probabilities themselves, without
            noise.
        temperature: Divides the logits of the softmax, in (0, inf).
        entropy: How much it counts that all symbols are in use, in [0, inf): weight of `cost`. 0 is
            Algorithm 2 as written.
        generator: Draws the Gumbel noise; on the device of the outputs.

    Raises:
        ValueError: A number is out of its range.
        UnknownNameError: There is no such kind.

    Source: section 4.4, Figure 2, Algorithm 2; section 6.3 for the softmax as the bridge between discrete and
    continuous; Jang et al. (2017).
    """

    state_attributes = ("generator",)

    def __init__(
        self,
        channel: MessageChannel,
        head: ActionHead,
        *,
        kind: Messages = "straight-through",
        temperature: float = 1.0,
        entropy: float = 0.0,
        generator: th.Generator | None = None,
    ) -> None:
        check_choice("kind of messages", kind, get_args(Messages))
        if temperature <= 0:
            raise ValueError(f"message_temperature={temperature}: expected more than 0")
        if entropy < 0:
            raise ValueError(f"message_entropy={entropy}: expected at least 0")
        self.channel = channel
        self.head = head
        self.kind = kind
        self.temperature = temperature
        self.entropy = entropy
        self.generator = generator
        team = channel.team
        self.n_receivers = max(team.n_agents - 1, 1)
        self._places_L = th.from_numpy(channel.places)
        self._senders_L = th.from_numpy(channel.senders)
        says = message_columns(team)
        discrete = [column for column, k in enumerate(team.column_categories) if k > 0]
        numbers = [column for column, k in enumerate(team.column_categories) if k == 0]
        # Places among the head's categorical and among its continuous columns.
        self._discrete_C = th.tensor([n for n, c in enumerate(discrete) if says[c]], dtype=th.long)
        self._numbers_D = th.tensor([n for n, c in enumerate(numbers) if says[c]], dtype=th.long)
        spoken = [c for c in discrete if says[c]]
        owners = [
            agent for agent, where in enumerate(team.action_columns) for _ in range(team.n_columns)[where]
        ]
        self._owners_C = th.tensor([owners[c] for c in spoken], dtype=th.long)
        said = [c for c in numbers if says[c]]
        self._sources_L = th.tensor(
            [
                spoken.index(column) * head.n_categories + category
                if category >= 0
                else len(spoken) * head.n_categories + said.index(column)
                for column, category in zip(channel.columns, channel.categories, strict=True)
            ]
        )
        if said:
            bounds: Any = team.action_space  # a Box wherever a column is a number
            self._low, self._high = th.as_tensor(bounds.low[said]), th.as_tensor(bounds.high[said])

    def observations(self, outputs_BO: th.Tensor, batch: Batch) -> th.Tensor:
        """The batch's observations with the messages of the current senders in them.

        Args:
            outputs_BO: The policy's network outputs on `batch.previous`.
            batch: With `previous` and `follows`.

        Returns:
            [B, I] float32. Where nobody spoke before (`follows` False) the messages are those recorded.
        """
        assert batch.follows is not None
        recorded_BL = batch.observations[:, self._places_L]
        current_BL = self.heard(outputs_BO, batch.previous_masks)
        heard_BL = th.where(batch.follows[:, self._senders_L], current_BL, recorded_BL)
        observations = batch.observations.clone()
        observations[:, self._places_L] = heard_BL
        return observations

    def cost(self, outputs_BO: th.Tensor, batch: Batch) -> th.Tensor:
        """What it costs to leave symbols unused: minus the entropy of each sender's symbols over the batch.

        Without it speakers soon say one and the same symbol for several things, before the listeners have
        learned to tell symbols apart, and a symbol that is never said gets no gradient any more.

        Args:
            outputs_BO: The policy's network outputs on `batch.previous`.
            batch: With `follows`.

        Returns:
            The sum over discrete message columns, times `entropy`; [] float32.
        """
        assert batch.follows is not None
        if not self.entropy or not len(self._discrete_C):
            return outputs_BO.new_zeros(())
        logits_BCK = self.head.logits(outputs_BO, batch.previous_masks)[:, self._discrete_C]
        spoke_BC1 = batch.follows[:, self._owners_C].unsqueeze(2).to(outputs_BO.dtype)
        said_CK = (F.softmax(logits_BCK, dim=-1) * spoke_BC1).sum(dim=0) / spoke_BC1.sum(dim=0).clamp(min=1.0)
        return self.entropy * (said_CK * said_CK.clamp(min=1e-9).log()).sum()

    def heard(self, outputs_BO: th.Tensor, masks_BM: th.Tensor | None = None) -> th.Tensor:
        """What is heard after these outputs, [B, L]; the gradient through it is divided by M - 1."""
        parts = []
        if len(self._discrete_C):
            logits_BCK = self.head.logits(outputs_BO, masks_BM)[:, self._discrete_C]
            parts.append(self._relaxed(logits_BCK).flatten(1))
        if len(self._numbers_D):
            means = self.head.means(outputs_BO)[:, self._numbers_D]
            # Clipped as when acting; the gradient passes, or a number beyond its bound would stay there.
            low, high = self._low.to(means.device), self._high.to(means.device)
            parts.append(means + (means.clamp(low, high) - means).detach())
        heard_BL = th.cat(parts, dim=1)[:, self._sources_L]
        fixed = heard_BL.detach()
        return fixed + (heard_BL - fixed) / self.n_receivers

    def _relaxed(self, logits_BCK: th.Tensor) -> th.Tensor:
        """Symbols [B, C, K] that a gradient passes through."""
        if self.kind != "softmax":
            logits_BCK = self._noisy(logits_BCK)
        soft = F.softmax(logits_BCK / self.temperature, dim=-1)
        if self.kind != "straight-through":
            return soft
        symbols = F.one_hot(logits_BCK.argmax(dim=-1), logits_BCK.shape[-1]).to(soft.dtype)
        return symbols + (soft - soft.detach())

    def _noisy(self, logits_BCK: th.Tensor) -> th.Tensor:
        """Logits whose largest is a draw from their softmax; Gumbel noise is -log of an exponential."""
        exponential = th.empty_like(logits_BCK).exponential_(generator=self.generator)
        return logits_BCK - exponential.clamp(min=1e-20).log()
