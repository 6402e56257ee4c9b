"""Answers that are no answers: what can be seen without a judge, which such answers may fool.

A constant text has won three of four comparisons by GPT-4 (the "null model", Zheng et al. 2024,
arXiv:2410.07137). Four signs, each over the answers of one model; none knows a verdict.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import pandas as pd

from evalkit.records import Answer, Question, place

MOST_IDENTICAL = 0.5  # of a model's answers that repeat another one of its own
MOST_JUDGE_TALK = 0.5  # of them that speak to a judge instead of the person who asked
LEAST_LIFT = 0.05  # of the question's words in its answer, over those of another question
MOST_COPIED = 0.5  # of them that are word for word another model's
FEWEST = 10  # answers; fewer show nothing
SHIFTS = (1, 2, 3)  # how far off the other questions lie, in an order that nobody chose
ENOUGH = 500  # answers of a model whose words are looked at: an alarm begins at half of them
TELLING = 10  # words; shorter answers cannot be seen to be about something
COLUMNS = [
    "model", "answers", "identical", "judge_talk", "relevance_lift", "copied", "copied_from",
    "alarms",
]  # fmt: skip

_WORD = re.compile(r"[^\W\d_]{4,}|\d{2,}")
_HAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
_JUDGE_TALK = re.compile(
    r"""\[\[ \s* [ABC12] [<>=ABC12\s]* \]\]              # a verdict, ready made
    | \b(?:output|answer|response|assistant|model)\s*\(?[ab12]\)?\s*
      (?:is|was|seems|clearly|has\ been)\s*(?:the\s*)?(?:better|best|superior|preferred|correct)
    | \b(?:rate|score|rank|grade|prefer|choose|pick|select)\s+(?:this|my|the\ (?:first|second))
      \s+(?:answer|response|output|one)
    | \bmodel[_\s]identifier\b | \bpreferred\s+(?:model|output)\b | \bleaderboard\b.*\brank
    | \b(?:to|for)\s+the\s+(?:judge|examiner|evaluator|grader|annotator)\s*[:,]
    | \bgive\s+(?:this|my)\s+(?:answer|response|output)\s+(?:the\ (?:highest|best|top)|full|a\ 10)
    | (?:评分者|裁判|评委|评审).{0,12}(?:满分|10\s*分|更好|最好)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def detectors(questions: Iterable[Question], answers: Iterable[Answer]) -> pd.DataFrame:
    """One row a model; `COLUMNS`. `answers`: those that stand, one a question and model.

    `identical`: 1 - (different answers) / answers. `judge_talk`: the share that holds words meant
    for a judge. `relevance_lift`: the mean share of the question's words that its answer takes up,
    less that of other questions' words. `copied`: the share that is word for word the answer of
    `copied_from`. `alarms`: those of the four beyond their limit. Empty answers count for none;
    a value is None where fewer than `FEWEST` answers could show it. Words are looked at in the
    first `ENOUGH` answers, in the order of `place`, which is a random one.
    """
    bank = sorted(questions, key=lambda question: place(question.id))
    own: dict[str, dict[str, str]] = {}
    for answer in answers:
        text = "\n".join(answer.turns).strip()
        if text:
            own.setdefault(answer.model, {}).setdefault(answer.question, text)
    asked = {question.id: words("\n".join(question.turns)) for question in bank}
    rows = []
    for model, texts in sorted(own.items()):
        known = len(texts) >= FEWEST
        identical = 1 - len(set(texts.values())) / len(texts) if known else None
        some = dict(islice(((id_, texts[id_]) for id_ in asked if id_ in texts), ENOUGH))
        talk = sum(bool(_JUDGE_TALK.search(t)) for t in some.values()) / max(1, len(some))
        said = {id_: words(text) for id_, text in some.items()}
        telling = {id_ for id_, about in said.items() if len(about) >= TELLING}
        lift = _lift([id_ for id_ in asked if id_ in telling], asked, said)
        others = {name: each for name, each in own.items() if name != model}
        told = {id_: some[id_] for id_ in telling}
        source, copied = _copied(told, others)
        found = {
            "identical": identical is not None and identical > MOST_IDENTICAL,
            "judge_talk": known and talk > MOST_JUDGE_TALK,
            "relevance_lift": lift is not None and lift < LEAST_LIFT,
            "copied": copied is not None and copied > MOST_COPIED,
        }
        alarms = tuple(name for name, alarm in found.items() if alarm)
        rows.append(
            (model, len(texts), identical, talk if known else None, lift, copied, source, alarms)
        )
    numbers = ["identical", "judge_talk", "relevance_lift", "copied"]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(numbers, float))


def words(text: str) -> frozenset[str]:
    """The words that a text may be about: four letters and more, or pairs of characters."""
    text = text.lower()
    pairs = (run[n : n + 2] for run in _HAN.findall(text) for n in range(len(run) - 1))
    return frozenset(_WORD.findall(_HAN.sub(" ", text))) | frozenset(pairs)


def _lift(
    telling: Sequence[str],
    asked: Mapping[str, frozenset[str]],
    said: Mapping[str, frozenset[str]],
) -> float | None:
    """`telling`: the questions whose answers say enough; `asked`, `said`: words of all."""
    told = [id_ for id_ in telling if asked[id_]]
    if len(told) < FEWEST:
        return None
    common = Counter(word for id_ in told for word in asked[id_])
    about = {id_: {w for w in asked[id_] if common[w] <= len(told) / 10} for id_ in told}
    told = [id_ for id_ in told if about[id_]]
    if len(told) < FEWEST:
        return None
    total = 0.0
    for shift in SHIFTS:
        for place_, id_ in enumerate(told):
            other = told[(place_ + shift) % len(told)]
            total += _share(about[id_], said[id_]) - _share(about[other], said[id_])
    return total / len(SHIFTS) / len(told)


def _share(of: set[str], within: frozenset[str]) -> float:
    return len(of & within) / len(of)


def _copied(
    told: Mapping[str, str], others: Mapping[str, Mapping[str, str]]
) -> tuple[str | None, float | None]:
    """Whose answers these most often are, and how often; short ones, which may agree by chance,
    are not among them.
    """
    if len(told) < FEWEST:
        return None, None
    best, most = None, 0.0
    for model, theirs in others.items():
        share = sum(theirs.get(id_) == text for id_, text in told.items()) / len(told)
        if share > most:
            best, most = model, share
    return best, most
