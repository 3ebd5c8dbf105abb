"""From audio and annotation files to batches."""
