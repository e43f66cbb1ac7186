"""One file for each agent that runs without this package; teams on the Hugging Face Hub."""
