"""Documents to look at: rejected and narrowly kept ones with what offends marked, and pairs of duplicates. Pure.

The invariant: nothing of a document is read as markup, and a mark stands where its record says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from raytrain.observe.notation import clip, number_or, percent, real, significant, text
from raytrain.observe.page import details
from raytrain.observe.report.section import Facts, entries

MOST, OPEN = 40, 8  # documents of a list, and how many of them without opening the rest
MOST_PAIRS, OPEN_PAIRS = 40, 6
SHOWN = 4000  # characters of a text
_WORD = re.compile(r"\s+|\S+")

Span = tuple[int, int]


def rejected(facts: Facts) -> str:
    """A sample of each reason's documents."""
    return _list([_document(row) for row in entries(facts.get("rejected"))])


def borderline(facts: Facts) -> str:
    """Kept documents, the narrowest first."""
    ranked = sorted(entries(facts.get("borderline")), key=lambda row: number_or(row.get("margin"), 1.0))
    return _list([_document(row, _margin(row)) for row in ranked])


def _list(drawn: Sequence[str]) -> str:
    more = drawn[OPEN:MOST]
    return "".join(drawn[:OPEN]) + (details(f"{len(more)} more", "".join(more)) if more else "")


def _margin(row: Facts) -> str:
    margin = real(row.get("margin"))
    return "" if margin is None else f"by {percent(margin)}" if margin else "at the threshold"


def _reasons(row: Facts) -> list[str]:
    given = row.get("reasons")
    return [str(r) for r in given] if isinstance(given, Sequence) and not isinstance(given, str) else []


def _document(row: Facts, remark: str = "") -> str:
    reasons = _reasons(row)
    chips = "".join(f'<span class="chip">{text(r)}</span>' for r in [*reasons[:2], *([remark] if remark else [])])
    chips += f'<span class="chip">+{len(reasons) - 2}</span>' if len(reasons) > 2 else ""
    why = [
        f"{n.get('rule')}: {n.get('column')} is {significant(n.get('value'))}, "
        f"asked {n.get('op')} {significant(n.get('threshold'))}"
        for n in entries(row.get("numbers"))
    ]
    told = "".join(f"<li>{text(w)}</li>" for w in [*(why or reasons), *_matches(row)])
    ids = " · ".join(text(row[k]) for k in ("source", "domain", "licence", "doc_id") if row.get(k))
    start = " ".join(clip(row.get("text") or "", 90).split())
    return (
        f'<details class="rejected"><summary><span class="start">{text(start) or "<em>no text</em>"}</span>'
        f"{chips}</summary>"
        f'<p class="note">{ids}</p>{f"<ul>{told}</ul>" if told else ""}'
        f"<pre>{marked(str(row.get('text') or ''), _spans(row))}</pre></details>"
    )


def _matches(row: Facts) -> list[str]:
    """The evaluation items that stand in a document."""
    return [
        f"{one.get('set')}, item {one.get('item')}, overlap {significant(one.get('overlap'))}: "
        f"“{clip(' '.join(str(one.get('text') or '').split()), 200)}”"
        for one in entries(row.get("matches"))
    ]


def _spans(row: Facts) -> list[Span]:
    given = row.get("spans")
    pairs = given if isinstance(given, Sequence) and not isinstance(given, str) else []
    return [
        (int(pair[0]), int(pair[1]))
        for pair in pairs
        if isinstance(pair, Sequence) and len(pair) == 2 and all(real(end) is not None for end in pair)
    ]


def marked(value: str, spans: Iterable[Span]) -> str:
    """The beginning of a text as HTML, the characters of `spans` (start, end) marked; spans may overlap."""
    parts, at, end = [], 0, min(len(value), SHOWN)
    for low, high in sorted(spans):
        low, high = max(low, at), min(high, end)
        if low < high:
            parts.append(f"{text(value[at:low])}<mark>{text(value[low:high])}</mark>")
            at = high
    return "".join(parts) + text(value[at:end]) + ("…" if len(value) > end else "")


def gallery(facts: Facts) -> str:
    """Pairs that dedup compared, the nearest to its threshold first, with the words marked that the other lacks."""
    threshold = number_or(facts.get("threshold"), 0.8)
    pairs = sorted(entries(facts.get("gallery")), key=lambda row: abs(number_or(row.get("jaccard"), 0.0) - threshold))
    drawn = [_pair(row) for row in pairs[:MOST_PAIRS]]
    more = drawn[OPEN_PAIRS:]
    return "".join(drawn[:OPEN_PAIRS]) + (details(f"{len(more)} more pairs", "".join(more)) if more else "")


def _pair(row: Facts) -> str:
    first, second = (str(row.get(key) or "") for key in ("a_text", "b_text"))
    only_first, only_second = _but_for_the_cut(differences(first, second), first, second)
    accepted = bool(row.get("accepted"))
    figures = [f"{key} {significant(row[key])}" for key in ("jaccard", "containment") if real(row.get(key)) is not None]
    chip = f'<span class="chip {"warning" if accepted else ""}">{"duplicate" if accepted else "not a duplicate"}</span>'
    rule = f'<span class="chip">{text(row["rule"])}</span>' if row.get("rule") else ""
    sides = "".join(
        f'<div><p class="note">{text(row.get(name) or "")}</p><pre>{marked(value, spans)}</pre></div>'
        for name, value, spans in (("a_record_id", first, only_first), ("b_record_id", second, only_second))
    )
    start = " ".join(clip(first, 70).split())
    return (
        f'<details class="rejected pair"><summary><span class="start">{text(start)}</span>'
        f'<span class="chip">{text(", ".join(figures))}</span>{rule}{chip}</summary><div class="sides">{sides}</div>'
        "</details>"
    )


def _but_for_the_cut(found: tuple[list[Span], list[Span]], *texts: str) -> tuple[list[Span], list[Span]]:
    """The differences without one at the very end of a single text: both are beginnings, cut at the same length."""
    at_end = [bool(spans) and spans[-1][1] == len(value) for spans, value in zip(found, texts, strict=True)]
    first, second = (
        spans[:-1] if ends and not all(at_end) else spans for spans, ends in zip(found, at_end, strict=True)
    )
    return first, second


def differences(first: str, second: str) -> tuple[list[Span], list[Span]]:
    """Where each of two texts has words that the other has not at that place."""
    words = [[match.span() for match in _WORD.finditer(value)] for value in (first, second)]
    tokens = [[value[low:high] for low, high in held] for value, held in zip((first, second), words, strict=True)]
    found: tuple[list[Span], list[Span]] = ([], [])
    for kind, *bounds in SequenceMatcher(None, tokens[0], tokens[1], autojunk=False).get_opcodes():
        if kind != "equal":
            for side in (0, 1):
                low, high = bounds[2 * side], bounds[2 * side + 1]
                if low < high:
                    found[side].append((words[side][low][0], words[side][high - 1][1]))
    return found
