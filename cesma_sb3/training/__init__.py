"""One run: an expert is trained or loaded, then decentralized and evaluated, in a run folder."""
