"""A sweep's page says what is open before it shows what is not, and takes any text as text."""

from __future__ import annotations

from typing import Any

from raytrain.observe.sweep import render
from raytrain.scaling.study import best_split, expect, study

from .test_fit import simulated


def result(name: str = "s-sweep", failed: bool = False) -> dict[str, Any]:
    points = simulated(0.01, 0, 4, 3)
    rows = [
        {
            "run": f"{name}-{k}",
            "parameters": int(n),
            "non_embedding_parameters": int(n * 0.6),
            "tokens": int(d),
            "flops": 6.2 * n * d,
            "loss": float(loss),
            "bits_per_byte": float(loss) / 3,
            "depth": 2,
            "learning_rate": 1e-3,
            "batch_tokens": 4096,
            "steps": 128,
            "seed": 0,
            "seconds": 10.0,
            "cost_usd": 0.01,
            "status": "done",
        }
        for k, (n, d, loss) in enumerate(zip(points.parameters, points.tokens, points.loss, strict=True))
    ]
    law, _ = study(rows, seed=0, draws=100)
    if failed:
        rows[0] |= {"loss": None, "bits_per_byte": None, "seconds": None, "cost_usd": None, "status": "failed"}
    return {
        "sweep": name,
        "state": "failed" if failed else "succeeded",
        "points": rows,
        "law": law,
        "failed": [{"run": rows[0]["run"], "why": "<script>no space</script>"}] if failed else [],
        "paths": {"law.json": "/x/law.json"},
    }


def test_the_page_says_what_is_open_first() -> None:
    page = render(result())
    heads = [page.index(f"<h2>{title}") for title in ("What the grid does not say", "Loss and compute", "The law")]
    assert heads == sorted(heads)
    assert "embeddings" in page and "sha256" in page
    assert page.count('<circle class="mark') >= 3 * 12


def test_a_failed_trial_is_shown_and_its_words_are_no_markup() -> None:
    page = render(result("evil", failed=True))
    assert "&lt;script&gt;no space" in page and "<script>no space" not in page
    assert "11 of 12" in page


def test_a_sweep_without_a_law_has_a_page() -> None:
    page = render(result(failed=True) | {"law": None})
    assert "Three finished trials are needed" in page
    assert "What the grid does not say" in page
    none = result() | {"law": None}
    for row in none["points"]:
        row["status"] = "failed"
    assert "No trial has finished." in render(none)


def test_a_stored_law_foretells_and_says_how_far_it_is_asked() -> None:
    rows = result()["points"]
    law, draws = study(rows, seed=0, draws=100)
    near, far = (expect(law, draws, 1e9, tokens) for tokens in (5e10, 6e11))
    assert near["loss"]["low"] <= near["loss"]["value"] <= near["loss"]["high"]
    assert not near["far"] and far["far"] and far["loss"]["value"] < near["loss"]["value"]
    best = best_split(law, draws, law["points"]["largest_flops"])
    assert best == law["optima"][0]
    again, same = study(rows, seed=0, draws=100)
    assert again == law and same == draws
