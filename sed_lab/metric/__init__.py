"""From scores and events to numbers: pure functions."""
