"""One module for each kind of published checkpoint, with its table as KIND; data, no code paths."""
