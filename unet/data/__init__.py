"""Data sets: downloading or simulating them, reading data folders, splitting patients, and making batches."""
