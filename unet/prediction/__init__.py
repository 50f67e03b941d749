"""Prediction: from images and volumes to masks, overlays and a table of measurements."""
