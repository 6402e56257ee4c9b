"""What a result must come to, so that a program may go on: `vicuna-13b>=0.9`.

    MODEL>=0.9                  its total score is at least 90% of the baseline's
    MODEL.win_rate>=0.4         it wins at least 40% of the questions, a tie counting half
    MODEL.win_rate.low>=0.25    the low end of that number's 95% interval; also MODEL.low
    win_rate.low>=0.25          of every model but the baseline
    coverage>=0.97              at least 97% of the replies of each judge can be read

A gate holds where it holds with every judge. A number that is not there does not hold.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from evalkit.errors import Missing, Unknown
from evalkit.report.schema import Results

COVERAGE = "coverage"
_GATE = re.compile(
    r"\s*(?P<name>[^<>=]+?)\s*(?:>=|=)\s*(?P<least>[0-9]*\.?[0-9]+)(?P<percent>%?)\s*"
)


@dataclass(frozen=True)
class Gate:
    """A number of the results, by name, and what it must be at least."""

    name: str
    least: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """`NAME>=NUMBER`; a number in percent has its sign. Raises Missing for anything else."""
        found = _GATE.fullmatch(text)
        if found is None:
            raise Missing(f"'{text}' is no gate; expected MODEL>=0.9 or MODEL.win_rate.low>=0.25")
        return cls(found["name"], float(found["least"]) / (100 if found["percent"] else 1))

    def check(self, models: Collection[str]) -> tuple[str, str, str]:
        """Model ('' for every one), `.win_rate` or '', `.low` or ''; a name may hold dots.

        Raises Unknown where it names none of `models`.
        """
        rest, said = self.name, []
        for word in ("low", "win_rate"):
            ends = rest not in models and re.search(rf"(^|\.){word}$", rest)
            rest = rest[: ends.start()] if ends else rest
            said.append(f".{word}" if ends else "")
        if rest and rest not in models and self.name != COVERAGE:
            raise Unknown("model", rest, models, "A gate is MODEL>=0.9 or coverage>=0.97")
        return rest, said[1], said[0]


@dataclass(frozen=True)
class Shortfall:
    """A gate that does not hold, with one judge."""

    gate: Gate
    what: str
    value: float | None

    def __str__(self) -> str:
        value = "not there" if self.value is None else f"{self.value:.4g}"
        return f"gate not met: {self.what} is {value}; at least {self.gate.least:g} was asked"


def shortfalls(results: Results, gates: Iterable[Gate]) -> list[Shortfall]:
    """Which gates do not hold. Raises Unknown for a model that takes no part."""
    found = []
    for gate in gates:
        values = list(_values(results, gate)) or [(gate.name, None)]
        for what, value in values:
            if value is None or value < gate.least:
                found.append(Shortfall(gate, what, value))
    return found


def _values(results: Results, gate: Gate) -> Iterator[tuple[str, float | None]]:
    if gate.name == COVERAGE:
        for row in results.reviews:
            if row.reviews:
                yield f"coverage of {row.judge} with {row.prompt}", 1 - row.unreadable / row.reviews
        return
    model, kind, low = gate.check(results.models)
    for score in results.relative_score:
        if score.model == results.baseline or (model and score.model != model):
            continue
        what = f"{score.model}{kind}{low} by {score.judge} with {score.prompt}"
        pair = results.pair(score, results.baseline, score.model)
        if kind:
            rate = pair and (pair.win_rate_b_low if low else pair.win_rate_b)
            yield what, rate if isinstance(rate, float) else None
        else:
            percent = score.low if low else score.percent
            yield what, None if percent is None else percent / 100
