"""A stranger's markdown as HTML that cannot do anything.

HTML in a text is text: the parser is told so, and what it makes goes through a sanitizer that knows
a few elements and no attribute but a link's address and the class of a coloured word. An image is
named, never shown; a link shows where it leads. Nothing here reaches a network or a file.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import escape
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

from evalkit.escape import visible

ELEMENTS = (
    "a", "blockquote", "br", "code", "del", "em", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
)  # fmt: skip
"""What may be in it; `page.js` makes elements of these alone, too."""

COLOURS = {
    Comment: "hl-comment",
    Keyword: "hl-keyword",
    Operator.Word: "hl-keyword",
    String: "hl-string",
    Number: "hl-number",
    Name.Function: "hl-name",
    Name.Class: "hl-name",
    Name.Builtin: "hl-name",
}
"""What is coloured in code, and by which class of page.css."""

LONGEST_CODE = 50_000  # characters; longer code stays black
DEEPEST = 20  # blocks within blocks


def html(markdown: str) -> str:
    """`markdown` as HTML that holds ELEMENTS only."""
    return harmless(_parser().render(visible(markdown)))


def harmless(text: str) -> str:
    """HTML without anything that runs, loads, styles or leads elsewhere than http(s)."""
    return nh3.clean(
        text,
        tags=set(ELEMENTS),
        attributes={"a": {"href"}, "*": set()},
        allowed_classes={"span": {*COLOURS.values(), "address"}},
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
        clean_content_tags={"script", "style"},
    )


def allowed(source: str) -> str:
    """How a page's policy names the style sheet or script of its own that may stand in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


@cache
def _parser() -> MarkdownIt:
    options = {"html": False, "breaks": True, "maxNesting": DEEPEST, "highlight": _coloured}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: url.lower().startswith(("http://", "https://"))  # type: ignore[method-assign]
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_close", _link_close)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    return parser


def _coloured(code: str, language: str, _: str) -> str:
    try:
        lexer = get_lexer_by_name(language, stripnl=False) if language else None
    except ClassNotFound:
        lexer = None
    if lexer is None or len(code) > LONGEST_CODE:
        return str(escape(code))
    return "".join(_word(kind, text) for kind, text in lex(code, lexer))


def _word(kind: Any, text: str) -> str:
    classes = (name for parent, name in COLOURS.items() if kind in parent)
    found = next(classes, None)
    return f'<span class="{found}">{escape(text)}</span>' if found else str(escape(text))


def _image(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    token = tokens[place]
    return str(escape(f"image: {token.content} ({token.attrGet('src')})"))


def _link_close(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    """Say where a link leads, unless its text does."""
    opened = max(n for n in range(place) if tokens[n].type == "link_open")
    address = str(tokens[opened].attrGet("href"))
    text = "".join(token.content for token in tokens[opened + 1 : place])
    shown = "" if text == address else f' <span class="address">({escape(address)})</span>'
    return f"</a>{shown}"


def _heading(_: RendererHTML, tokens: Sequence[Token], place: int, *__: Any) -> str:
    """Below the headings of the page itself, whatever an answer takes itself for."""
    token = tokens[place]
    return f"<{'/' if token.nesting < 0 else ''}{'h5' if token.tag in ('h1', 'h2') else 'h6'}>"
