"""The page's charts: numbers -> matplotlib -> SVG that a strict page may hold, or PNG.

The SVG has no style attributes and no style element, which the page's Content-Security-Policy
would refuse; text stays text, and ink that is black here takes the page's own colour. Charts get
their numbers ready made and compute none.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from evalkit.columns import width
from evalkit.escape import visible
from evalkit.report.fonts import families
from evalkit.report.schema import Labelled, Pair, RelativeScore, Results
from evalkit.report.words import interval
from evalkit.said import Said

BASELINE, DIRECT, CHAINED, HATCH, GRID = "#8b919c", "#3a6ea5", "#6d97c2", "#4a7db2", "#8888887f"
STYLE: Any = {
    "font.size": 11,
    "svg.fonttype": "none",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#888888",
    "hatch.linewidth": 0.8,
}
_CHAINED: dict[str, Any] = {"facecolor": CHAINED, "edgecolor": HATCH, "hatch": "///"}
_REFERENCE: dict[str, Any] = {"color": "#888888", "linewidth": 1, "linestyle": (0, (4, 3))}
WIDTH, ROW, VALUES, LONGEST_NAME = 5.2, 0.44, 1.55, 1.9  # inches; VALUES: the numbers' column
NAMES = 1.9  # inches beside the dots of prices
MANY_TIMES = 8

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Drawing:
    """The numbers that one judge gave with one prompt, as the two charts need them."""

    judge: str
    prompt: str
    baseline: str
    scores: list[RelativeScore]
    results: Results
    translation: Mapping[str, str]

    @property
    def graded(self) -> bool:
        """Whether there are percentages: not where answers were compared and none was graded."""
        return all(score.percent is not None for score in self.scores)

    def say(self, text: Said) -> str:
        """A text of our own in the language of the page."""
        return text.into(self.translation)

    def against_baseline(self, score: RelativeScore) -> Pair | None:
        """The pair of the baseline and the model of `score`, or None where they never met."""
        return self.results.pair(score, self.baseline, score.model)


def drawings(results: Results, translation: Mapping[str, str] | None = None) -> list[Drawing]:
    """What can be drawn: a Drawing for each judge and prompt that connects two models or more.

    `translation`: of the words in it; English without.
    """
    drawn = []
    for judging in results.judgings:
        scores = results.scores(*judging)
        if results.baseline is not None and len(scores) > 1:
            drawn.append(Drawing(*judging, results.baseline, scores, results, translation or {}))
    return drawn


def relative_scores(drawing: Drawing) -> Figure:
    """Bars of "% of the baseline", best first, with intervals; a chained value is hatched."""
    figure, axes = _canvas([score.model for score in drawing.scores])
    most = max(score.high or score.percent or 0 for score in drawing.scores)
    for place, score in enumerate(drawing.scores):
        direct = BASELINE if score.model == drawing.baseline else DIRECT
        kind = _CHAINED if score.via else {"color": direct}
        axes.barh(place, score.percent or 0, 0.62, linewidth=0, **kind)
        _whisker(axes, place, score.low, score.high)
        _value(axes, place, f"{score.percent:.1f}  {interval(score.low, score.high)}")
    axes.axvline(100, **_REFERENCE)
    axes.set_xlim(0, most * 1.01)
    axis = Said("% of {model}'s total score, 95% interval", model=_shortened(drawing.baseline))
    _label(axes, drawing.say(axis))
    if via := sorted({name for score in drawing.scores for name in score.via}):
        label = drawing.say(Said("by way of {models}", models=", ".join(map(_shortened, via))))
        patch = Patch(linewidth=0, label=label, **_CHAINED)
        where: Any = {"loc": "upper right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
        figure.legend(handles=[patch], frameon=False, **where)
    return figure


def win_rates(drawing: Drawing) -> Figure:
    """Dots of the win rate against the baseline, with intervals, in the order of the bars."""
    figure, axes = _canvas([score.model for score in drawing.scores])
    for place, score in enumerate(drawing.scores):
        pair = drawing.against_baseline(score)
        if pair is None or pair.win_rate_b is None:
            itself = score.model == drawing.baseline
            words = Said("the baseline") if itself else Said("never met it")
            _value(axes, place, drawing.say(words), style="italic")
            continue
        low, high = _percent(pair.win_rate_b_low), _percent(pair.win_rate_b_high)
        _whisker(axes, place, low, high)
        axes.plot(100 * pair.win_rate_b, place, "o", color=DIRECT, markersize=8, clip_on=False)
        _value(axes, place, f"{100 * pair.win_rate_b:.1f}  {interval(low, high)}")
    axes.axvline(50, **_REFERENCE)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 25))
    model = _shortened(drawing.baseline)
    _label(axes, drawing.say(Said("win rate against {model} in %, 95% interval", model=model)))
    return figure


def prices(found: Labelled, translation: Mapping[str, str]) -> Figure | None:
    """Dots of accuracy against dollars for 1,000 texts, with intervals; None with fewer than two.

    The names stand in a column beside them, from the most accurate down, each on a line to its dot.
    """
    rows = sorted(found.priced, key=lambda row: -(row.accuracy or 0))
    if len(rows) < 2:
        return None
    with mpl.rc_context(STYLE):
        height = max(2.6, ROW * len(rows) * 0.8 + 0.95)
        figure = Figure(figsize=(WIDTH, height))
        sides = (0.55 / WIDTH, 0.6 / height, (WIDTH - 0.55 - NAMES) / WIDTH, 1 - 0.75 / height)
        axes = figure.add_axes(sides)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        low = min(100 * (row.accuracy_low or 0) for row in rows)
        high = max(100 * (row.accuracy_high or 0) for row in rows)
        axes.set_ylim(max(0.0, low - 2), min(100.5, high + 2))
        _scale(axes, [row.dollars_per_thousand or 0 for row in rows])
        for place, row in enumerate(rows):
            x, y = row.dollars_per_thousand or 0, 100 * (row.accuracy or 0)
            reference = row.model == found.reference
            ends = [100 * (row.accuracy_low or 0), 100 * (row.accuracy_high or 0)]
            axes.plot([x, x], ends, color="black", linewidth=1.6, clip_on=False)
            dot = BASELINE if reference else DIRECT
            axes.plot(x, y, "o", color=dot, markersize=8, clip_on=False)
            aside: Any = {"xytext": (1.06, 1 - (place + 0.5) / len(rows))}
            line: Any = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.8, "shrinkB": 5}
            axes.annotate(
                _shortened(f"{row.model}, {row.prompt}"), (x, y), textcoords="axes fraction",
                va="center", arrowprops=line, annotation_clip=False, **aside,
            )  # fmt: skip
    across = Said("dollars for 1,000 texts").into(translation)
    axes.set_xlabel(across)
    axes.set_ylabel(Said("right %, 95% interval").into(translation))
    return figure


def _scale(axes: Axes, dollars: Sequence[float]) -> None:
    """Dollars across: by powers where the dearest costs many times the cheapest."""
    most, least = max(dollars), min(dollars)
    if least > 0 and most / least >= MANY_TIMES:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1, 3), numticks=9) if most / least < 50 else LogLocator(numticks=5)
        )
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(least / 1.5, most * 1.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(0, most * 1.15 or 1)
    axes.xaxis.set_major_formatter(lambda value, _: rf"\${value:g}")


def svg(figure: Figure, label: str) -> Markup:
    """A figure as an SVG element for the page, with `label` as its text for screen readers.

    Labels must differ within a page: they keep the ids of its drawings apart.
    """
    stream = StringIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": label}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has its own fonts
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", stream.getvalue()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    referred = set(re.findall(r"#([\w-]+)", stream.getvalue()))
    for element in root.iter():
        _presentation(element)
        if linked := element.attrib.pop(_HREF, None):
            element.set("href", linked)
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": visible(label)}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


class Picture(NamedTuple):
    """A chart as a PNG file."""

    png: bytes
    complete: bool
    """False where no font on this machine has some of its characters."""


def picture(drawing: Drawing) -> Picture:
    """The "% of the baseline" chart, or that of win rates, on white, with its judge."""
    stream = BytesIO()
    by = drawing.say(Said("judged by {judge}", judge=_shortened(drawing.judge)))
    with mpl.rc_context({"font.family": families()}):
        figure = relative_scores(drawing) if drawing.graded else win_rates(drawing)
        figure.text(0, 1, by, va="top", size=9)
    with mpl.rc_context(STYLE), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(stream, format="png", dpi=160, facecolor="white", bbox_inches="tight")
    return Picture(stream.getvalue(), not any("missing from" in str(w.message) for w in caught))


def _canvas(names: Sequence[str]) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        height = ROW * len(names) + 0.95
        figure = Figure(figsize=(WIDTH, height))
        top, bottom = 0.35 / height, 0.6 / height
        shown = [_shortened(name) for name in names]
        left = 0.2 + max(map(_inches, shown))
        width = (WIDTH - left - VALUES) / WIDTH
        axes = figure.add_axes((left / WIDTH, bottom, width, 1 - top - bottom))
        axes.set_yticks(range(len(names)), shown)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.tick_params(axis="y", pad=8)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, axes


def _value(axes: Axes, place: int, text: str, **style: Any) -> None:
    """Write what a row says in the column on the right."""
    right: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    axes.annotate(text, (1, place), (7, 0), va="center_baseline", **right, **style)


def _label(axes: Axes, text: str) -> None:
    """Write below the axes, in the middle of the figure: both sides leave the same room."""
    box = axes.get_position()
    axes.set_xlabel(text, x=(0.5 - box.x0) / box.width)


def _inches(text: str) -> float:
    """How wide a browser sets a text at the size of STYLE, roughly, whatever its font."""
    text = text.replace(r"\$", "$")
    wide = width(text) - len(text)
    capital = sum(character.isupper() for character in text)
    ems = wide + 0.72 * capital + 0.56 * (len(text) - wide - capital)
    return ems * float(STYLE["font.size"]) / 72


def _whisker(axes: Axes, place: int, low: float | None, high: float | None) -> None:
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color="black", linewidth=1.6)
        for end in (low, high):
            axes.plot([end, end], [place - 0.13, place + 0.13], color="black", linewidth=1.6)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _shortened(name: str) -> str:
    """A name that fits; a dollar sign would start a formula in matplotlib."""
    name = short = visible(name)
    kept = len(name)
    while _inches(short) > LONGEST_NAME:
        kept -= 1
        short = f"{name[: kept - kept // 3]}…{name[len(name) - kept // 3 :]}"
    return short.replace("$", r"\$")


def _presentation(element: ElementTree.Element) -> None:
    """Turn a style attribute into presentation attributes, which a strict policy allows."""
    for part in filter(None, element.attrib.pop("style", "").split(";")):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name == "font":  # "[italic] 11px 'DejaVu Sans', ..., sans-serif"
            size = re.search(r"([\d.]+)px", value)
            element.set("font-size", size[1] if size else "11")
            if "italic" in value:
                element.set("font-style", "italic")
        elif name == "font-family":  # the page's own
            continue
        elif name.startswith("font-"):
            element.set(name, value.removesuffix("px"))
        else:
            element.set(name, value)
    for name in ("fill", "stroke"):
        if element.get(name) in ("#000000", "black"):
            element.set(name, "currentColor")
    if element.tag == f"{{{_SVG}}}text" and "fill" not in element.attrib:
        element.set("fill", "currentColor")
