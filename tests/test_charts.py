"""Charts as pieces of a page: no addresses, its colours, ids that lead somewhere, the same bytes every time."""

import re

import pytest

from augment.report.charts import (
    Arm,
    Interval,
    Line,
    Series,
    bar_rows,
    fraction_chart,
    interval_rows,
    line_chart,
    paired_dots,
)

CHARTS = {
    "lines": lambda: line_chart([Line("a", [1, 2], [3.0, 4.0], "line-1"), Line("_", [5], [1.0], "line-2")], "x", "t"),
    "bars": lambda: bar_rows(["car", "a$b$ & <c>"], [Arm("a", [1.0, None], "arm-1", [[0.5, 1.5], [None]])], "x", "t"),
    "dots": lambda: paired_dots(["s"], [Arm("a", [1.0], "arm-1"), Arm("b", [2.0], "arm-2")], "x", 'a "t" & <u>'),
    "fractions": lambda: fraction_chart(
        [1.0, 0.05],
        ["100 %", "5 %"],
        [Series([[40.0, 41.0, 42.0], [30.5]], "arm-1"), Series([[39.0, 42.0], []], "arm-2", hollow=True)],
        "y",
        "f",
    ),
    "fraction": lambda: fraction_chart([0.25], ["25 %"], [Series([[40.0]], "arm-1")], "y", "one"),
    "intervals": lambda: interval_rows(
        ["a", "b", "c"],
        [
            Interval(1.0, (-40.0, 42.0), [0.5, 1.5], "arm-1"),
            Interval(2.0, (1.5, 2.5), [2.0, 2.1], "arm-2", hollow=True),
            Interval(None, None, [], "line-1"),
        ],
        "x",
        "i",
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_piece_of_a_page(name):
    svg = CHARTS[name]()
    assert svg.startswith("<svg ") and svg.rstrip().endswith("</svg>")
    assert "http" not in svg and "<style" not in svg and "font-family" not in svg
    ids, referred = re.findall(r' id="([^"]*)"', svg), re.findall(r"#(\w+)", svg)
    assert set(ids) == set(referred) and len(ids) == len(set(ids))
    assert "var(--ink)" in svg and "#0a0b" not in svg  # no colour code is left
    assert svg == CHARTS[name]()


def test_names_are_text_and_not_markup():
    assert ">a$b$ &amp; &lt;c></text>" in CHARTS["bars"]().replace("&gt;", ">")
    assert 'aria-label="a &quot;t&quot; &amp; &lt;u&gt;"' in CHARTS["dots"]()


def test_a_bar_is_as_long_as_its_value():
    svg = bar_rows(["a", "b"], [Arm("one", [10.0, 40.0], "arm-1")], "x", "t")
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--arm-1\)', svg)
    columns = [[float(x) for x in re.findall(r"[ML] (\S+)", path)] for path in paths]
    lengths = [max(x) - min(x) for x in columns]
    assert len(lengths) == 2 and lengths[1] == pytest.approx(4 * lengths[0], rel=1e-4)


def test_hollow_bars_are_outlines_of_the_same_length():
    filled, hollow = (
        bar_rows(["a"], [Arm("one", [40.0], "arm-1", hollow=hollow)], "x", "t") for hollow in (False, True)
    )
    assert "fill: var(--arm-1)" in filled and "fill: var(--arm-1)" not in hollow and "fill: var(--card)" in hollow
    assert re.search(r'<path d="([^"]*)"[^>]*fill: var\(--arm-1\)', filled)[1] in hollow


def test_an_interval_that_is_cut_off_says_so():
    def ends(interval: tuple[float, float]) -> int:
        svg = interval_rows(["a"], [Interval(1.0, interval, [0.5, 1.5], "arm-1")], "x", "i")
        return len(set(re.findall(r'<path id="(\w+)"', svg)))

    assert ends((-40.0, 42.0)) == ends((0.0, 2.0)) + 1  # two arrows in place of one kind of end
