"""Data sets: where they come from, what is in a folder, who is in which split, and batches to train on."""
