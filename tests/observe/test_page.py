"""The report in a real browser: nothing overflows, nothing complains, nothing is fetched, and the script works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.observe.report import render

pytestmark = pytest.mark.slow  # each runs the command or a browser

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if not CHROMIUM.exists():
    pytest.skip(f"{CHROMIUM} is not there (apt-get install chromium)", allow_module_level=True)

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e" + "averyveryverylongwordwithoutanybreak" * 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


def bins(rule: str) -> dict[str, Any]:
    thresholds = [{"rule": rule, "op": ">=", "threshold": 1.5}]
    return {"edges": [0, 1, 2], "documents": [3, 4], "thresholds": thresholds}


def cases(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    hostile = {
        **facts,
        "run": HOSTILE[:60] + "x" * 60,
        "samples": [{"prompt": HOSTILE, "text": HOSTILE}],
        "peeks": [{"step": s, "prompts": [{"prompt": HOSTILE, "next": [[HOSTILE, 0.9]] * 5}]} for s in (0, 60, 600)],
        "rejected": [{**facts["rejected"][0], "text": HOSTILE, "reasons": [HOSTILE], "source": HOSTILE}],
        "borderline": [{"text": HOSTILE, "spans": [[3, 40]], "reasons": [HOSTILE], "margin": 0.01}],
        "gallery": [{"a_text": HOSTILE, "b_text": HOSTILE[5:], "a_record_id": HOSTILE, "rule": HOSTILE, "jaccard": 1}],
        "corpus": {
            **facts["corpus"],
            "histograms": {HOSTILE: bins(HOSTILE)},
            "reasons": {HOSTILE: {"documents": 3}},
            "quarantined": {HOSTILE: 3},
        },
        "events": [{"ts": 1.0, "kind": HOSTILE, "step": 1, "text": HOSTILE}],
    }
    corpus = {
        k: facts[k] for k in ("run", "recipe", "corpus", "ingest", "rejected", "borderline", "gallery", "artifacts")
    }
    return {
        "full": facts,
        "corpus": corpus,
        "empty": {},
        "early": {"run": "early", "curve": facts["curve"][:1]},
        "hostile": hostile,
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("case", ["full", "corpus", "empty", "early", "hostile"])
def test_the_page_is_quiet_and_fits(
    browser: Any, facts: dict[str, Any], tmp_path: Path, case: str, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(cases(facts)[case]), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    fetched: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        "[...document.querySelectorAll('svg text')].every(t => t.getBoundingClientRect().right <= innerWidth + 1)"
    )
    assert said == []
    assert fetched == [path.as_uri()]
    context.close()


def test_the_pointer_shows_figures_and_buttons_change_the_scale(
    browser: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    chart = page.locator("figure.chart", has_text="Training loss")
    chart.locator("svg.plot").first.scroll_into_view_if_needed()
    box = chart.locator("svg.plot").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "step" in tip.inner_text()
    assert "smoothed" in tip.inner_text()
    step = int(tip.locator("b").first.inner_text())
    assert abs(step - 300) <= 3
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    assert [v.is_visible() for v in chart.locator(".view").all()] == [True, False, False]
    chart.get_by_role("button", name="log steps").click()
    assert [v.is_visible() for v in chart.locator(".view").all()] == [False, True, False]
    page.close()


def test_without_script_everything_but_the_scales_is_there(browser: Any, facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("svg.plot").first.is_visible()
    assert not page.locator(".switch").first.is_visible()
    context.close()


def test_histograms_change_to_a_logarithm_and_marks_are_seen(
    browser: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(path.as_uri())
    chart = page.locator("#thresholds figure.chart", has_text="terminal punctuation")
    chart.get_by_role("button", name="log").click()
    assert [view.is_visible() for view in chart.locator(".view").all()] == [False, True]
    pair = page.locator("#duplicates details").first
    pair.locator("summary").click()
    assert [mark.inner_text() for mark in pair.locator("mark").all()[:2]] == ["Monday", "two"]
    left, right = (side.bounding_box() for side in pair.locator(".sides > div").all())
    assert left["y"] + left["height"] <= right["y"]  # on a phone one below the other
    page.close()
