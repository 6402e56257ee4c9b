"""From what a judge said to scores: one function a reply grammar.

A reply is climbed down a ladder: JSON as the schema has it, then the strict grammar (what the
prompt asked for, on a line of its own), then a tolerant pass that finds the same inside prose. The
last match counts, and what the judge merely copied from the question or the answers is passed
over: a question that holds the point `(10, 4)` must not become the score.

A parser never guesses: a reply that it cannot read gives no scores and the reason. Nothing here
knows a model, a file or what the scores will be used for.
"""

from evalkit.parsers.plain import without_reasoning
from evalkit.parsers.reading import Parser, Reading, on_scale, scale_flags
from evalkit.parsers.scores import grade, pair_scores
from evalkit.parsers.verdicts import pair_verdict, pair_verdict_5

PARSERS: dict[str, Parser] = {
    "pair_scores": pair_scores,
    "pair_verdict": pair_verdict,
    "pair_verdict_5": pair_verdict_5,
    "grade": grade,
}
"""The reply grammars by the name that a prompt file gives."""

__all__ = [
    "PARSERS", "Parser", "Reading", "grade", "on_scale", "pair_scores", "pair_verdict",
    "pair_verdict_5", "scale_flags", "without_reasoning",
]  # fmt: skip
