"""One file per paper: its formulas, heads and LightningModule."""
