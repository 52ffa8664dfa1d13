"""The report is made of whatever is there: all of it, a part, nothing, or documents that mean harm."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raytrain.observe.notation import money
from raytrain.observe.report import SECTIONS, render
from raytrain.observe.report.documents import differences, marked
from raytrain.observe.report.money import text_through
from tests.observe.conftest import full_facts

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m\u202e\ud800\"'&</style></pre>{{}}${}"
)
VOID = {"meta", "link", "br", "wbr", "img", "input"}
RAW_TEXT = {"script", "style"}


class Page(HTMLParser):
    """Reads a page as a browser would, and notes what it holds and whether its tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.shown = ""
        self.handlers: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.links += [str(given[k]) for k in ("href", "src", "action", "data") if k in given]
        self.handlers += [k for k in given if k.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not set(self._open) & RAW_TEXT:
            self.shown += data


def sections(html: str) -> set[str]:
    return set(Page(html).ids) & {s.anchor for s in SECTIONS}


def everywhere(value: Any, text: str) -> Any:
    """Facts in which every text, keys of user's making too, is another one."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [everywhere(v, text) for v in value]
    if isinstance(value, dict):
        return {k: everywhere(v, text) for k, v in value.items()}
    return value


def test_a_full_run_shows_every_section(facts: dict[str, Any]) -> None:
    html = render(facts)
    assert sections(html) == {s.anchor for s in SECTIONS}
    assert "Not here yet" not in html
    assert "could not be drawn" not in html


def test_the_verdict_is_in_words_and_figures(facts: dict[str, Any]) -> None:
    shown = Page(render(facts)).shown.replace("\u202f", " ")
    assert "1.962 bits per byte" in shown
    assert "22.8 % below xz and 10.8 % below PPMd" in shown
    assert facts["model"]["parameter_sha256"] in shown
    assert "$0.0027" in shown
    worse = {**facts, "evaluation": {**facts["evaluation"], "val_bits_per_byte": 3.0}}
    assert "above xz" in Page(render(worse)).shown


@pytest.mark.parametrize("facts", [{}, {"run": "early", "state": "failed"}, {"run": None, "curve": [], "corpus": {}}])
def test_nothing_gives_a_page_that_says_what_is_missing(facts: dict[str, Any]) -> None:
    html = render(facts)
    assert sections(html) == set()
    for section in SECTIONS:
        assert section.absent in html
    assert "Nothing has been measured yet" in html
    assert "could not be drawn" not in html


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """The same with a tenth of the steps, for tests that draw many pages."""
    return full_facts(60)


def test_each_key_alone_and_all_but_each_give_a_page(small: dict[str, Any]) -> None:
    for key in small:
        for part in ({key: small[key]}, {k: v for k, v in small.items() if k != key}):
            html = render(part)
            Page(html)
            assert "could not be drawn" not in html, key


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_an_empty_value_of_any_key_is_as_good_as_none(small: dict[str, Any], empty: object) -> None:
    for key in small:
        html = render({**small, key: empty})
        Page(html)
        assert "could not be drawn" not in html, key


def test_a_run_that_only_made_its_corpus_says_so(facts: dict[str, Any]) -> None:
    html = render({k: facts[k] for k in ("run", "recipe", "corpus", "rejected", "artifacts")})
    assert sections(html) == {"data", "reasons", "thresholds", "shares", "rejected", "work", "lineage", "recipe"}
    assert "Training has not begun" in html


def test_a_run_in_its_first_step_shows_its_loss(facts: dict[str, Any]) -> None:
    html = render({"run": "r", "state": "running", "curve": facts["curve"][:1], "recipe": facts["recipe"]})
    assert "Step 1 of 600, training loss" in Page(html).shown


def test_facts_of_the_wrong_shape_cost_their_section_only(facts: dict[str, Any]) -> None:
    broken = {
        **facts,
        "samples": [{"prompt": object(), "text": {"a": 1}}],
        "artifacts": {"x": {"parents": [1]}},
        "peeks": 7,
    }
    html = render(broken)
    Page(html)
    assert {"training", "data", "time"} <= sections(html)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_json_in_any_place_gives_a_well_formed_page(small: dict[str, Any], data: st.DataObject) -> None:
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
    json_like = st.recursive(
        leaves, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3)
    )
    changed = dict(small)
    for key in data.draw(st.lists(st.sampled_from(sorted(small)), min_size=1, max_size=3, unique=True)):
        value = data.draw(json_like)
        inner = small[key]
        if isinstance(inner, dict) and inner and data.draw(st.booleans()):
            value = {**inner, data.draw(st.sampled_from(sorted(inner))): value}
        elif isinstance(inner, list) and data.draw(st.booleans()):
            value = [*inner[:3], value]
        changed[key] = value
    html = render(changed)
    html.encode()
    Page(html)


def test_hostile_text_stays_text(facts: dict[str, Any]) -> None:
    hostile = everywhere(facts, HOSTILE)
    hostile["state"] = HOSTILE
    hostile["corpus"]["reasons"] = {HOSTILE: {"documents": 3, "sole_documents": 1}}
    hostile["corpus"]["groups"] = {
        "source": {HOSTILE: {"bytes_before": 5, "bytes": 3}},
        HOSTILE: {HOSTILE: {"bytes": 2}},
    }
    hostile["corpus"]["quarantined"] = {HOSTILE: 3}
    hostile["evaluation"]["domains"] = {HOSTILE: 2.0}
    hostile["account"]["phases"] = {HOSTILE: 2.0}
    hostile["artifacts"] = {HOSTILE: {"id": HOSTILE, "parents": {HOSTILE: HOSTILE}, "prefix": HOSTILE}}
    html = render(hostile)
    page = Page(html)
    html.encode()
    assert page.tags.count("script") == 1
    assert page.tags.count("style") == 1
    assert "img" not in page.tags
    assert page.handlers == []
    assert "could not be drawn" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", html)


def test_the_page_stands_alone(facts: dict[str, Any]) -> None:
    html = render(facts)
    page = Page(html)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import|https?://", html)
    assert "default-src 'none'" in html
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_same_facts_give_the_same_page_and_are_left_alone(facts: dict[str, Any]) -> None:
    before = copy.deepcopy(facts)
    assert render(facts) == render(json.loads(json.dumps(facts)))
    assert facts == before


def test_a_hundred_thousand_steps_make_a_small_page(facts: dict[str, Any]) -> None:
    point = facts["curve"][5]
    curve = [{**point, "step": k, "tokens": k * 8192, "loss": 3 + math.sin(k) / 9} for k in range(1, 100_001)]
    curve[70_000]["loss"] = 9.75
    html = render({**facts, "curve": curve})
    assert len(html) < 900_000
    assert "9.75" in html


def test_a_loss_that_was_not_finite_is_told(facts: dict[str, Any]) -> None:
    curve = copy.deepcopy(facts["curve"])
    curve[41]["loss"] = math.nan
    curve[99]["loss"] = None
    shown = Page(render({**facts, "curve": curve})).shown
    assert "The loss was not finite at 2 steps (42, 100)" in shown


def test_the_shapes_of_the_brief_are_understood_too(facts: dict[str, Any]) -> None:
    corpus = {
        "funnel": facts["corpus"]["funnel"],
        "reasons": {"too short": {"documents": 9, "sole": 4}},
        "quarantine": {"torn": 2},
        "before": {"domain": {"web": {"documents": 3, "bytes": 75}, "books": {"documents": 1, "bytes": 25}}},
        "after": {"domain": {"web": {"documents": 1, "bytes": 50}, "books": {"documents": 1, "bytes": 50}}},
    }
    shown = Page(render({"corpus": corpus})).shown.replace("\u202f", " ")
    for part in ("too short", "torn", "75.0 % → 50.0 %", "25.0 % → 50.0 %"):
        assert part in shown


def test_white_space_of_tokens_can_be_seen(facts: dict[str, Any]) -> None:
    shown = Page(render(facts)).shown
    assert "\u2423redistribute" in shown
    assert "\u21b5" in shown


def test_what_offends_is_marked_where_its_span_says() -> None:
    assert marked("one & two three", [(6, 9), (4, 7)]) == "one <mark>&amp; t</mark><mark>wo</mark> three"
    assert marked("abc", [(1, 99), (-5, 0), (2, 1)]) == "a<mark>bc</mark>"
    assert marked("<b>", []) == "&lt;b&gt;"


def test_a_span_never_changes_what_is_read(facts: dict[str, Any]) -> None:
    row = facts["rejected"][0]
    plain = Page(render({"rejected": [{**row, "spans": []}]}))
    shown = Page(render({"rejected": [row]}))
    assert shown.shown == plain.shown
    assert shown.tags.count("mark") == 2


@given(st.text("ab \n", max_size=60), st.text("ab \n", max_size=60))
def test_what_is_not_marked_of_two_texts_is_the_same_in_both(first: str, second: str) -> None:
    rests = []
    for value, spans in zip((first, second), differences(first, second), strict=True):
        for low, high in reversed(spans):
            assert 0 <= low < high <= len(value)
            value = value[:low] + value[high:]
        rests.append(value)
    assert rests[0] == rests[1]


def test_the_nearest_pairs_come_first_and_say_what_was_decided(facts: dict[str, Any]) -> None:
    page = Page(render({"gallery": facts["gallery"], "threshold": 0.8}))
    assert page.tags.count("mark") == 2 * 9 * len(differences(*pair_texts(facts))[0])
    first = page.shown.index("jaccard 0.8")
    assert first < page.shown.index("jaccard 0.84")
    assert "not a duplicate" in page.shown


def pair_texts(facts: dict[str, Any]) -> tuple[str, str]:
    return facts["gallery"][0]["a_text"], facts["gallery"][0]["b_text"]


def test_a_text_that_ends_earlier_because_it_was_cut_is_no_difference() -> None:
    row = {"a_text": "one two three four", "b_text": "one six three", "jaccard": 0.8}
    html = render({"gallery": [row]})
    assert re.findall("<mark>(.*?)</mark>", html) == ["two", "six"]


def test_rules_that_remove_most_have_their_histograms_first(facts: dict[str, Any]) -> None:
    shown = Page(render({"corpus": facts["corpus"]})).shown
    assert "repeated span1240.1 kB" in shown.replace("\u202f", " ")
    assert shown.index("terminal punctuation") < shown.index("word count") < shown.index("mean word length")


def test_the_data_cost_is_by_step_and_by_kept_token(facts: dict[str, Any]) -> None:
    shown = Page(render(facts)).shown.replace("\u202f", " ")
    assert "17.9 MB" in shown  # 10,744,190 bytes read in 0.6 CPU seconds
    spent = sum(facts["artifacts"][name]["cost_usd"] for name in text_through(facts))
    assert f"per million kept tokens{money(spent / 2_385_191 * 1e6)}" in shown


def test_tokens_left_after_a_step_are_estimated_and_called_so(facts: dict[str, Any]) -> None:
    shown = Page(render({k: facts[k] for k in ("corpus", "tokens")})).shown.replace("\u202f", " ")
    assert "≈ 3.13 M tokens" in shown  # 10,744,190 bytes at 8,190,702 bytes for 2,385,191 tokens
    assert "tokens" not in Page(render({"corpus": facts["corpus"]})).shown.split("Why documents went")[0]
