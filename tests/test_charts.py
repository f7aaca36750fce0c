"""Charts as pieces of a page: no addresses, its colours, ids that lead somewhere, the same bytes every time."""

import re

import pytest

from augment.report.charts import Arm, Line, bar_rows, line_chart, paired_dots

CHARTS = {
    "lines": lambda: line_chart([Line("a", [1, 2], [3.0, 4.0], "line-1"), Line("_", [5], [1.0], "line-2")], "x", "t"),
    "bars": lambda: bar_rows(["car", "a$b$ & <c>"], [Arm("a", [1.0, None], "arm-1", [[0.5, 1.5], [None]])], "x", "t"),
    "dots": lambda: paired_dots(["s"], [Arm("a", [1.0], "arm-1"), Arm("b", [2.0], "arm-2")], "x", 'a "t" & <u>'),
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
