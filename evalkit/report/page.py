"""Sections to one HTML file that needs nothing else: no network, no server, a strict policy.

The policy in the page allows its own style sheet and script, by their hashes, and nothing more.
All text is escaped by the template engine; control characters become visible signs, and a name that
is written from right to left cannot reorder the numbers beside it.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from evalkit.escape import spelled, visible
from evalkit.price import in_dollars
from evalkit.report import labels
from evalkit.report.evidence import Evidence
from evalkit.report.explorer import RAW_FROM, address, in_element
from evalkit.report.markup import allowed, html
from evalkit.report.people import voters
from evalkit.report.schema import Change, Comparison, PairInCategory
from evalkit.report.sections import SECTIONS
from evalkit.report.translation import translation
from evalkit.report.words import (
    by_way,
    certain,
    dates,
    interval,
    judge_of,
    per_thousand,
    percent,
    strip,
)
from evalkit.said import Said, counted

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_HEADING = 200  # characters
_INTERVAL = re.compile(r"\[([\d.+-]+), ([\d.+-]+)\]")
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RTL_WORDS = re.compile(f"[{_RTL}](?:[{_RTL}\\s]*[{_RTL}])?")


def page(evidence: Evidence) -> str:
    """The whole page as HTML."""
    results = evidence.results
    sections = [made for section in SECTIONS if (made := section(evidence))]
    css, script = _source("page.css"), _source("page.js")
    words = translation(evidence.language).script
    policy = (
        f"default-src 'none'; script-src {allowed(script)}; style-src {allowed(css)}; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment(evidence.language).get_template("page.html.j2")
    return template.render(
        results=results,
        sections=sections,
        css=Markup(css),
        script=Markup(script),
        policy=policy,
        language=evidence.language,
        words=Markup(in_element(words)) if words else None,
    )


@cache
def _environment(language: str) -> Environment:
    spoken = translation(language).page
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: _finalize(value, spoken),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": _interval, "number": _number}
    environment.filters |= {"shortened": _shortened, "verbatim": _verbatim, "dollars": in_dollars}
    environment.filters |= {
        "rows": _rows,
        "one": _one,
        "by_way": by_way,
        "judge_of": judge_of,
        "strip": strip,
        "voters": voters,
        "dates": dates,
    }
    environment.filters |= {"reply": _reply, "why": labels.why, "per_thousand": per_thousand}
    environment.filters |= {"certain": certain, "decimals": _decimals, "whole": _whole}
    environment.globals |= {"_": Said, "counted": counted, "marks": labels.MARKS}
    return environment


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _finalize(value: Any, spoken: Mapping[str, str]) -> Any:
    if isinstance(value, Said):
        value = _INTERVAL.sub("[\\1,\u00a0\\2]", value.into(spoken))
    if isinstance(value, str) and not isinstance(value, Markup):
        return _RTL_WORDS.sub("\u2068\\g<0>\u2069", visible(value))  # between isolates
    return value


def _verbatim(text: str) -> Markup:
    """Text to be copied: nothing is added to it that cannot be seen."""
    return escape(visible(text))


def _shortened(text: str) -> str:
    """A heading that a table can bear; the JSON file has the whole."""
    if len(text) <= LONGEST_HEADING:
        return text
    return f"{text[: LONGEST_HEADING - 20]}… ({len(text):,} characters)"


def _reply(text: str) -> Markup:
    """What a model said, as markdown that can do nothing; a very long text as it is."""
    if len(text) > RAW_FROM:
        return Markup('<pre class="words">{}</pre>').format(spelled(text))
    return Markup(html(text))


def _rows(pair: Comparison, outcome: str) -> str:
    """Where the page's explorer shows the rows behind a count."""
    within = {"c": pair.category} if isinstance(pair, PairInCategory) else {}
    return address(a=pair.a, b=pair.b, f=outcome, **within)


def _one(pair: Change, question: str) -> str:
    """Where the page's explorer shows one question of a pair."""
    return address(q=question, a=pair.a, b=pair.b)


def _interval(bounds: tuple[float | None, float | None], times: float = 100) -> str:
    return interval(*bounds, times)


def _whole(bounds: tuple[float | None, float | None]) -> str:
    return interval(*bounds, 100, digits=0)


def _decimals(bounds: tuple[float | None, float | None]) -> str:
    return interval(*bounds, digits=2)


def _number(value: float) -> str:
    """A total or a difference, with the halves and quarters that averaging leaves."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
