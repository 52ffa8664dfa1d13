"""Stages that annotate documents: each writes one attribute table per shard and deletes nothing."""
