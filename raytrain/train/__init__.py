"""The training core: exact, resumable, on any number of workers; torch alone, neither Ray nor Prefect."""
