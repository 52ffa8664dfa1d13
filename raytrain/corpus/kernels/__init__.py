"""Compiled loops over the buffers of Arrow string columns. No Python object per document, no lock held."""
