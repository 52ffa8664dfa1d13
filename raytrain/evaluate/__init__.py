"""What a finished model is worth: held-out compression against known compressors, and small tasks."""
