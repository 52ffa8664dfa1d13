"""Many small runs and the law that fits them, as one Ray job."""
