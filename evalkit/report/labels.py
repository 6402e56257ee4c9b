"""What is told of texts that chatbots labelled, in sentences, and which texts are to be read.

The page and the terminal ask here, so that they say the same. Nothing is computed.
"""

from collections.abc import Sequence

from evalkit.price import in_dollars
from evalkit.report.evidence import LabelledText, Reading
from evalkit.report.schema import Labelled, Labelling
from evalkit.report.words import interval, percent
from evalkit.said import Said, counted

MOST_READ = 200  # texts with an error that the page shows


def verdicts(found: Labelled) -> list[str]:
    """Each model beside the reference; of one model alone, how often it is right."""
    return [Said("{sentence}.", sentence=each) for each in besides(found) or _alone(found)]


def besides(found: Labelled) -> list[Said]:
    """Each model beside the reference with the same prompt, in a sentence."""
    return [said for row in found.between if (said := _beside(found, row))]


def _beside(found: Labelled, row: Labelling) -> Said | None:
    """One model beside the reference, in a sentence; None where the row is of other two."""
    other = row.beside(found.reference)
    if other is None:
        return None
    who = Said("{model}, {prompt}", model=other.model, prompt=row.prompt_a)
    if other.verdict is None or other.difference is None:
        return counted(
            row.both_read,
            "{who}: agrees with {reference} on {share}% of the {n} text that both labelled",
            "{who}: agrees with {reference} on {share}% of the {n} texts that both labelled",
            who=who,
            reference=found.reference,
            share=percent(row.agreement),
        )
    low, high = (0.0 if each is None else 100 * each for each in (other.low, other.high))
    told = counted(
        row.labelled,
        "{who}: {verdict} ({difference:+.1f} points [{low:+.1f}, {high:+.1f}], {n} text)",
        "{who}: {verdict} ({difference:+.1f} points [{low:+.1f}, {high:+.1f}], {n} texts)",
        who=who,
        verdict=_verdict(other.verdict, found.reference, 100 * found.margin),
        difference=100 * other.difference,
        low=low,
        high=high,
    )
    mine, theirs = (found.price(name, row.prompt_a) for name in (other.model, found.reference))
    if mine is None or not theirs:
        return told
    return Said("{found}, at {times} times the price", found=told, times=f"{mine / theirs:.2g}")


def _verdict(word: str, reference: str, margin: float) -> Said:
    of: dict[str, object] = {"reference": reference, "margin": margin}
    said = {
        "better": Said("is better than {reference}", **of),
        "not worse": Said("is not worse than {reference} by more than {margin:g} points", **of),
        "worse": Said("is worse than {reference} by more than {margin:g} points", **of),
        "open": Said(
            "may be worse than {reference} by more than {margin:g} points; more texts would tell",
            **of,
        ),
    }
    return said[word]


def _alone(found: Labelled) -> list[Said]:
    return [
        counted(
            row.texts,
            "{who}: right on {share}% {bounds} of {n} text",
            "{who}: right on {share}% {bounds} of {n} texts",
            who=Said("{model}, {prompt}", model=row.model, prompt=row.prompt),
            share=percent(row.accuracy),
            bounds=interval(row.accuracy_low, row.accuracy_high, 100),
        )
        for row in found.scores
    ]


def stand_in(found: Labelled) -> list[str]:
    """That nobody labelled the texts, and whose labels are taken for right."""
    if (model := found.stand_in) is None:
        return []
    return [Said("No text has a label: what {model} says stands in for the truth.", model=model)]


def reasons(found: Labelled) -> list[str]:
    """Why replies could not be read, in sentences."""
    return [
        Said(
            "{who}: {n} unreadable ({why})",
            who=Said("{model}, {prompt}", model=row.model, prompt=row.prompt),
            n=row.replies,
            why=why(row.why),
        )
        for row in found.reasons
    ]


def break_even(found: Labelled) -> list[str]:
    """When a machine of one's own costs no more than the reference."""
    return [
        Said(
            "A machine at {dollars} an hour costs no more than {model}, {prompt} from {texts:,.0f} "
            "texts an hour on, if it can label as many.",
            dollars=in_dollars(row.per_hour),
            model=row.model,
            prompt=row.prompt,
            texts=row.texts,
        )
        for row in found.break_even
    ]


def mark(reading: Reading) -> Said:
    """How one model with one prompt did on a text."""
    who = Said("{model}, {prompt}", model=reading.model, prompt=reading.prompt)
    if reading.right:
        return Said("{who}: right", who=who)
    if reading.labels is None:
        return Said("{who}: unreadable", who=who)
    return Said("{who}: wrong", who=who)


def why(reason: str | None) -> str:
    """The reason of the parser, as it can be said in another language."""
    return WHY.get(reason or "", reason or "")


MARKS = {"won": "✓", "lost": "✗", "unreadable": "?"}
"""Right, wrong or unreadable, as a shape."""

WHY = {
    "refused": Said("refused"),
    "empty reply": Said("empty reply"),
    "no label in the JSON": Said("no label in the JSON"),
    "a label with a doubt": Said("a label with a doubt"),
    "contradictory": Said("contradictory"),
    "no label found": Said("no label found"),
}


def errors(texts: Sequence[LabelledText]) -> list[LabelledText]:
    """The texts on which somebody is wrong or cannot be read, the most telling first.

    Those that some had right and others had not come before those that nobody had right; within
    both in the order of the bank.
    """
    wrong = [text for text in texts if not all(each.right for each in text.readings)]
    return sorted(wrong, key=lambda text: not any(each.right for each in text.readings))
