"""Exact and near duplicates: candidates by MinHash bands, every removal verified against the texts.

Documents are numbered across the corpus: document i is row i - first of the shard that begins at `first`. The
order of work: exchange (bands.py), candidates (bands.py), shingles and true similarity (verify.py), clusters and
survivors (clusters.py), one table a shard (step.py).
"""

from raytrain.corpus.dedup.step import DEDUP, KIND, NAME, VERSION, config_of, run
from raytrain.corpus.dedup.survivors import PAIRS

__all__ = ["DEDUP", "KIND", "NAME", "PAIRS", "VERSION", "config_of", "run"]
