"""One showing -> the words that a judge is sent. What it judges cannot speak to it.

Each answer stands between fences that bear a code which its author cannot know: a hash of all that
is shown, the other answer included. Nothing in a text can look like a fence, or like the end of a
message. Values go into the template in one pass and are never templates.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.chat import Message, Request, Sampling
from evalkit.judge.showings import Showing, Texts
from evalkit.price import tokens_about
from evalkit.prompts import JudgePrompt, fill
from evalkit.records import Question, short_hash

LONGEST_CODE = 12  # hex digits of a fence
MARGIN = 1.15  # tokens really used, for one of `tokens_about`: nothing may fall off the end
LEAST = 200  # characters of a text that are shown however little room there is

_MARKER = re.compile(  # of a chat template: the end of a message, or the begin of another one
    r"<\|(?=[^|<>\n]{1,40}\|>)"
    r"|<(?=/?s>|(?:start|end)_of_turn>|/?SYS>>|｜)"
    r"|\[(?=/?INST\])"
)
_FENCE = re.compile(  # a line that could be taken for one
    r"^(?=[ \t]*[\[(<{#=*-]+[ \t]*(?:(?:end|begin(?:ning)?|start)\b"
    r"|(?:the )?(?:question|answer|reference)\b|问题|回答|答案|参考))",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Filled:
    """A request to a judge, and how many characters of the answers did not fit into it."""

    request: Request
    cut: int


def basis(prompt: JudgePrompt, question: Question) -> str:
    """`short_hash` of all that a judge is told but for the answers: `Review.prompt_hash`."""
    told = [prompt.system, prompt.template, prompt.rubrics.get(question.category)]
    return short_hash([*told, question.turns, question.reference, question.checklist])


def filled(
    prompt: JudgePrompt,
    showing: Showing,
    sample: int = 0,
    *,
    structured: bool = False,
    context: int | None = None,
) -> Filled:
    """The request to show a judge one thing, for the `sample`-th time from 0.

    `structured`: the service holds the judge to the prompt's schema. `context`: tokens that the
    judge takes, its reply included; longer answers lose their middle. None: no limit is known.
    """
    whole = _request(prompt, showing, sample, showing.answers, structured)
    if context is None or fits(whole, context):
        return Filled(whole, 0)
    empty = tuple(("",) * len(own) for own in showing.answers)
    bare = _request(prompt, showing, sample, empty, structured)
    room = max(0.0, context - _tokens(bare)) / MARGIN
    answers = _fitted(showing.answers, room)
    before, after = (sum(len(t) for a in each for t in a) for each in (showing.answers, answers))
    shorter = _request(prompt, showing, sample, answers, structured)
    return Filled(shorter, max(0, before - after))


def fits(request: Request, context: int | None) -> bool:
    """Whether a request and its reply have room in so many tokens; None: no limit is known."""
    return context is None or _tokens(request) <= context


def harmless(text: str) -> str:
    """`text` as a judge is shown it: nothing in it ends a message or looks like a fence."""
    return _FENCE.sub("| ", _MARKER.sub(lambda found: f"{found[0]} ", text))


def _request(
    prompt: JudgePrompt,
    showing: Showing,
    sample: int,
    answers: tuple[Texts, ...],
    structured: bool,
) -> Request:
    question = showing.question
    structured = structured and prompt.reply_schema is not None
    shown = [*question.turns, *question.reference, *(text for own in answers for text in own)]
    fence = short_hash([prompt.system, prompt.template, shown])[:LONGEST_CODE]
    values = {
        "fence": fence,
        "turns": [
            {"question": harmless(turn), "reference": harmless(_at(question.reference, n))}
            for n, turn in enumerate(question.turns)
        ],
        "answers": [[harmless(text) for text in own] for own in answers],
        "rubric": prompt.rubrics.get(question.category, ""),
        "checklist": [harmless(point) for point in question.checklist],
        "structured": structured,
    }
    return Request(
        (
            Message("system", fill(prompt.system, **values).strip()),
            Message("user", fill(prompt.template, **values).strip()),
        ),
        Sampling(prompt.sampling.temperature, prompt.sampling.max_tokens),
        about=showing.about,
        sample=sample,
        schema=json.dumps(prompt.reply_schema, sort_keys=True) if structured else None,
    )


def _at(texts: Sequence[str], place: int) -> str:
    return texts[place] if place < len(texts) else ""


def _tokens(request: Request) -> float:
    return MARGIN * tokens_about(request) + (request.sampling.max_tokens or 0)


def _fitted(answers: tuple[Texts, ...], room: float) -> tuple[Texts, ...]:
    """The texts with the middle of the longest ones left out, so that all take `room` tokens."""
    sizes = sorted(_size(text) for own in answers for text in own)
    most, left = 0.0, room
    for n, size in enumerate(sizes):  # each gets as much as the longest of those that fit whole
        most = left / (len(sizes) - n)
        if size > most:
            break
        left -= size
    return tuple(tuple(_shortened(text, most) for text in own) for own in answers)


def _size(text: str) -> float:
    return tokens_about(Request((Message("user", text),)))


def _shortened(text: str, most: float) -> str:
    size = _size(text)
    if size <= most:
        return text
    keep = max(LEAST, int(len(text) * most / size) - 60)
    if keep >= len(text):
        return text
    gone = len(text) - keep
    head, end = keep - keep // 2, len(text) - keep // 2
    return f"{text[:head]}\n[... {gone:,} characters are left out here ...]\n{text[end:]}"
