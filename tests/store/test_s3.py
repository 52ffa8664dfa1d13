"""The store on a real S3 server, and through a bad network."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raytrain.errors import Unreachable, UserError
from raytrain.recipe import load
from raytrain.store import Artifact, Attempt, Store
from raytrain.store.s3 import PART
from raytrain.store.uri import open_file, read_text, walk_files
from raytrain.tokens.loader import Tokens
from tests.parts.faultproxy import FaultProxy, faulty
from tests.parts.seaweed import Seaweed, seaweed
from tests.store import test_uri as same

__all__ = ["seaweed"]
pytestmark = pytest.mark.slow
LARGE = 5 * PART + 12_345


@pytest.fixture
def bucket(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, with the environment that leads to it."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    return seaweed.bucket()


@pytest.fixture
def store(bucket: str) -> Store:
    return Store(f"{bucket}/some/prefix")


@pytest.fixture
def proxy(seaweed: Seaweed, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A network that can fail; a store that is opened after this is reached through it."""
    with faulty(seaweed.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def far(proxy: FaultProxy, store: Store) -> Store:
    return Store(store.uri)


@pytest.mark.parametrize(
    "behaves",
    [
        same.test_a_key_has_one_winner,
        same.test_listing_is_sorted_and_relative,
        same.test_replace_changes_a_whole_object,
        same.test_a_sound_store_passes_its_probe_and_keeps_nothing_of_it,
    ],
)
def test_it_behaves_as_any_store(store: Store, behaves: Callable[[Store], None]) -> None:
    behaves(store)


def test_of_many_writers_exactly_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = [
            n for n, first in enumerate(pool.map(lambda n: store.put_if_absent("race", b"%d" % n), range(16))) if first
        ]
    assert len(won) == 1
    assert store.get("race") == b"%d" % won[0]


def test_equal_bytes_still_have_one_winner(store: Store) -> None:
    assert [store.put_if_absent("k", b"same") for _ in range(3)] == [True, False, False]


def test_keys_with_unusual_characters(store: Store) -> None:
    for name in ("a b+c=d.txt", "ü/ß.json", "q?x=1#y", "per%20cent"):
        store.put(name, name.encode())
        assert store.get(name) == name.encode()
        assert store.exists(name) and store.size(name) == len(name.encode())
    assert len(store.keys("")) == 4


def test_more_keys_than_a_page_holds(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: store.put(f"many/{n:05d}", b""), range(1_050)))
    assert store.keys("many") == [f"many/{n:05d}" for n in range(1_050)]


def test_what_another_process_writes_is_seen_at_once(store: Store) -> None:
    other = multiprocessing.get_context("spawn")
    assert store.keys("") == [] and store.folders("") == [] and not store.exists("a/b")
    child = other.Process(target=_write, args=(store.uri, "a/b", b"123"))
    child.start()
    child.join(120)
    assert store.keys("") == ["a/b"] and store.folders("") == ["a"] and store.size("a/b") == 3
    child = other.Process(target=_delete, args=(store.uri, "a/b"))
    child.start()
    child.join(120)
    assert store.keys("") == [] and not store.exists("a/b")


def _write(uri: str, key: str, data: bytes) -> None:
    Store(uri).put(key, data)


def _delete(uri: str, key: str) -> None:
    Store(uri).delete(key)


def test_a_forked_child_and_a_pickle_reach_the_store(store: Store) -> None:
    store.put("before", b"1")
    child = multiprocessing.get_context("fork").Process(target=_in_fork, args=(store,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert store.get("from the child") == b"1"
    assert pickle.loads(pickle.dumps(store)).get("before") == b"1"


def _in_fork(store: Store) -> None:
    store.put("from the child", store.get("before"))


@pytest.mark.parametrize("as_file", [True, False])
def test_large_objects_go_in_parts_and_come_back_whole(store: Store, tmp_path: Path, as_file: bool) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "in").write_bytes(data)
    assert store.put_if_absent("large", tmp_path / "in" if as_file else data)
    assert not store.put_if_absent("large", tmp_path / "in" if as_file else data)
    assert store.get("large") == data
    store.fetch("large", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    with store.open("large") as file:
        file.seek(PART - 5)
        assert file.read(10) == data[PART - 5 : PART + 5]
    assert _uploads_under_way(store) == 0


def _uploads_under_way(store: Store) -> int:
    found = store.fs.call_s3("list_multipart_uploads", Bucket=store.root.split("/")[0])
    return len(found.get("Uploads", []))


def test_a_lost_answer_does_not_lose_the_race_against_oneself(far: Store, proxy: FaultProxy) -> None:
    proxy.faults.next = ["lost_answer", "busy"]
    assert far.put_if_absent("k", b"1")
    assert proxy.struck == {"lost_answer": 1, "busy": 1}
    proxy.faults.next = ["lost_answer"]
    assert not far.put_if_absent("k", b"1")  # ours by content, but not by this call


def test_a_lost_answer_to_a_finished_upload_is_no_failure(far: Store, proxy: FaultProxy, store: Store) -> None:
    data = os.urandom(3 * PART)
    proxy.faults.next = ["none"] * 4 + ["lost_answer"]  # begin, three parts, completion
    assert far.put_if_absent("large", data)
    assert proxy.struck == {"lost_answer": 1}
    assert store.get("large") == data
    assert _uploads_under_way(store) == 0


def test_a_bad_network_changes_nothing(far: Store, proxy: FaultProxy, store: Store) -> None:
    faults = proxy.faults
    faults.latency, faults.busy = 0.02, 0.1
    faults.lost_request = faults.lost_answer = faults.cut_answer = 0.05

    def one(n: int) -> None:
        data = hashlib.sha256(b"%d" % n).digest() * (1 + 997 * n)
        assert far.put_if_absent(f"d/{n}", data)
        assert far.get(f"d/{n}") == data
        assert not far.put_if_absent(f"d/{n}", data)
        far.replace("shared", data)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(60)))
    assert far.keys("d") == sorted(f"d/{n}" for n in range(60))
    assert len(store.get("shared")) % 32 == 0
    assert min(proxy.struck[kind] for kind in ("busy", "lost_request", "lost_answer", "cut_answer")) > 0


def test_an_outage_is_ridden_out(far: Store, proxy: FaultProxy) -> None:
    far.put("a", b"1")
    proxy.faults.outage = True
    threading.Timer(4, lambda: setattr(proxy.faults, "outage", False)).start()
    started = time.monotonic()
    assert far.get("a") == b"1"
    assert time.monotonic() - started > 3
    assert proxy.struck["outage"] > 2


def test_a_store_that_stays_away_is_an_error_of_its_own_kind(proxy: FaultProxy, store: Store) -> None:
    store.put("a", b"1")
    far = Store(store.uri, patience=1)
    proxy.faults.outage = True
    with pytest.raises(Unreachable, match="no good answer"):
        far.get("a")
    proxy.faults.outage = False
    assert far.get("a") == b"1"


def test_one_layer_decides_about_retries(proxy: FaultProxy, store: Store) -> None:
    far = Store(store.uri, patience=2)
    proxy.faults.busy = 1.0
    with pytest.raises(Unreachable, match="tries"):
        far.get("a")
    assert len(proxy.requests) < 40  # two layers of five tries each would multiply
    with pytest.raises(Unreachable):
        far.put("a", b"1")


def test_an_absent_key_is_asked_for_once(far: Store, proxy: FaultProxy) -> None:
    with pytest.raises(FileNotFoundError):
        far.get("none")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("setting", ["WHEN_REQUIRED", "WHEN_SUPPORTED"])
def test_checksums_can_be_left_out_for_older_stores(
    proxy: FaultProxy, store: Store, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", setting)
    Store(store.uri).put("a", b"1")
    names = {name for request in proxy.requests for name in request.headers}
    assert any("checksum" in name for name in names) == (setting == "WHEN_SUPPORTED")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_named_endpoint_is_addressed_by_path(
    seaweed: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, seaweed.endpoint.replace("127.0.0.1", "localhost"))
    Store(bucket).put("a", b"1")
    assert Store(bucket).keys("") == ["a"]


def test_credentials_and_endpoint_may_stand_in_a_profile(
    seaweed: Seaweed, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable)
    lines = [f"endpoint_url = {seaweed.endpoint}", f"aws_access_key_id = {seaweed.writer.key}"]
    (tmp_path / "config").write_text(
        "\n".join(["[profile mine]", *lines, f"aws_secret_access_key = {seaweed.writer.secret}", ""])
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    Store(bucket).put("a", b"1")
    assert Store(bucket).get("a") == b"1"


def refused(uri: str, *fragments: str) -> None:
    """The probe says one line with all fragments in it, soon."""
    started = time.monotonic()
    with pytest.raises(UserError) as said:
        Store(uri).probe()
    assert "\n" not in str(said.value)
    for fragment in fragments:
        assert fragment in str(said.value)
    assert time.monotonic() - started < 60  # 15 s on a quiet machine, where patience is three minutes


def test_wrong_credentials_are_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused(bucket, bucket, "AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    refused(bucket, bucket, "AWS_ACCESS_KEY_ID")


def test_missing_credentials_are_one_line(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    refused(bucket, "no credentials", "AWS_PROFILE")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    refused(bucket, "nobody")


def test_an_absent_bucket_is_one_line(bucket: str) -> None:
    refused("s3://no-such-bucket/prefix", "no-such-bucket", "no such bucket")
    with pytest.raises(UserError, match="names no bucket"):
        Store("s3://")
    with pytest.raises(UserError, match="no such bucket"):
        Store("s3://no-such-bucket").get("a")
    with pytest.raises(UserError, match="no such bucket"):
        walk_files("s3://no-such-bucket/raw")


def test_credentials_that_may_only_read_are_one_line(
    seaweed: Seaweed, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.reader.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.reader.secret)
    assert Store(store.uri).get("a") == b"1"
    refused(store.uri, "access denied")


def test_an_endpoint_that_does_not_answer_is_one_line(
    far: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.faults.silence = True
    refused(far.uri, proxy.endpoint, "no good answer")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    refused(far.uri, "127.0.0.1:1", "no good answer")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    refused(far.uri, "nonsense")


def test_a_server_that_ignores_put_if_absent_is_refused(far: Store, proxy: FaultProxy, seaweed: Seaweed) -> None:
    proxy.faults.overwrite_as = seaweed.writer
    refused(far.uri, "ignores put-if-absent")
    proxy.faults.overwrite_as = None
    far.probe()


def test_patience_is_a_number(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_S3_PATIENCE", "long")
    with pytest.raises(UserError, match="RAYTRAIN_S3_PATIENCE"):
        Store(bucket)


def test_sources_are_walked_and_read_through_a_bad_network(far: Store, proxy: FaultProxy, store: Store) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden"):
        store.put(f"raw/{name}", name.encode())
    proxy.faults.busy = proxy.faults.cut_answer = 0.2
    rows = list(walk_files(f"{far.uri}/raw"))
    assert [row[1] for row in rows] == ["a.txt", "b.txt", "sub/c.txt"]
    assert [row[1] for row in walk_files(f"{far.uri}/raw/*.txt")] == ["a.txt", "b.txt"]
    assert [row[1] for row in walk_files(f"{far.uri}/raw/a.txt")] == ["a.txt"]
    for uri, relative, size, version in rows:
        with open_file(uri) as file:
            assert file.read() == relative.encode() and size == len(relative)
        assert hashlib.md5(relative.encode()).hexdigest() in version
    with pytest.raises(UserError, match="nothing in it"):
        walk_files(f"{far.uri}/none")


def test_a_recipe_is_read_from_the_store_and_its_paths_count_from_there(store: Store) -> None:
    rules = Path(__file__).parents[2] / "raytrain" / "corpus" / "rules" / "gopher.yaml"
    store.put("recipes/mine.yaml", rules.read_bytes())
    recipe = "name: r\nsources: [{name: s, uri: raw, domain: d, licence: MIT}]\ncorpus: {rules: [mine.yaml]}\n"
    store.put("recipes/r.yaml", recipe.encode())
    loaded = load(f"{store.uri}/recipes/r.yaml", store=store.uri)
    assert loaded.sources[0].uri == f"{store.uri}/recipes/raw"
    assert loaded.identity()["corpus"]["rules"]
    assert read_text(loaded.corpus.rules[0]) == rules.read_text()
    with pytest.raises(UserError, match=r"none\.yaml"):
        load(f"{store.uri}/recipes/none.yaml")


def test_a_recipe_at_an_endpoint_that_does_not_answer_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"r\.yaml.*no good answer"):
        load(f"{store.uri}/recipes/r.yaml")
    assert time.monotonic() - started < 60


def test_a_run_is_claimed_once_whatever_the_network_does(far: Store, proxy: FaultProxy) -> None:
    proxy.faults.lost_answer = 0.3
    first = Attempt.claim(far, "r")
    assert first.number == 1
    first.release("stopped")
    second = Attempt.claim(far, "r")
    assert second.number == 2
    second.release("stopped")
    assert proxy.struck["lost_answer"] > 0


def test_token_shards_are_fetched_once_a_node(
    tokens_template: Path, far: Store, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.store import open_artifact

    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    near = Store(str(tokens_template))
    for key in near.keys("tokens/x"):
        far.put(key, near.get(key))
    artifact, expected = open_artifact(far, "tokens/x"), open_artifact(near, "tokens/x")
    assert isinstance(artifact, Artifact) and isinstance(expected, Artifact)
    proxy.requests.clear()
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: Tokens(artifact), range(4)))
    bodies = [r.line for r in proxy.requests if r.method == "GET" and ".bin" in r.line]
    assert len(bodies) == len(set(bodies)) > 0
    local = Tokens(expected)
    for tokens in opened:
        for group in range(len(local.groups)):
            assert tokens.read(group, 0, local.tokens_in(group)).tolist() == (
                local.read(group, 0, local.tokens_in(group)).tolist()
            )
    damaged = next((tmp_path / "cache").glob("*.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-2])
    proxy.requests.clear()
    Tokens(artifact)
    assert sum(r.method == "GET" for r in proxy.requests) == 1


def test_another_identity_gets_a_connection_of_its_own(
    seaweed: Seaweed, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="credentials"):
        Store(store.uri).get("a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.writer.secret)
    assert Store(store.uri).get("a") == b"1"
