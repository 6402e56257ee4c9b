"""Scores from 1 to 10: of two answers side by side, or of one.

Two numbers of which one is not on the scale are no scores; hundredths are read where both say so.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from evalkit.parsers.plain import Shown, lines, members, plain, whole_object, without_reasoning
from evalkit.parsers.reading import Reading, Rung, on_scale, scale_flags

# A number, and of how many: two groups.
_NUMBER = (
    r"(?<![A-Za-z0-9_.,+-])(\d{1,3}(?:\.\d{1,3})?)"
    r"(?:[ ]?(?:/|out of)[ ]?(10|100|5|20)(?:\.0)?(?![\d.]\d|\d))?"
    r"(?:[ ]?(?:points?\b|pts\b|分))?(?![A-Za-z0-9_/%]|[.,]\d)"
)
_GAP = r"(?:[ ]?[,;|&:/][ ]?|[ ]?[和与][ ]?|[ ](?:and[ ]|vs\.?[ ]|to[ ])?|[ ]?-[ ](?=\d))"
_ENDS = r"[\s)\].,;]*"

_STRICT = re.compile(rf"^[\s(\[]*{_NUMBER}{_GAP}{_NUMBER}{_ENDS}$")
_COMMAS = re.compile(r"^[\s(\[]*(\d{1,2}(?:,\d)?)(?:[ ];?[ ]?|;[ ]?)(\d{1,2}(?:,\d)?)[\s)\].]*$")
_SCORE_OF = re.compile(
    rf"^[ ]?score of (?:the )?assistant (?:(1)|2)[ ]?:[ ]?{_NUMBER}{_ENDS}$", re.IGNORECASE
)
_FINAL_PAIR = re.compile(
    r"(?:\b(?:finally|final|overall|total)\b|最终|最后|总分|总体)"
    rf"[^\d\n]{{0,40}}?{_NUMBER}{_GAP}{_NUMBER}(?={_ENDS}(?:$|\n))",
    re.IGNORECASE,
)
_NAMED_PAIR = re.compile(
    r"(?:\b(?:scores?|ratings?|marks?)|评分|得分|分数|分别(?:得|为|是|打|给)?)"
    rf"[ ]?(?:(?:are|is|of)\b)?[ ]?[:=]?[ ]?[(\[]?{_NUMBER}{_GAP}{_NUMBER}",
    re.IGNORECASE,
)
_IN_BRACKETS = re.compile(rf"[(\[][ ]?{_NUMBER}[ ]?,[ ]?{_NUMBER}[ ]?[)\]]")

_WHO = (
    r"(?:\b(?:assistant|answer|response|model|chatbot)[ ]?(?:(1|A|one)|(?:2|B|two))\b"
    r"|(?:助手|回答|答案|模型)[ ]?(?:(1|A|一|甲)|(?:2|B|二|乙))"
    r"|第(?:(一)|二)[个份]?(?:回答|答案|助手)?"
    r"|\b(?:the )?(?:(first)|second)(?: (?:answer|response|assistant|one))?\b)"
)
_LINK = (
    r"(?:'s)?[ ]?(?:\([ ]?)?(?:(?:final|overall|total)[ ])?"
    r"(?:score|rating|mark|得分|评分|分数)?[ ]?"
    r"(?:[:=]|—|–|(?:is|gets?|receives?|scores|earns|deserves|with)\b|得|为|是|打|->|→)?"
    r"[ ]?(?:a[ ])?"
)
_STANDS_ALONE = (
    r"(?=[ ]?(?:$|[\n,;.():\]|—–。]|(?:and|but|while|vs|with|because|since|for)\b|和|，))"
)
_LABEL = re.compile(f"{_WHO}{_LINK}{_NUMBER}{_STANDS_ALONE}", re.IGNORECASE)
_LABEL_CELL = re.compile(f"^{_WHO}(?:'s score)?$", re.IGNORECASE)
_FULL_SCORE = re.compile(
    r"\b(?:overall|total|final|score|scores|rating|verdict)\b|总分|总体|得分|评分|分数",
    re.IGNORECASE,
)
_CELL = re.compile(rf"^{_NUMBER}$")

_ONE_STRICT = re.compile(r"\[\[[ ]?(\d{1,3}(?:\.\d{1,3})?)[ ]?(?:/[ ]?(10))?\]\]")
_ONE_LINE = re.compile(rf"^[(\[]*{_NUMBER}[)\].]*$")
_ONE_NAMED = re.compile(
    r"(?:\b(?:score|rating|grade|mark)|评分|得分|分数|总分|打分)"
    rf"[ ]?(?:(?:is|of|as|at|a)\b|为|是|给)?[ ]?[:=]?[ ]?\[{{0,2}}{_NUMBER}",
    re.IGNORECASE,
)
_ONE_RATED = re.compile(
    rf"(?:\b(?:rate|give|award|grade)\b[^\n.\d]{{0,40}}|给(?:出|它)?|打){_NUMBER}", re.IGNORECASE
)
_ONE_OF_TEN = re.compile(
    r"(?<![\w.,/-])(\d{1,2}(?:\.\d{1,3})?)[ ]?(?:/|out of)[ ]?(10)(?![\w/]|\.\d)"
)

_FIRST = re.compile(r"\bfirst\b|(?:^|[^a-z0-9])(?:1|a|one)(?:$|[^a-z0-9])|[a-z]1(?:$|_)")
_SECOND = re.compile(r"\bsecond\b|(?:^|[^a-z0-9])(?:2|b|two)(?:$|[^a-z0-9])|[a-z]2(?:$|_)")


@dataclass(frozen=True)
class _Match:
    """The text that matched, and the scores in it."""

    text: str
    scores: tuple[float, ...]
    flags: tuple[str, ...] = ()


Grammar = Callable[[str], Iterator[_Match]]


def pair_scores(reply: str, shown: Iterable[str] = ()) -> Reading:
    """Two scores on a 1-10 scale, first place first.

    `reply` is the judge's text; `shown` the texts that the judge was shown (question, answers),
    whose own literals are never a score. 0 is read and flagged `outside_scale`, since judges give
    it to empty answers; anything above 10 or below 0 is not a score.
    """
    text = without_reasoning(reply)[0]
    if not text.strip():
        return Reading(None, unreadable="empty reply")
    if (whole := whole_object(text)) is not None:
        return _of_object(whole, ("first", "second"))
    text = plain(text)
    seen = Shown(shown)
    strict = list(_whole_lines(text))
    own = [match for match in strict if not all(map(seen.has_line, match.text.split("\n")))]
    ladder: list[tuple[Rung, list[_Match]]] = [("strict", own)]
    for grammar in _PAIR_IN_PROSE:
        found = [match for match in grammar(text) if not seen.has(match.text)]
        ladder.append(("tolerant", found))
    ladder.append(("strict", strict))  # an answer holds the very line; no other reading is left
    reading = _first_on_scale(ladder)
    if reading is None:
        one = bool(_LABEL.search(text) or _ONE_NAMED.search(text))
        return Reading(None, unreadable="only one score" if one else "no pair of scores found")
    return reading


def grade(reply: str, shown: Iterable[str] = ()) -> Reading:
    """One score on a 1-10 scale; `reply` and `shown` as `pair_scores` takes them."""
    text = without_reasoning(reply)[0]
    if not text.strip():
        return Reading(None, unreadable="empty reply")
    if (whole := whole_object(text)) is not None:
        return _of_object(whole, ("score",))
    text = plain(text)
    seen = Shown(shown)
    strict = [*_singles(_ONE_STRICT, text)]
    last = lines(text)[-1:]
    alone = [match for line in last for match in _singles(_ONE_LINE, line)]
    ladder: list[tuple[Rung, list[_Match]]] = [
        ("strict", [match for match in strict if not seen.has(match.text)]),
        ("strict", alone),
        ("tolerant", list(_json_single(text))),
    ]
    for pattern in (_ONE_NAMED, _ONE_RATED, _ONE_OF_TEN):
        found = [match for match in _singles(pattern, text) if not seen.has(match.text)]
        ladder.append(("tolerant", found))
    ends = [match for line in last for match in _singles(_ONE_STRICT, line)]
    at_the_end = [match for match in ends if last == [match.text]]
    ladder.append(("strict", at_the_end))  # an answer holds it too; no other reading is left
    return _first_on_scale(ladder) or Reading(None, unreadable="no score found")


def _first_on_scale(ladder: list[tuple[Rung, list[_Match]]]) -> Reading | None:
    """The last verdict of the first rung that has one; None where no rung has any numbers."""
    for rung, matches in ladder:
        if found := [match for match in matches if on_scale(match.scores)]:
            last = found[-1]
            several = len({match.scores for match in found}) > 1
            flags = (*scale_flags(last.scores), *last.flags)
            return Reading(last.scores, rung, (*flags, "several_verdicts") if several else flags)
    outside = [match.scores for _, matches in ladder for match in matches]
    if not outside:
        return None
    told = " ".join(f"{score:g}" for score in outside[-1])
    return Reading(None, unreadable=f"outside the scale: {told}")


def _of_object(value: dict[str, object], names: tuple[str, ...]) -> Reading:
    """Scores from JSON as the schema has it, and from its usual variations."""
    found = [value.get(name) for name in names]
    if all(type(each) in (int, float) for each in found):
        scores = tuple(float(each) for each in found)  # type: ignore[arg-type]
        if on_scale(scores):
            return Reading(scores, "structured", scale_flags(scores))
        told = " ".join(f"{score:g}" for score in scores)
        return Reading(None, unreadable=f"outside the scale: {told}")
    flat = [(str(name).lower(), each) for name, each in value.items()]
    numbers = [(name, f"{each}") for name, each in flat if type(each) in (int, float)]
    numbers += [(name, each) for name, each in flat if isinstance(each, str) and len(each) < 12]
    made = _placed(numbers) if len(names) > 1 else _scored(numbers)
    reading = _first_on_scale([("tolerant", [made] if made else [])])
    return reading or Reading(None, unreadable="no scores in the JSON")


def _scaled(*numbers: tuple[str, str | None]) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
    """Numbers with what they are of, on the scale of 10; None where that cannot be told."""
    bases = {of for _, of in numbers}
    values = tuple(float(number) for number, _ in numbers)
    if bases == {"100"}:
        return tuple(value / 10 for value in values), ("rescaled",)
    if bases <= {None, "10"}:
        return values, ()
    return None


def _match(text: str, *numbers: tuple[str, str | None]) -> Iterator[_Match]:
    if (scaled := _scaled(*numbers)) is not None:
        yield _Match(text, *scaled)


def _whole_lines(text: str) -> Iterator[_Match]:
    """Two scores on a line, or `Score of the Assistant 1: 8` and the same of 2 right below it."""
    first: re.Match[str] | None = None
    for line in text.split("\n"):
        one, first = first, None
        if label := _SCORE_OF.match(line):
            if label[1]:
                first = label
            elif one:
                yield from _match(f"{one[0]}\n{line}", (one[2], one[3]), (label[2], label[3]))
        elif found := _STRICT.match(line):
            yield from _match(line, (found[1], found[2]), (found[3], found[4]))
        elif (found := _COMMAS.match(line)) and "," in found[1] + found[2]:
            both = found[1].replace(",", "."), found[2].replace(",", ".")
            yield _Match(line, (float(both[0]), float(both[1])))


def _two(pattern: re.Pattern[str]) -> Grammar:
    def grammar(text: str) -> Iterator[_Match]:
        for found in pattern.finditer(text):
            yield from _match(found[0], (found[1], found[2]), (found[3], found[4]))

    return grammar


def _labelled(text: str) -> Iterator[_Match]:
    """`Answer 1: 8 ... Answer 2: 9`, in either order; one that is left over makes all doubtful."""
    waiting: re.Match[str] | None = None
    found: list[_Match] = []
    for label in _LABEL.finditer(text):
        if waiting is None or _is_first(waiting) == _is_first(label):
            waiting = label
            continue
        one, two = (waiting, label) if _is_first(waiting) else (label, waiting)
        piece = text[waiting.start() : label.end()]
        found += _match(piece, (one[5], one[6]), (two[5], two[6]))
        waiting = None
    if waiting is None:
        yield from found


def _is_first(label: re.Match[str]) -> bool:
    return any(label.groups()[:4])


def _tables(text: str) -> Iterator[_Match]:
    """A Markdown table: the answers as columns and a row of scores, or the other way round."""
    rows: list[list[str]] = []
    for line in [*text.split("\n"), ""]:
        if "|" in line and not set(line) <= set("|-: "):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif "|" not in line:
            yield from _table(rows)
            rows = []


def _table(rows: list[list[str]]) -> Iterator[_Match]:
    if len(rows) < 2:
        return
    labels = [_LABEL_CELL.match(cell) for cell in rows[0]]
    places = [n for n, label in enumerate(labels) if label]
    if len(places) == 2 and _place(labels[places[0]]) != _place(labels[places[1]]):
        places.sort(key=lambda n: not _place(labels[n]))
        scored = [row for row in rows[1:] if _FULL_SCORE.search(row[0])] or rows[1:][:1] * (
            len(rows) == 2
        )
        cells = [[row[n] if n < len(row) else "" for n in places] for row in scored]
    else:
        columns = [n for n, cell in enumerate(rows[0]) if _FULL_SCORE.search(cell)]
        named = {_place(label): row for row in rows[1:] if (label := _LABEL_CELL.match(row[0]))}
        if not columns or set(named) != {True, False}:
            return
        at = columns[-1]
        cells = [[row[at] if at < len(row) else "" for row in (named[True], named[False])]]
    for one, two in cells:
        found = [_CELL.match(one), _CELL.match(two)]
        if found[0] and found[1]:
            yield from _match(
                f"| {one} | {two} |", (found[0][1], found[0][2]), (found[1][1], found[1][2])
            )


def _place(label: re.Match[str] | None) -> bool:
    return label is not None and any(label.groups()[:4])


def _json_pair(text: str) -> Iterator[_Match]:
    if made := _placed(members(text)):
        yield made


def _placed(named: list[tuple[str, str]]) -> _Match | None:
    """The scores of the names that say which answer they are of, if there is one of each."""
    first, second = ([v for name, v in named if p.search(name)] for p in (_FIRST, _SECOND))
    if len(first) != 1 or len(second) != 1:
        return None
    found = [_CELL.match(first[0]), _CELL.match(second[0])]
    if not found[0] or not found[1]:
        return None
    scaled = _scaled((found[0][1], found[0][2]), (found[1][1], found[1][2]))
    return _Match(f"{first[0]} {second[0]}", *scaled) if scaled else None


def _json_single(text: str) -> Iterator[_Match]:
    if made := _scored(members(text)):
        yield made


def _scored(named: list[tuple[str, str]]) -> _Match | None:
    found = [value for name, value in named if name in ("score", "rating", "grade", "overall")]
    cell = _CELL.match(found[0]) if len(found) == 1 else None
    scaled = _scaled((cell[1], cell[2])) if cell else None
    return _Match(found[0], *scaled) if scaled else None


def _singles(pattern: re.Pattern[str], text: str) -> Iterator[_Match]:
    for found in pattern.finditer(text):
        yield from _match(found[0], (found[1], found[2]))


_PAIR_IN_PROSE: tuple[Grammar, ...] = (
    _json_pair,
    _tables,
    _labelled,
    _two(_FINAL_PAIR),
    _two(_NAMED_PAIR),
    _two(_IN_BRACKETS),
)
"""The tolerant grammars, the surest first."""
