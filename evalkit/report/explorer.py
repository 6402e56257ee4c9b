"""Every question with its answers and reviews, as data for the page's script.

The script picks and shows; what it shows is made here: outcomes by `stats`, texts by `markup`.
"""

import base64
import gzip
import json
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import inf, isnan, nan
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from evalkit.escape import spelled, visible
from evalkit.judge.filling import filled
from evalkit.judge.showings import Showing
from evalkit.records import VOTE, Answer, Bought, Question, Review, human, place, short_hash
from evalkit.report import words
from evalkit.report.evidence import Evidence
from evalkit.report.markup import html
from evalkit.rows import Rows
from evalkit.stats.battles import BY_RULE, PAIR, by_question

PACKED_FROM = 500_000  # characters of JSON; more are compressed
RAW_FROM = 20_000  # characters of an answer; a longer one is shown as it is, without markdown
MOST_ROWS = 60_000  # answers and reviews in a page
ROOM = 15_000_000  # bytes that they take when compressed
ABOUT_A_ROW = 100  # of these, beside its words
FIRST_LINE = 140  # characters of a question in the list

WON, TIED, LOST = "won", "tied", "lost"
ITEM = [*PAIR, "question"]


@dataclass(frozen=True)
class Met:
    """Two models on one question, by one judge with one prompt."""

    judging: int
    """Place of judge and prompt among those of the page."""
    a: str
    b: str
    outcome: float | None
    """b's, as in `stats.battles`; None: no verdict can be read."""
    gap: float
    """b's mean score minus a's."""
    flipped: bool
    """The two orders name different winners, or one a winner and the other a tie."""
    by_rule: bool
    """Both gave the same answer, and no judge was asked."""

    @property
    def word(self) -> str:
        """`won`, `tied`, `lost` or `unreadable`: how b did."""
        if self.outcome is None:
            return "unreadable"
        return WON if self.outcome > 0.5 else LOST if self.outcome < 0.5 else TIED


def telling(battles: pd.DataFrame) -> dict[str, float]:
    """Question id -> its place among those that tell the most, from 1; `battles` as of Evidence.

    Of each pair the questions that were won, lost and tied with the widest gap, those on which the
    two orders differ the most, and those that cannot be read: the first of each, the second of
    each, and so on.
    """
    if not len(battles):
        return {}
    means = by_question(battles)
    gaps = (means["score_b"] - means["score_a"]).fillna(means["outcome"] - 0.5).abs()
    outcome = np.sign(means["outcome"] - 0.5)
    orders = battles.groupby([*ITEM, "order"])["outcome"].mean().groupby(ITEM)
    pull = (orders.max() - orders.min()).dropna()
    differ = pull[pull > 0].reset_index()
    unread = battles[battles["outcome"].isna()]
    places = [
        (means["question"], gaps.groupby([*(means[each] for each in PAIR), outcome])),
        (differ["question"], differ.groupby(PAIR)["outcome"]),
    ]
    ranked = [
        pd.Series(of.rank(ascending=False, method="first").to_numpy(), index=question.to_numpy())
        for question, of in places
    ]
    ranked.append(
        pd.Series(unread.groupby(PAIR).cumcount().to_numpy() + 1.0, unread["question"].to_numpy())
    )
    best = pd.concat(ranked).groupby(level=0).min()
    return dict(zip(best.index, best.astype(float), strict=True))


def chosen(evidence: Evidence, most: int = MOST_ROWS) -> list[str]:
    """Ids of the questions whose rows a page can hold, the most telling first.

    All of them, where they have at most `most` rows. Those that nobody judged come last.
    """
    rows = Counter(answer.question for answer in evidence.answers)
    rows.update(Rows.of(evidence.reviews).values("question"))
    ids = [question.id for question in evidence.questions]
    if rows.total() <= most:
        return ids
    places = telling(evidence.battles)
    ids.sort(key=lambda id_: (places.get(id_, inf), place(id_)))
    upto = list(accumulate(rows[id_] for id_ in ids))
    return ids[: max(1, bisect_right(upto, most))]


def of_size(
    ids: Sequence[str], answers: Iterable[Answer], reviews: Iterable[Review], room: int = ROOM
) -> list[str]:
    """The first of these questions, as many as take so many bytes with their rows when packed."""
    texts: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        texts[answer.question] += answer.turns
    for review in reviews:
        texts[review.question] += [review.text, review.reasoning or ""]
    packed = (
        len(zlib.compress("\n".join(said).encode("utf-8", "replace"), 1)) + ABOUT_A_ROW * len(said)
        for said in (texts[id_] for id_ in ids)
    )
    return list(ids[: max(1, bisect_right(list(accumulate(packed)), room))])


@dataclass(frozen=True)
class Explorer:
    """The rows of some evidence by question."""

    evidence: Evidence

    @cached_property
    def met(self) -> dict[str, list[Met]]:
        """Question id -> every pair on it."""
        table = self.evidence.battles
        if not len(table):
            return {}
        if self.evidence.left_out:
            table = table[table["question"].isin([each.id for each in self.evidence.questions])]
        judgings = {each: n for n, each in enumerate(self.judgings)}
        means = by_question(table)
        outcomes = dict(zip(_keys(means), means["outcome"], strict=True))
        gaps = dict(zip(_keys(means), means["score_b"] - means["score_a"], strict=True))
        orders = table.groupby([*ITEM, "order"])["outcome"].mean().dropna()
        winners = np.sign(orders - 0.5).groupby(ITEM).nunique().to_dict()
        ruled = set(_keys(table[table["order"] == BY_RULE]))
        found: dict[str, list[Met]] = defaultdict(list)
        for key in dict.fromkeys(_keys(table)):
            judge, prompt, a, b, question = key
            gap = gaps.get(key, nan)
            met = Met(
                judging=judgings[judge, prompt],
                a=a,
                b=b,
                outcome=outcomes.get(key),
                gap=0.0 if isnan(gap) else gap,
                flipped=winners.get(key, 0) > 1,
                by_rule=key in ruled,
            )
            found[question].append(met)
        return found

    @cached_property
    def judgings(self) -> list[tuple[str, str]]:
        """Judge and prompt of every review."""
        return sorted({(review.judge, review.prompt) for review in self.evidence.reviews})

    def first_line(self, question: Question) -> str:
        """How a list names a question."""
        if self.evidence.redacted:
            return short_hash(question.turns)
        return first_line(question.turns[0])

    def data(self) -> dict[str, Any]:
        """All of it, as page.js reads it: lists by question, in the order of the bank."""
        evidence = self.evidence
        answers: dict[str, dict[str, Answer]] = defaultdict(dict)
        for answer in evidence.answers:
            answers[answer.question][answer.model] = answer
        reviews: dict[str, list[Review]] = defaultdict(list)
        for review in evidence.reviews:
            if review.canary is None:
                reviews[review.question].append(review)
        return {
            "bank": visible(evidence.results.bank),
            "baseline": visible(evidence.results.baseline or ""),
            "redacted": evidence.redacted,
            "signs": words.SIGNS,
            "judgings": [_who(*each) for each in self.judgings],
            "questions": [
                {
                    **self._asked(question),
                    "answers": {
                        visible(model): self._answer(answer)
                        for model, answer in answers[question.id].items()
                    },
                    "met": [_met(each) for each in self.met.get(question.id, ())],
                    "reviews": [self._review(each) for each in reviews[question.id]],
                    "told": self._told(question, reviews[question.id]),
                }
                for question in evidence.questions
            ],
        }

    def _asked(self, question: Question) -> dict[str, Any]:
        names = {"id": visible(question.id), "category": visible(question.category)}
        own = {**names, "hash": short_hash(question.turns)}
        if self.evidence.redacted:
            return own
        return {
            **own,
            "turns": list(map(spelled, question.turns)),
            "reference": list(map(spelled, question.reference)),
            "checklist": list(map(spelled, question.checklist)),
        }

    def _answer(self, answer: Answer) -> dict[str, Any]:
        texts = [] if self.evidence.redacted else answer.turns
        long = answer.characters > RAW_FROM
        return {
            "turns": [{"raw": spelled(t), **({} if long else {"html": html(t)})} for t in texts],
            "characters": answer.characters,
            "empty": answer.is_empty,
            "hash": answer.hash,
            **_bought(answer),
        }

    def _review(self, review: Review) -> dict[str, Any]:
        told = {
            "rung": review.rung,
            "flags": review.flags,
            "unreadable": review.unreadable,
            "prompt_hash": review.prompt_hash,
            "cut": review.cut,
            "order_lost": not review.order_known,
        }
        if not self.evidence.redacted:
            told |= {"text": spelled(review.text), "reasoning": spelled(review.reasoning or "")}
        return {
            "judging": self.judgings.index((review.judge, review.prompt)),
            "shown": list(map(visible, review.shown)),
            "scores": review.scores,
            **_said(told),
            **_bought(review),
        }

    def _told(self, question: Question, reviews: Iterable[Review]) -> dict[str, list[Any]]:
        """Prompt -> what its judge was told of this question, with marks where answers stood.

        Only where the prompt that stands now is the one that was used.
        """
        if self.evidence.redacted:
            return {}
        found = {}
        for review in reviews:
            prompt = self.evidence.prompts.get(review.prompt)
            if review.prompt in found or prompt is None or review.prompt_hash is None:
                continue
            places = range(1, len(review.shown) + 1)
            marks = tuple((f"⟨answer {n}⟩",) * len(question.turns) for n in places)
            request = filled(prompt, Showing(question, review.shown, marks)).request
            found[review.prompt] = [[m.role, spelled(m.text)] for m in request.messages]
        return found


def first_line(text: str) -> str:
    """A text as a list can bear it."""
    text = " ".join(text.split())
    return text if len(text) <= FIRST_LINE else f"{text[:FIRST_LINE].rstrip()}…"


def address(**told: str) -> str:
    """A place in the explorer, as page.js reads it: q, a question; a and b, a pair; f, c, ..."""
    return f"#{urlencode({name: visible(value) for name, value in told.items()})}"


def _keys(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(table[ITEM].itertuples(index=False, name=None))


def _who(judge: str, prompt: str) -> list[Any]:
    """Judge, prompt, and whether it is a person, who goes by the own name."""
    vote = prompt == VOTE
    return [visible(judge.removeprefix(human("")) if vote else judge), visible(prompt), vote]


def _met(met: Met) -> list[Any]:
    names = visible(met.a), visible(met.b)
    return [met.judging, *names, met.word, round(met.gap, 4), met.flipped, met.by_rule]


def _bought(row: Bought) -> dict[str, Any]:
    told = {
        "asked": row.asked,
        "served": row.served and visible(row.served),
        "sample": row.sample,
        "finish_reason": row.finish_reason,
        "sampling": row.sampling,
        "tokens": row.usage and row.usage.output,
        "dollars": row.dollars,
        "time": row.time,
        "batch": row.batch and visible(row.batch),
    }
    return _said(told)


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that say something; the script takes one that is not there for nothing."""
    return {name: value for name, value in values.items() if value not in (None, (), 0, "", {})}


@dataclass(frozen=True)
class Embedded:
    """Data as the text of a script element that is no script."""

    text: str
    packed: bool
    """It is gzip in base64, not JSON."""


def embedded(data: Mapping[str, Any]) -> Embedded:
    """Data for a script element, compressed where they are large."""
    text = _json(data)
    if len(text) > PACKED_FROM:
        packed = gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)
        return Embedded(base64.b64encode(packed).decode(), True)
    return Embedded(_escaped(text), False)


def in_element(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return _escaped(_json(data))


def _escaped(text: str) -> str:
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
