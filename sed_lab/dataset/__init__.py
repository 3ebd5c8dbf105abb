"""From audio and annotation files to clips, soundscapes and batches."""
