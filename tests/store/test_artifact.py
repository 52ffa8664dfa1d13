from __future__ import annotations

from pathlib import Path

import pytest

from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store, artifact_id, open_artifact


def commit(store: Store, contents: list[bytes]) -> Artifact:
    writer = ArtifactWriter(store, "things/x")
    shards = [writer.commit_shard(i, {"a.bin": writer.put(i, "a.bin", c)}, 1) for i, c in enumerate(contents)]
    return writer.commit(artifact="x", step="make", version=1, config={}, parents={}, shards=shards)


def test_an_id_depends_on_what_went_in_alone() -> None:
    base = artifact_id("s", 1, {"a": 1}, ["p"])
    assert base == artifact_id("s", 1, {"a": 1}, ["p"])
    others = [
        ("t", 1, {"a": 1}, ["p"]),
        ("s", 2, {"a": 1}, ["p"]),
        ("s", 1, {"a": 2}, ["p"]),
        ("s", 1, {"a": 1}, ["q"]),
    ]
    assert len({base, *(artifact_id(*o) for o in others)}) == 5  # type: ignore[arg-type]


def test_without_a_manifest_there_is_no_artifact(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    writer = ArtifactWriter(store, "things/x")
    writer.commit_shard(0, {"a": writer.put(0, "a", b"1")}, 1)
    assert open_artifact(store, "things/x") is None


def test_the_first_record_of_a_shard_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    one, two = ArtifactWriter(store, "t/x"), ArtifactWriter(store, "t/x")
    first = one.commit_shard(0, {"a": one.put(0, "a", b"one")}, 1)
    second = two.commit_shard(0, {"a": two.put(0, "a", b"two")}, 1)
    assert first == second == two.record(0)
    done = one.commit(artifact="x", step="s", version=1, config={}, parents={}, shards=[second])
    assert done.get(0, "a") == b"one"


def test_equal_contents_have_equal_sums_in_any_store(tmp_path: Path) -> None:
    sums = [commit(Store(str(tmp_path / n)), [b"1", b"2"]).manifest["sha256"] for n in "ab"]
    assert sums[0] == sums[1]
    assert commit(Store(str(tmp_path / "c")), [b"2", b"1"]).manifest["sha256"] != sums[0]


def test_damage_is_found_before_it_is_used(tmp_path: Path) -> None:
    artifact = commit(Store(str(tmp_path)), [b"good"])
    path = artifact.store.local_path(artifact.key(0, "a.bin"))
    assert path is not None
    path.write_bytes(b"evil")
    with pytest.raises(UserError, match="damaged"):
        artifact.get(0, "a.bin")
