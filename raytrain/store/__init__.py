"""Objects, artifacts and attempts under one URI: everything that outlives a process goes through here."""

from raytrain.store.artifact import Artifact, ArtifactWriter, artifact_id, open_artifact
from raytrain.store.attempt import Attempt
from raytrain.store.uri import Store

__all__ = ["Artifact", "ArtifactWriter", "Attempt", "Store", "artifact_id", "open_artifact"]
