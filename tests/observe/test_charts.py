"""Charts hold for any figures: finite coordinates inside the plot, escaped text, nothing of interest lost."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.observe import charts, notation
from raytrain.observe.charts import Bar, Line, Node
from raytrain.observe.notation import THIN

HOSTILE = "</svg><script>alert(1)</script>\x00\x1b[31m\u202e\ud800\"'&"
finite = st.floats(-1e12, 1e12, allow_nan=False)
anything = st.floats(allow_nan=True, allow_infinity=True)
curves = st.lists(st.tuples(st.integers(1, 10_000), anything), max_size=60).map(lambda p: sorted(p, key=lambda q: q[0]))


def parsed(svg: str) -> ElementTree.Element:
    """The fragment as XML, which it must be: well formed, without control characters."""
    svg.encode()
    return ElementTree.fromstring(f"<body>{svg}</body>")


def percentages(svg: str) -> list[float]:
    return [float(v) for v in re.findall(r'"(-?[0-9.]+)%"', svg)]


@settings(max_examples=60, deadline=None)
@given(curves, st.booleans(), st.booleans())
def test_every_coordinate_is_finite_and_inside(points: list[tuple[float, float]], log_x: bool, from_zero: bool) -> None:
    points = [(x, y if abs(y) < 1e300 else math.inf) for x, y in points]
    svg = charts.line_chart([Line("a", points, marks=True)], label="a", log_x=log_x, from_zero=from_zero)
    if not any(math.isfinite(y) for _, y in points):
        assert svg == ""
        return
    root = parsed(svg)
    assert "nan" not in svg
    assert "inf" not in svg
    assert all(0 <= v <= 100 for v in percentages(svg))
    for path in root.iter("path"):
        numbers = [float(v) for v in re.findall(r"-?[0-9.]+", path.attrib["d"])]
        assert all(0 <= v <= 1000 for v in numbers)


def test_a_long_curve_keeps_its_extremes_and_few_points() -> None:
    points = [(float(k), math.sin(k / 900)) for k in range(100_000)]
    points[31_415] = (31_415.0, 7.5)
    points[77_777] = (77_777.0, -9.25)
    kept = charts.downsample(points)
    assert len(kept) <= 2 * charts.BUCKETS + 2
    assert (31_415.0, 7.5) in kept
    assert (77_777.0, -9.25) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept)


def test_a_log_axis_keeps_the_start_in_detail() -> None:
    points = [(float(k), 1 / k) for k in range(1, 100_001)]
    assert sum(x <= 100 for x, _ in charts.downsample(points, log=True)) > 50
    assert sum(x <= 100 for x, _ in charts.downsample(points)) < 5


def test_a_point_that_is_not_finite_breaks_the_curve() -> None:
    svg = charts.line_chart([Line("a", [(1, 1.0), (2, math.nan), (3, 2.0), (4, 3.0)])], label="a")
    assert svg.count("M") == 2
    long = [(float(k), math.nan if k == 5000 else 1.0 + k % 7) for k in range(10_000)]
    assert charts.line_chart([Line("a", long)], label="a").count("M") == 2


@given(st.lists(st.tuples(st.integers(0, 1000), finite), min_size=1, max_size=300))
def test_smoothing_stays_between_the_extremes(points: list[tuple[float, float]]) -> None:
    smoothed = charts.smooth(points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    room = 1e-6 * max(1.0, abs(low), abs(high)) * len(points)
    assert [x for x, _ in smoothed] == [x for x, _ in points]
    assert all(low - room <= y <= high + room for _, y in smoothed)


def test_smoothing_does_not_lag_behind_a_fall() -> None:
    points = [(float(k), 10 * math.exp(-k / 30)) for k in range(600)]
    assert all(abs(a - b) < 0.1 for (_, a), (_, b) in zip(charts.smooth(points), points, strict=True))


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_few_inside_and_evenly_spaced(low: float, span: float, most: int) -> None:
    high = low + span
    if not high > low:
        return
    values = charts.ticks(low, high, most)
    assert len(values) <= most
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - slack <= v <= high + slack for v in values)
    assert values == sorted(values)


def test_axis_labels_have_equal_decimals_and_are_distinct() -> None:
    assert charts.axis_labels([2.0, 2.5, 3.0]) == ["2.0", "2.5", "3.0"]
    assert charts.axis_labels([0.0, 0.002, 0.004]) == ["0", "0.002", "0.004"]
    assert charts.axis_labels([0, 2e5, 4e5]) == ["0", f"200{THIN}k", f"400{THIN}k"]
    assert charts.axis_labels([1e-5, 2e-5]) == ["1.0e-5", "2.0e-5"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (notation.count(1234567), "1 234 567"),
        (notation.short(999_950), "1.00 M"),
        (notation.short(4_000_512), "4.00 M"),
        (notation.short(12), "12"),
        (notation.size(10_744_190), "10.7 MB"),
        (notation.size(87), "87 B"),
        (notation.significant(0.00042), "0.000420"),
        (notation.significant(3.14159, 4), "3.142"),
        (notation.significant(1e-7), "1.00e-7"),
        (notation.percent(0.1234), "12.3 %"),
        (notation.percent(0.0002), "0.020 %"),
        (notation.percent(1.0), "100 %"),
        (notation.money(0.00271), "$0.00271"),
        (notation.money(0.00002), "<$0.0001"),
        (notation.money(12345.6), "$12 346"),
        (notation.money(3.5), "$3.50"),
        (notation.duration(0), "0 s"),
        (notation.duration(0.25), "250 ms"),
        (notation.duration(59.7), "1 min"),
        (notation.duration(11_100), "3 h 5 min"),
        (notation.duration(200_000), "2 d 7 h"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown.replace(THIN, " ") == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "7", True, [], 10**400])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    shown = {
        show(value) for show in (notation.count, notation.short, notation.significant, notation.size, notation.percent)
    }
    assert shown | {notation.money(value), notation.duration(value)} == {"–"}


def test_hostile_text_is_inert_everywhere() -> None:
    drawn = (
        charts.bars([Bar(HOSTILE, 1, HOSTILE, HOSTILE)], label=HOSTILE)
        + charts.shares([(HOSTILE, 0.5, 0.5)], label=HOSTILE)
        + charts.waterfall([(HOSTILE, 2, 3), (HOSTILE, 1, 1)], label=HOSTILE)
        + charts.stacked_bar([Bar(HOSTILE, 1, HOSTILE)], label=HOSTILE)
        + charts.lineage([Node(HOSTILE, HOSTILE, HOSTILE, (HOSTILE, HOSTILE))], [], label=HOSTILE)
        + charts.legend([(HOSTILE, HOSTILE, HOSTILE)])
        + charts.line_chart([Line(HOSTILE, [(1, 1.0)], HOSTILE)], label=HOSTILE, levels=[(HOSTILE, 2.0)])
        + f'<p title="{charts.tip_data([Line(HOSTILE, [(1, 1.0)])], HOSTILE)}"/>'
    )
    root = parsed(drawn)
    assert "<script" not in drawn
    assert not [e for e in root.iter() if e.tag == "script"]


def test_without_rows_there_is_no_picture() -> None:
    assert charts.line_chart([], label="x") == charts.bars([], label="x") == charts.waterfall([], label="x") == ""
    assert charts.shares([], label="x") == charts.stacked_bar([], label="x") == charts.lineage([], [], label="x") == ""


def test_bars_are_in_proportion() -> None:
    svg = charts.bars([Bar("a", 4, "4"), Bar("b", 1, "1"), Bar("c", 0, "0")], label="x")
    assert re.findall(r'class="fill one"[^>]* width="([0-9.]+)%"', svg) == ["100.00", "25.00", "0.00"]


def test_a_stacked_bar_fills_its_width_and_skips_what_is_nothing() -> None:
    svg = charts.stacked_bar([Bar("a", 3, "3"), Bar("none", 0, "0"), Bar("b", 1, "1")], label="x")
    assert re.findall(r' x="([0-9.]+)%"[^>]* width="([0-9.]+)%"', svg) == [("0.00", "75.00"), ("75.00", "25.00")]


def test_a_waterfall_shows_what_each_step_lost() -> None:
    svg = charts.waterfall([("all", 100, 1000), ("some", 60, 900), ("more", 80, 900)], label="x")
    assert "−40" in svg
    assert re.findall(r'hatch\)" x="([0-9.]+)%"[^>]* width="([0-9.]+)%"', svg) == [
        ("60.00", "40.00"),
        ("90.00", "10.00"),
    ]


def test_lineage_puts_parents_first_and_survives_a_cycle() -> None:
    assert charts.in_order({"c": ["b"], "b": ["a"], "a": []}) == ["a", "b", "c"]
    assert charts.in_order({"a": [], "b": ["a"], "x": [], "c": ["a", "b"]}) == ["a", "b", "x", "c"]
    assert sorted(charts.in_order({"a": ["b"], "b": ["a"], "c": []})) == ["a", "b", "c"]
    assert charts.in_order({"a": ["not here"]}) == ["a"]


def test_a_threshold_stands_where_its_value_lies_between_edges_however_they_grow() -> None:
    drawn = charts.histogram([0, 1, 10, 100], [5, 2, 1], [charts.Threshold("words", ">=", 55)], label="x")
    at = 100 * (2 + (55 - 10) / 90) / 3
    assert f'x1="{at:.2f}%"' in drawn
    assert f'<rect class="rejects" x="0.00%" y="0" width="{at:.2f}%"' in drawn
    most = charts.histogram([0, 1, 10, 100], [5, 2, 1], [charts.Threshold("words", "<=", 55)], label="x")
    assert f'<rect class="rejects" x="{at:.2f}%"' in most


@pytest.mark.parametrize("edges", [[], [1], [0, 1], [0, 1, 1], [0, 2, 1]])
def test_counts_that_do_not_fit_their_edges_are_not_drawn(edges: list[float]) -> None:
    assert charts.histogram(edges, [1.0, 2.0], label="x") == ""


def test_every_bin_reaches_its_height() -> None:
    drawn = charts.histogram([0, 1, 2, 3], [4, 0, 1], label="x")
    assert [float(v) for v in re.findall(r"1000V([\d.]+)h", drawn)] == [0, 1000, 750]
