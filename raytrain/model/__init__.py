"""The decoder, its initialisation, generation, and its way out to Hugging Face."""
