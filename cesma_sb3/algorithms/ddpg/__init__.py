"""DDPG for discrete actions: by the Gumbel-softmax relaxation, or by expectations over all actions."""
