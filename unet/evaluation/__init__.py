"""Evaluation: scores with intervals over patients, the confidence model, and reports."""
