"""Compiled loops over the buffers of Arrow string columns. No Python object per document, no lock held."""

NEAR, TEMPLATE = 0, 1  # kinds of candidate pair
