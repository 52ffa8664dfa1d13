"""Prefect flows: one thin flow a file over the steps of raytrain.pipeline. No logic of raytrain's lives here."""
