"""DDPG for discrete actions, by the Gumbel-softmax relaxation."""
