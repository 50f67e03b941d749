"""Measured figures as text and plots, for render.py."""
