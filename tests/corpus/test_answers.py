"""Questions that stored numbers answer: what another threshold would keep, what changed between two corpora."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from raytrain.corpus import select
from raytrain.corpus.diff import ABSENT, diff
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.section import Source
from raytrain.corpus.select import KEPT, VERDICTS
from raytrain.corpus.what_if import what_if
from raytrain.errors import UserError
from raytrain.store import Artifact, Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

GOOD = [prose.document(seed, 8 + seed % 12) for seed in range(60)]
LONGER = [text + " " + prose.sentence(random.Random(seed)) for seed, text in enumerate(GOOD[:10])]
STRICT = {"rules": ["gopher"], "overrides": {"gopher.min_words": 250}}
MINE = {"rules": ["gopher"], "overrides": {"gopher.max_words": 180}}


class Asked(Walk):
    """A walk that selects more than once from the same documents."""

    def parents(self) -> dict[str, Artifact]:
        documents = self.ingest()
        held = self.annotate(documents)
        return {"documents": documents, "dedup": self.dedup(documents, held.pop("minhash")), **held}

    def corpus_of(self, **options: Any) -> Artifact:
        return self.make(select, select.config_of(corpus(**options)), self.parents(), select.run)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    root = tmp_path_factory.mktemp("answers")
    write_jsonl(root / "raw" / "a.jsonl", [*GOOD, *LONGER, GOOD[3], "Too short."])
    return Asked(Store(str(root / "store")), [Source(name="s", uri=str(root / "raw"))], corpus(rules=["gopher"]))


def test_what_if_counts_what_select_would_keep(asked: Asked) -> None:
    before, after = (asked.corpus_of(**options) for options in ({"rules": ["gopher"]}, STRICT))
    keys = set(asked.store.keys(""))
    parents = asked.parents()
    found = what_if(*((parents, made.manifest["config"]) for made in (before, after)))
    assert set(asked.store.keys("")) == keys
    for name, made in (("before", before), ("after", after)):
        assert found[name]["reasons"] == made.facts["reasons"]
        assert found[name]["groups"] == made.facts["groups"]
        assert found[name]["funnel"] == made.facts["funnel"][2:-1]
    kept = [{row["record_id"]: row["bytes"] for row in rows(made, KEPT)} for made in (before, after)]
    lost = kept[0].keys() - kept[1].keys()
    assert found["removed"]["documents"] == len(lost) > 0
    assert found["removed"]["bytes"] == sum(kept[0][name] for name in lost)
    assert set(found["removed"]["records"]) <= lost
    assert found["added"]["documents"] == len(kept[1].keys() - kept[0].keys())


def test_what_if_reads_no_text(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    import raytrain.store.artifact as artifacts

    read: list[str] = []
    original = artifacts.Artifact.get
    monkeypatch.setattr(
        artifacts.Artifact, "get", lambda self, shard, name: read.append(name) or original(self, shard, name)
    )
    parents = asked.parents()
    read.clear()
    config = select.config_of(corpus(rules=["gopher"]))
    what_if((parents, config), (parents, config))
    assert read and DOCUMENTS not in read


def test_a_rule_that_throws_the_longer_copy_out_brings_the_shorter_back(asked: Asked) -> None:
    """Near-duplicates are decided among what passes, in an answer as in a corpus."""
    configs = [select.config_of(corpus(**options)) for options in ({"rules": ["gopher"]}, MINE)]
    found = what_if(*((asked.parents(), config) for config in configs))
    assert found["added"]["documents"] > 0
    assert (
        found["after"]["reasons"]["near duplicates"]["documents"]
        < found["before"]["reasons"]["near duplicates"]["documents"]
    )


def test_a_diff_tells_what_came_what_went_and_why(asked: Asked) -> None:
    a, b = (asked.corpus_of(**options) for options in (STRICT, {"rules": ["gopher"]}))
    found = diff(a, b)
    kept = [{row["record_id"]: row["bytes"] for row in rows(made, KEPT)} for made in (a, b)]
    assert found["added"]["documents"] == len(kept[1].keys() - kept[0].keys())
    assert found["a"]["bytes"] + found["added"]["bytes"] - found["removed"]["bytes"] == found["b"]["bytes"]
    assert found["settings"] == [{"name": "gopher.min_words", "a": "word_count >= 250", "b": "word_count >= 50"}]
    assert found["added"]["by_reason"]["gopher.min_words"]["documents"] == found["added"]["documents"]
    assert found["added"]["by_source"] == {"s": {name: found["added"][name] for name in ("documents", "bytes")}}
    for row in found["samples"]["added"]:
        assert (row["why_a"], row["why_b"]) == ("gopher.min_words", "kept")
        assert row["record_id"] in kept[1]
        assert len(row["text"]) == 200
    again = diff(b, a)
    assert again["removed"]["by_reason"] == found["added"]["by_reason"]
    assert again["samples"]["removed"][0]["record_id"] == found["samples"]["added"][0]["record_id"]


def test_a_corpus_is_equal_to_itself(asked: Asked) -> None:
    made = asked.corpus_of(**STRICT)
    found = diff(made, made)
    assert found["settings"] == []
    assert found["added"]["documents"] == found["removed"]["documents"] == found["changed_reason"]["documents"] == 0


def test_corpora_of_other_documents_are_joined_by_record(asked: Asked, tmp_path: Path) -> None:
    """The file is another: a record more, one less, one with another text, and the same rules."""
    texts = [*GOOD[:20], prose.document(99, 15), *GOOD[21:], *LONGER, GOOD[3]]
    write_jsonl(tmp_path / "raw" / "a.jsonl", texts)
    write_jsonl(tmp_path / "raw" / "b.jsonl", [prose.document(100, 15)])
    other = Asked(asked.store, [Source(name="s", uri=str(tmp_path / "raw"))], corpus(rules=["gopher"]))
    found = diff(asked.corpus_of(rules=["gopher"]), other.corpus_of(rules=["gopher"]))
    assert found["documents"]["a"] != found["documents"]["b"]
    assert found["changed_text"] == {"documents": 1}
    assert found["added"]["by_reason"] == {ABSENT: {name: found["added"][name] for name in ("documents", "bytes")}}
    assert [row["record_id"] for row in found["samples"]["added"]] == ["s/b.jsonl/0"]
    assert found["removed"]["documents"] == 0
    assert found["changed_reason"]["by"] == {f"gopher.min_words -> {ABSENT}": 1}


def test_a_corpus_without_verdicts_is_refused_with_a_remedy(asked: Asked) -> None:
    made = asked.corpus_of(rules=["gopher"])
    bare = [{**s, "objects": {n: o for n, o in s["objects"].items() if n != VERDICTS}} for s in made.shards]
    old = Artifact(made.store, made.prefix, {**made.manifest, "shards": bare})
    with pytest.raises(UserError, match="no verdicts; run its recipe again"):
        diff(old, made)
