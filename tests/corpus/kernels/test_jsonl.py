"""The kernel that finds fields in JSON lines agrees with Python's parser wherever it claims to know."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels import jsonl

FIELDS = ("text", "id", "schlüssel")


def scanned(line: bytes) -> tuple[int, dict[str, str]]:
    """What the kernel makes of one line: its kind, and the wanted fields that are text or integers."""
    names = [name.encode() for name in FIELDS]
    data = np.frombuffer(line, np.uint8)
    ends = np.array([len(line)], np.int64)
    kinds, marks, spans = jsonl.scan(
        data, ends * 0, ends, np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)])
    )
    values = {}
    for f, name in enumerate(FIELDS):
        if marks[f, 0] != jsonl.ABSENT:
            values[name] = bytes(jsonl.gather(data, marks[f], spans[f])[0]).decode("utf-8")
    return int(kinds[0]), values


def plain(value: Any) -> str | None:
    """The text that a field's value stands for; None for what counts as absent, an error for what must be odd."""
    if isinstance(value, str):
        value.encode("utf-8")
        return value
    assert not isinstance(value, float)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def check(line: bytes) -> None:
    kind, values = scanned(line)
    if kind == jsonl.BLANK:
        assert not line.strip()
    if kind == jsonl.GOOD:
        parsed = json.loads(line.decode("utf-8"))
        assert isinstance(parsed, dict)
        expected = {name: plain(parsed[name]) for name in FIELDS if name in parsed}
        assert values == {name: value for name, value in expected.items() if value is not None}


GOOD = [
    b'{"text": "a"}',
    b' \t{ "text" : "a" , "id" : -12 }\r',
    b'{"text": "\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u4e1c\\ud83d\\ude00"}',
    '{"schlüssel": "東京 😀 \x7f", "text": "é"}'.encode(),
    b'{"text": "first", "text": "last", "id": 5, "id": null}',
    b'{"x": {"text": [1, {"a": [], "b": {}}, "]}", -0.5e+3, true, false, null]}, "text": "a", "y": []}',
    b'{"text": ""}',
    b'{"id": 0, "other": 1.5}',
]
ODD = [
    b"{}",
    b"[]",
    b"{",
    b'"text"',
    b'{"text": "a"',
    b'{"text": "a",}',
    b'{"text": "a"} x',
    b'{"text": "a"}{"text": "b"}',
    b'{"text" "a"}',
    b"{'text': 'a'}",
    b'{"te\\u0078t": "a"}',
    b'{"text": "a\tb"}',
    b'{"text": "a\x00b"}',
    b'{"text": "\\x41"}',
    b'{"text": "\\u12g4"}',
    b'{"text": "\\ud83d"}',
    b'{"text": "\\ud83d\\u0041"}',
    b'{"text": "\\udc00"}',
    b'{"x": "\\ud83d \\ude00"}',
    b'{"text": "\xff"}',
    b'{"text": "\xc0\x80"}',
    b'{"text": "\xed\xa0\x80"}',
    b'{"text": "\xe0\x80\x80"}',
    b'{"text": "\xf4\x90\x80\x80"}',
    b'{"text": "\xe6\x9d',
    b'{"id": 1.5}',
    b'{"id": -0}',
    b'{"id": 1e5}',
    b'{"x": 01}',
    b'{"x": -}',
    b'{"x": 1.}',
    b'{"x": .5}',
    b'{"x": 1e}',
    b'{"x": +1}',
    b'{"x": NaN}',
    b'{"x": -Infinity}',
    b'{"x": nul}',
    b'{"x": truth}',
    b'{"x": fals}',
    b'{"x": [1 2]}',
    b'{"x": [1,]}',
    b'{"x": {"a"}}',
    b'{"x": {"a": 1,}}',
    b'{"x": {1: 2}}',
    b'{"x": [}',
    b'{"x": {]}',
    b'{"x": [1}}',
    b'{"x": ' + b"[" * 65 + b"]" * 65 + b"}",
    b'{"x": ' + b"9" * 4001 + b"}",
    b"\x0c{}",
]


@pytest.mark.parametrize("line", GOOD)
def test_lines_beyond_doubt_are_known(line: bytes) -> None:
    assert scanned(line)[0] == jsonl.GOOD
    check(line)


@pytest.mark.parametrize("line", ODD)
def test_what_python_refuses_or_writes_otherwise_is_left_to_it(line: bytes) -> None:
    assert scanned(line)[0] == jsonl.ODD


@pytest.mark.parametrize("line", [b"", b" ", b"\t \r"])
def test_blank_lines_are_blank(line: bytes) -> None:
    assert scanned(line)[0] == jsonl.BLANK


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), json_values, max_size=5)


@settings(deadline=None, max_examples=120)
@given(records, st.booleans(), st.sampled_from([None, 1]), st.data())
@example({"text": "\u2028\x85 "}, False, None, None)
def test_any_record_and_any_damage_to_it(record: Any, ascii_only: bool, indent: int | None, data: Any) -> None:
    line = (
        json.dumps(record, ensure_ascii=ascii_only, indent=indent).replace("\n", " ").encode("utf-8", "surrogatepass")
    )
    check(line)
    if data is not None and line:
        at = data.draw(st.integers(0, len(line) - 1))
        damage = data.draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"}", b",", b"\\u", b" "]))
        check(line[:at] + damage + line[at + data.draw(st.integers(0, 2)) :])


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=40) | st.text('{}[]":,\\u0d8efalstrn-.1eE text', max_size=40).map(str.encode))
def test_any_bytes(line: bytes) -> None:
    check(line.replace(b"\n", b""))
