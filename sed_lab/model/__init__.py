"""Networks that more than one method can use."""
