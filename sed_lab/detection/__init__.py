"""Detections out of sed-predict: which recordings, how confident, in which files, and what is done already."""
