"""Sounds and how they become soundscapes and mixtures."""
