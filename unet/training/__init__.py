"""Training: what learns, the training loop, and what a run writes."""
