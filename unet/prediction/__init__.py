"""Prediction: from files to masks, overlays and a table."""
