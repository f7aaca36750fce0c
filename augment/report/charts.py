"""Charts as inline SVG in the page's own font and colours, so that they turn dark with it and print with it."""

import html
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean, stdev

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Matplotlib wants colours it can compute with. Each CSS variable of the page gets a code, put back at the end.
_VARIABLES = ("ink", "muted", "rule", "card", "arm-1", "arm-2", "line-1", "line-2", "line-3", "line-4")
_CODES = {name: f"#0a0b{index + 16:02x}" for index, name in enumerate(_VARIABLES)}

_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a class may be called a$b
    "font.size": 12,
    "text.color": _CODES["ink"],
    "axes.labelcolor": _CODES["muted"],
    "xtick.labelcolor": _CODES["muted"],
    "ytick.labelcolor": _CODES["muted"],
    "xtick.color": _CODES["rule"],
    "ytick.color": _CODES["rule"],
    "axes.edgecolor": _CODES["rule"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _CODES["rule"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 1.4,
}
WIDTH, WIDE = 490, 1000  # of a chart: half a page's, and a page's
PIXELS = 72  # per inch: one SVG unit is one CSS pixel
FEW_POINTS = 10  # of a line; fewer are marked, so that one shows what was measured and what lies between


@dataclass(frozen=True)
class Line:
    """A curve; `colour` is a variable of the page such as "line-1". The legend leaves out a name that starts with _."""

    name: str
    x: Sequence[int | float]
    y: Sequence[int | float]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Arm:
    """A named value per row of a chart, and for each row the values it is the mean of; None is not drawn.

    Attributes:
        hollow: bars that are outlines, to tell two arms of one colour apart.
    """

    name: str
    values: Sequence[float | None]
    colour: str
    parts: Sequence[Sequence[float | None]] = ()
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """An arm's values at each label fraction; none where there are none yet.

    Attributes:
        hollow: dots that are rings, and a dashed line, to tell two series of one colour apart.
    """

    values: Sequence[Sequence[int | float]]
    colour: str
    hollow: bool = False


@dataclass(frozen=True)
class Interval:
    """A mean with its interval and the values that it is the mean of; None where there is none."""

    mean: float | None
    interval: Sequence[float] | None
    values: Sequence[float]
    colour: str
    hollow: bool = False


def line_chart(lines: Sequence[Line], x_label: str, title: str) -> str:
    """Curves on a scale that holds zero. A legend stands where a line has a name to put into it."""
    with matplotlib.rc_context(_STYLE):
        figure = _figure(250)
        axes = figure.subplots()
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                label=line.name,
                color=_CODES[line.colour],
                linestyle="--" if line.dashed else "-",
                marker="o" if len(line.x) <= FEW_POINTS else None,
                markersize=5,
                clip_on=False,
            )
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.set_xlim(left=0)
        low, high = min(min(line.y) for line in lines), max(max(line.y) for line in lines)
        axes.set_ylim(1.08 * min(0, low), 1.08 * max(0, high) or 1)
        axes.grid(axis="x", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if not all(line.name.startswith("_") for line in lines):
            axes.legend(loc="best")
        return _svg(figure, title)


def bar_rows(rows: Sequence[str], arms: Sequence[Arm], x_label: str, description: str, width: int = WIDTH) -> str:
    """A group of bars per row, one for each arm, with the values that it is the mean of as dots on it."""
    thickness = 0.8 / len(arms)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(30 + len(rows) * (14 + 14 * len(arms)), width)
        axes = figure.subplots()
        for index, arm in enumerate(arms):
            places = [row + (index - (len(arms) - 1) / 2) * thickness for row in range(len(rows))]
            lengths = [value or 0.0 for value in arm.values]
            colour = _CODES[arm.colour]
            face = _CODES["card"] if arm.hollow else colour
            axes.barh(places, lengths, thickness * 0.9, color=face, edgecolor=colour, linewidth=1, label=arm.name)
            for place, parts in zip(places, arm.parts, strict=False):
                dots = [part for part in parts if part is not None]
                axes.plot(dots, [place] * len(dots), "o", color=_CODES["ink"], markersize=2.5)
        _rows(axes, rows)
        axes.set_xlim(left=0)
        axes.set_xlabel(x_label)
        return _svg(figure, description, width)


def paired_dots(rows: Sequence[str], arms: Sequence[Arm], x_label: str, description: str) -> str:
    """A line per row from one arm's value to the other's, on a scale that shows their distance (not from zero)."""
    with matplotlib.rc_context(_STYLE):
        figure = _figure(48 + 30 * len(rows))
        axes = figure.subplots()
        for row in range(len(rows)):
            ends = [arm.values[row] for arm in arms]
            axes.plot((min(ends), max(ends)), (row, row), color=_CODES["rule"], linewidth=4, solid_capstyle="round")
        for arm in arms:
            axes.plot(arm.values, range(len(rows)), "o", color=_CODES[arm.colour], markersize=9, label=arm.name)
        _rows(axes, rows)
        axes.margins(x=0.15)
        axes.set_xlabel(x_label)
        return _svg(figure, description)


def fraction_chart(
    fractions: Sequence[int | float], ticks: Sequence[str], series: Sequence[Series], y_label: str, title: str
) -> str:
    """A line per series through its means, over fractions on a log scale; beside each all values, and ± their std.

    What stands beside a fraction belongs to it: shifted lines would rank the series wrongly. The scale of y shows the
    differences; it need not hold zero.
    """
    nearest = min((max(a, b) / min(a, b) for a, b in itertools.pairwise(fractions)), default=2)
    step = nearest ** (0.3 / len(series))
    with matplotlib.rc_context(_STYLE):
        figure = _figure(380, WIDE)
        axes = figure.subplots()
        axes.set_xscale("log")
        for index, one in enumerate(series):
            known = [(place, values) for place, values in zip(fractions, one.values, strict=True) if values]
            colour = _CODES[one.colour]
            axes.plot(
                [place for place, _ in known],
                [fmean(values) for _, values in known],
                color=colour,
                linewidth=1.3,
                linestyle="--" if one.hollow else "-",
            )
            for place, values in known:
                beside = place * step ** (index - (len(series) - 1) / 2)
                spread = stdev(values) if len(values) > 1 else 0
                bar = {"marker": "_", "markersize": 9, "markeredgewidth": 2, "elinewidth": 1.5}
                axes.errorbar(beside, fmean(values), spread, color=colour, **bar)
                _dots(axes, [beside] * len(values), values, colour, hollow=one.hollow)
        axes.set_title(title)
        axes.set_xticks(fractions, ticks)
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(fractions) / nearest**0.3, max(fractions) * nearest**0.3)
        axes.set_ylabel(y_label)
        axes.margins(y=0.1)
        return _svg(figure, title, WIDE)


def interval_rows(rows: Sequence[str], intervals: Sequence[Interval], x_label: str, description: str) -> str:
    """A row per difference: mean, interval, every value. Where an interval is cut off, it ends in an arrow."""
    with matplotlib.rc_context(_STYLE):
        figure = _figure(56 + 34 * len(rows), WIDE)
        axes = figure.subplots()
        values = [0.0, *(value for one in intervals for value in one.values)]
        reach = 1.5 * (max(values) - min(values)) or 1.0  # beyond the values: an interval of few seeds has no end
        ends = [end for one in intervals for end in one.interval or ()]
        low = max(min([*values, *ends]), min(values) - reach)
        high = min(max([*values, *ends]), max(values) + reach)
        margin = 0.05 * (high - low) or 1.0
        axes.axvline(0, color=_CODES["ink"], linewidth=1)
        for row, one in enumerate(intervals):
            colour = _CODES[one.colour]
            if one.interval:
                shown = [max(one.interval[0], low), min(one.interval[1], high)]
                axes.plot(shown, [row, row], color=colour, linewidth=2)
                for end, place, marker in zip(one.interval, shown, "<>", strict=True):
                    axes.plot(place, row, "|" if end == place else marker, color=colour, markersize=8, clip_on=False)
            _dots(axes, one.values, [row + 0.28] * len(one.values), colour, hollow=one.hollow)
            if one.mean is not None:
                face = _CODES["card"] if one.hollow else colour
                axes.plot(one.mean, row, "o", color=colour, markerfacecolor=face, markersize=8)
        _rows(axes, rows)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel(x_label)
        return _svg(figure, description, WIDE)


def _dots(axes: Axes, x: Sequence[int | float], y: Sequence[int | float], colour: str, *, hollow: bool) -> None:
    axes.plot(x, y, "o", color=colour, markerfacecolor="none" if hollow else colour, markersize=3.5)


def _rows(axes: Axes, rows: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    axes.tick_params(axis="y", length=0, labelcolor=_CODES["ink"])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _figure(height: int, width: int = WIDTH) -> Figure:
    return Figure(figsize=(width / PIXELS, height / PIXELS), layout="constrained")


def _svg(figure: Figure, description: str, width: int = WIDTH) -> str:
    """The figure as an `<svg>` element to put into HTML.

    Args:
        description: what it shows, for those who do not see it; also keeps the ids of two charts on a page apart.
    """
    stream = StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": description}):
        figure.savefig(stream, format="svg", transparent=True, metadata=no_metadata)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, code in _CODES.items():
        svg = svg.replace(code, f"var(--{name})")
    referred = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)
    svg = re.sub(r' font-family: [^;"]*;|\s*<style.*?</style>| xmlns(:\w+)?="[^"]*"', "", svg)  # the page has them
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    opening = f'<svg class="chart" role="img" aria-label="{html.escape(description)}" {view_box} '
    return opening + f'style="max-width: {width}px">' + svg[svg.index(">") + 1 :]
