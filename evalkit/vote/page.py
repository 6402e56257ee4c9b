"""One pair of answers as HTML: nothing in it names a model, and nothing in it can run.

Answers are Markdown that goes through the sanitizer of the report. The policy allows the page's own
style sheet and script, by their hashes, and forms that lead back here.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from evalkit.escape import visible
from evalkit.report.markup import allowed, html
from evalkit.report.translation import translation
from evalkit.said import Said
from evalkit.vote.ballot import LONGEST_NOTE, Session

TEMPLATES = Path(__file__).parent / "templates"


def page(session: Session, language: str = "en") -> str:
    """What a person sees now: two answers, or that all is done; in a language of the report's."""
    showing = session.next
    turns = []
    if showing is not None:
        for number, asked in enumerate(showing.question.turns):
            said = [Markup(html(texts[number])) for texts in showing.answers]
            turns.append((visible(asked), said))
    return _template(language).render(
        session=session,
        language=language,
        turns=turns,
        css=Markup(_source("vote.css")),
        script=Markup(_source("vote.js")),
        longest=LONGEST_NOTE,
    )


@cache
def policy() -> str:
    """What the page may do: the value of Content-Security-Policy."""
    return (
        f"default-src 'none'; script-src {allowed(_source('vote.js'))}; "
        f"style-src {allowed(_source('vote.css'))}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@cache
def _source(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


@cache
def _template(language: str) -> Template:
    spoken = translation(language).page
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value.into(spoken) if isinstance(value, Said) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["_"] = Said
    return environment.get_template("vote.html.j2")
