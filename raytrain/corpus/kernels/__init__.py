"""Compiled loops over the buffers of Arrow string columns. No Python object per document, no lock held."""

EXACT, NEAR, TEMPLATE = 0, 1, 2  # kinds of candidate pair
