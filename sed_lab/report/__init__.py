"""From records and scores to figures, tables, claims and the page of a run."""
