"""The imitation algorithms by name, all on the same collector, dataset and losses.

| name | who acts while data is collected | what is learned from | what comes out |
|---|---|---|---|
| `dagger` | the students (with beta: the expert at times) | all data so far | one team |
| `bc` | the expert | all data so far | one team |
| `forward-training` | the team of each earlier step | states of one step of an episode | a team a step |
| `smile` | a mixture of expert and students | states of the last mixture | a mixture of teams |
| `searn` | a mixture, the newest first | states of the last mixture | a mixture of teams |

Source: section 4.3, which names them as alternatives to DAgger.
"""

from cesma_sb3.imitation.base import TeamTrainer
from cesma_sb3.imitation.bc import BehaviouralCloningTrainer
from cesma_sb3.imitation.dagger import MultiAgentDAggerTrainer
from cesma_sb3.imitation.forward_training import ForwardTrainer
from cesma_sb3.imitation.mixtures import SearnTrainer, SmileTrainer

ALGORITHMS: dict[str, type[TeamTrainer]] = {
    "dagger": MultiAgentDAggerTrainer,
    "bc": BehaviouralCloningTrainer,
    "forward-training": ForwardTrainer,
    "smile": SmileTrainer,
    "searn": SearnTrainer,
}
"""The trainers by the names above."""
