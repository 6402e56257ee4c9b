"""Which of two answers is better: A, B or a tie, or in five steps. Scores are 1, ½ and 0.

In five steps a slight advantage is (.75, .25), so that its strength is kept.
"""

import re
from collections.abc import Iterable, Mapping

from evalkit.parsers.plain import Shown, lines, members, plain, whole_object, without_reasoning
from evalkit.parsers.reading import Reading, Rung

Scores = tuple[float, float]

_EVEN: Scores = (0.5, 0.5)
THREE: dict[str, Scores] = {"A": (1.0, 0.0), "B": (0.0, 1.0), "C": _EVEN, "TIE": _EVEN}
FIVE: dict[str, Scores] = {
    "A>>B": (1.0, 0.0), "B<<A": (1.0, 0.0),
    "A>B": (0.75, 0.25), "B<A": (0.75, 0.25),
    "A=B": _EVEN, "B=A": _EVEN, "TIE": _EVEN,
    "B>A": (0.25, 0.75), "A<B": (0.25, 0.75),
    "B>>A": (0.0, 1.0), "A<<B": (0.0, 1.0),
}  # fmt: skip
_ALSO = {"1": "A", "2": "B", "平局": "TIE", "平手": "TIE", "DRAW": "TIE"}

_BRACKETS = re.compile(r"\[\[[ ]?([^\[\]\n]{1,8}?)[ ]?\]\]")
_NAMED = re.compile(
    r"(?:\b(?:verdict|winner|decision|judge?ment|choice|better answer)\b|结论|判定|胜者|裁决|结果)"
    r"[ ]?(?:is\b|为|是)?[ ]?[:=]?[ ]?"
    r"(?:\b(?:answer|assistant|response)\b|回答|答案|助手)?[ ]?[\[(\"']{0,2}"
    r"(A(?:>>|>|=|<<|<)B|B(?:>>|>|=|<<|<)A|[AB12C]|tie|draw|平局|平手)(?![\w'>=<])",
    re.IGNORECASE,
)
_BARE = re.compile(r"^[\[(\"']{0,2}([^\[\]()\"'\n]{1,8}?)[\])\"'.]{0,3}$")
_BETTER = re.compile(
    r"(?:\b(?:answer|assistant|response)\b|回答|答案|助手)[ ]?([AB12])[ ]?"
    r"(?:(?:is|was)[ ](?:(?:clearly|slightly|much|overall|the|far)[ ]){0,2}"
    r"(?:better|superior|winner)"
    r"|wins\b|更好|更优|胜出|较好|获胜)",
    re.IGNORECASE,
)
_EVEN_WORDS = re.compile(r"\b(?:it is|it's|this is|i call it) a (?:tie|draw)\b|平局|不分上下", re.I)
_DOUBT = re.compile(
    r"\b(?:not|if|would|could|cannot|neither|hard|unless|whether)\b|n't|不[^分]|如果", re.I
)


def pair_verdict(reply: str, shown: Iterable[str] = ()) -> Reading:
    """A, B or a tie, as (1, 0), (0, 1) or (.5, .5); `shown` as `scores.pair_scores` takes it."""
    return _verdict(reply, shown, THREE)


def pair_verdict_5(reply: str, shown: Iterable[str] = ()) -> Reading:
    """A>>B, A>B, A=B, B>A or B>>A; `shown` as `scores.pair_scores` takes it."""
    return _verdict(reply, shown, FIVE)


def _verdict(reply: str, shown: Iterable[str], known: Mapping[str, Scores]) -> Reading:
    text = without_reasoning(reply)[0]
    if not text.strip():
        return Reading(None, unreadable="empty reply")
    if (whole := whole_object(text)) is not None:
        scores = _known(str(whole.get("verdict", "")), known)
        if scores is None:
            return Reading(None, unreadable="no verdict in the JSON")
        return Reading(scores, "structured")
    text = plain(text).replace("≫", ">>").replace("≪", "<<")
    seen, last = Shown(shown), lines(text)[-1:]
    own = [f for f in _BRACKETS.finditer(text) if not seen.has(f[0]) or text.strip() == f[0]]
    ends = [found for line in last for found in _BRACKETS.finditer(line)]
    at_the_end = [found for found in ends if last == [found[0]]]
    ladder: list[tuple[Rung, list[str]]] = [
        ("strict", [found[1] for found in own]),
        ("strict", [found[1] for found in at_the_end]),  # an answer holds it too
        ("tolerant", [value for name, value in members(text) if name in ("verdict", "winner")]),
        ("tolerant", [f[1] for f in _NAMED.finditer(text) if not seen.has(f[0])]),
        ("tolerant", [found[1] for line in last if (found := _BARE.match(line))]),
    ]
    if known is THREE:
        ladder.append(("tolerant", [word for line in last for word in _said(line)]))
    for rung, words in ladder:
        verdicts = [scores for word in words if (scores := _known(word, known))]
        if not verdicts:
            continue
        on_last = {_known(found[1], known) for found in ends} - {None}
        if len(on_last) > 1 or (rung == "tolerant" and len(set(verdicts)) > 1):
            return Reading(None, unreadable="contradictory")
        several = ("several_verdicts",) if len(set(verdicts)) > 1 else ()
        return Reading(verdicts[-1], rung, several)
    return Reading(None, unreadable="no verdict found")


def _known(word: str, known: Mapping[str, Scores]) -> Scores | None:
    word = word.replace(" ", "").upper()
    return known.get(_ALSO.get(word, word))


def _said(line: str) -> list[str]:
    """What a last line says in words, where it says so without an if or a not."""
    if _DOUBT.search(line):
        return []
    found = [each[1] for each in _BETTER.finditer(line)]
    return found + ["TIE"] * len(_EVEN_WORDS.findall(line))
