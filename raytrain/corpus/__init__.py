"""From raw text to a corpus: ingest, annotate, deduplicate, select. Needs no engine, no torch."""
