"""Documents to look at: rejected and narrowly kept ones with what offends marked, and pairs of duplicates. Pure.

The invariant: nothing of a document is read as markup, and a mark stands where its record says.
"""

from __future__ import annotations

from collections.abc import Sequence

from raytrain.observe.charts import clip, significant, text
from raytrain.observe.page import details
from raytrain.observe.report.section import Facts, entries

MOST_REJECTED, OPEN_REJECTED = 40, 8


def rejected(facts: Facts) -> str:
    drawn = [_rejected_one(row) for row in entries(facts.get("rejected"))[:MOST_REJECTED]]
    more = drawn[OPEN_REJECTED:]
    return "".join(drawn[:OPEN_REJECTED]) + (details(f"{len(more)} more", "".join(more)) if more else "")


def _rejected_one(row: Facts) -> str:
    given = row.get("reasons")
    reasons = [str(r) for r in given] if isinstance(given, Sequence) and not isinstance(given, str) else []
    chips = "".join(f'<span class="chip">{text(r)}</span>' for r in reasons[:2])
    chips += f'<span class="chip">+{len(reasons) - 2}</span>' if len(reasons) > 2 else ""
    why = [
        f"{n.get('rule')}: {n.get('column')} is {significant(n.get('value'))}, "
        f"asked {n.get('op')} {significant(n.get('threshold'))}"
        for n in entries(row.get("numbers"))
    ]
    told = "".join(f"<li>{text(w)}</li>" for w in why or reasons)
    ids = " · ".join(text(row[k]) for k in ("source", "domain", "licence", "doc_id") if row.get(k))
    start = " ".join(clip(row.get("text") or "", 90).split())
    return (
        f'<details class="rejected"><summary><span class="start">{text(start) or "<em>no text</em>"}</span>'
        f"{chips}</summary>"
        f'<p class="note">{ids}</p>{f"<ul>{told}</ul>" if told else ""}'
        f"<pre>{text(clip(row.get('text') or '', 4000))}</pre></details>"
    )
