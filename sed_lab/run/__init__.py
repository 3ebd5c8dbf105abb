"""One run: its record, identity, parts, jobs and progress."""
