"""Evaluation sets: what they are, how they are read, and the index of their n-grams that text is compared with."""
