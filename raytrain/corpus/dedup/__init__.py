"""Exact and near duplicates: candidates by MinHash bands, every removal verified against the texts.

The order of work: the documents searched, numbered through (pool.py), one text and one URL (groups.py), candidates
(bands.py), true similarity (verify.py), clusters and survivors (clusters.py), one table a shard (tables.py), the walk
over all of it (step.py); what travels between tasks goes through exchange.py.
"""

from raytrain.corpus.dedup.step import DEDUP
from raytrain.corpus.dedup.survivors import PAIRS

__all__ = ["DEDUP", "PAIRS"]
