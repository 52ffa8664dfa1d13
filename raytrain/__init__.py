"""raytrain: turn a bucket of text into a language model on your own Ray cluster, and know what it costs."""

__version__ = "0.1.0"
