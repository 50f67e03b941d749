"""Training: the loop, what it learns with, and what it writes."""
