"""The results as Markdown: for a README, a pull request, the summary of a CI run.

Names are data: signs that Markdown or HTML would take for their own stand behind a backslash.
"""

import re
from collections.abc import Iterable, Sequence

from evalkit.escape import one_line
from evalkit.report import words
from evalkit.report.schema import Comparison, Results
from evalkit.report.words import interval, percent

PAIR = ("pair", "judge")
COUNTS = ("won / tied / lost", "n", "ratio %", "95%", "win rate %", "95%")
_SIGNS = re.compile(r"[\\`*_{}\[\]<>|~$&]|^[-=+#](?=\s)|(?<=^\d)[.)](?=\s)")


def summary(results: Results) -> str:
    """The verdict, the scores of each judge, and what a reader should know of them."""
    parts = [f"## {_text(results.bank)}"]
    if results.sample:
        parts.append("Sample data, written by hand: they measure nothing.")
    parts += [f"**{_text(sentence)}**" for sentence in words.verdicts(results)]
    parts += [f"> **{_text(sentence)}**" for sentence in results.alarms]
    for judge, prompt in results.judgings:
        parts.append(f"Judged by {_text(judge)} with {_text(prompt)}:")
        parts.append(_scores(results, judge, prompt))
        parts += [_text(words.in_short(results, card)) for card in results.cards(judge, prompt)]
    if results.missing:
        parts.append("\n".join(f"- {_text(sentence)}" for sentence in results.missing))
    return "\n\n".join(parts) + "\n"


def tables(results: Results) -> str:
    """`summary`, with each pair and each category."""
    parts = [summary(results)]
    if results.pairs:
        rows = [_pair(row) for row in results.pairs]
        parts.append("### Pairs\n\n" + _table((*PAIR, *COUNTS), rows, 2) + "\n")
    if results.by_category:
        rows = [_pair(row, row.category) for row in results.by_category]
        parts.append("### By category\n\n" + _table((*PAIR, "category", *COUNTS), rows, 3))
    return "\n".join(parts)


def _pair(pair: Comparison, *more: str) -> tuple[str, ...]:
    return (
        f"{_text(pair.b)} against {_text(pair.a)}",
        f"{_text(pair.judge)}, {_text(pair.prompt)}",
        *map(_text, more),
        f"{pair.wins_b} / {pair.ties} / {pair.wins_a}",
        str(pair.questions),
        percent(pair.ratio_b_to_a),
        interval(pair.ratio_low, pair.ratio_high, 100),
        percent(pair.win_rate_b),
        interval(pair.win_rate_b_low, pair.win_rate_b_high, 100),
    )


def _scores(results: Results, judge: str, prompt: str) -> str:
    head, *lines = words.score_lines(results, judge, prompt)
    return _table([_text(each) for each in head], [tuple(map(_text, line)) for line in lines], 1)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """The first `texts` columns to the left, the others to the right."""
    rules = ["---" if n < texts else "---:" for n in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def _text(text: str) -> str:
    """Text as Markdown that shows it."""
    return _SIGNS.sub(lambda found: f"\\{found[0]}", one_line(text))
