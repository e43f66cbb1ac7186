"""Q-learning with a Q-value for each category of each agent, and a mixer of them."""
