"""Experiment files, their tables and verdicts."""
