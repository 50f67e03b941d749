"""Scores: metrics, intervals over patients, tables and reports."""
