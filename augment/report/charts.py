"""Charts as inline SVG in the page's own font and colours, so that they turn dark with it and print with it."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Matplotlib wants colours it can compute with. Each CSS variable of the page gets a code, put back at the end.
_VARIABLES = ("ink", "muted", "rule", "arm-1", "arm-2", "line-1", "line-2", "line-3", "line-4")
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
WIDTH = 490  # of a chart, half a page's
PIXELS = 72  # per inch: one SVG unit is one CSS pixel
FEW_POINTS = 10  # of a line; fewer are marked, so that one shows what was measured and what lies between


@dataclass(frozen=True)
class Line:
    """A curve; `colour` is a variable of the page such as "line-1". The legend leaves out a name that starts with _."""

    name: str
    x: Sequence[int | float]
    y: Sequence[int | float]
    colour: str


@dataclass(frozen=True)
class Arm:
    """A named value per row of a chart, and for each row the values it is the mean of; None is not drawn."""

    name: str
    values: Sequence[float | None]
    colour: str
    parts: Sequence[Sequence[float | None]] = ()


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


def bar_rows(rows: Sequence[str], arms: Sequence[Arm], x_label: str, description: str) -> str:
    """A group of bars per row, one for each arm, with the values that it is the mean of as dots on it."""
    thickness = 0.8 / len(arms)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(30 + len(rows) * (14 + 14 * len(arms)))
        axes = figure.subplots()
        for index, arm in enumerate(arms):
            places = [row + (index - (len(arms) - 1) / 2) * thickness for row in range(len(rows))]
            lengths = [value or 0.0 for value in arm.values]
            axes.barh(places, lengths, thickness * 0.9, color=_CODES[arm.colour], label=arm.name)
            for place, parts in zip(places, arm.parts, strict=False):
                dots = [part for part in parts if part is not None]
                axes.plot(dots, [place] * len(dots), "o", color=_CODES["ink"], markersize=2.5)
        _rows(axes, rows)
        axes.set_xlim(left=0)
        axes.set_xlabel(x_label)
        return _svg(figure, description)


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


def _rows(axes: Axes, rows: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    axes.tick_params(axis="y", length=0, labelcolor=_CODES["ink"])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _figure(height: int) -> Figure:
    return Figure(figsize=(WIDTH / PIXELS, height / PIXELS), layout="constrained")


def _svg(figure: Figure, description: str) -> str:
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
    return opening + f'style="max-width: {WIDTH}px">' + svg[svg.index(">") + 1 :]
