"""Every number of texts that chatbots labelled, computed once, as `report.schema` describes them.

Meets no file and no model: the answers are here already.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from evalkit.catalog import Stanza
from evalkit.classify import Labelled as Read
from evalkit.classify import Posed, Texts, said
from evalkit.parsers.labels import Labels
from evalkit.records import Answer, Question
from evalkit.report import caveats
from evalkit.report.evidence import Evidence, LabelledText, Reading
from evalkit.report.results import answered, described, dollars_of, evidence, rows_of
from evalkit.report.schema import (
    BreakEven,
    Confusion,
    Labelled,
    Labelling,
    LabelScore,
    OfLabel,
    Replied,
    ToLabel,
    Unreadable,
)
from evalkit.stats import labels as stats

COLUMNS = ["model", "prompt", "question", "truth", "said"]
FEW = 20
"""How many texts to label by hand are named."""

Key = tuple[str, str]
"""A model and a prompt."""


def labelled(
    bank: str,
    questions: Sequence[Question],
    parted: Texts,
    posed: Sequence[Posed],
    answers: Mapping[str, Sequence[Answer]],
    models: Sequence[str],
    reference: str,
    margin: float,
    *,
    per_hour: float | None = None,
    stanzas: Mapping[str, Stanza] = MappingProxyType({}),
) -> Evidence:
    """Compute everything, and keep the texts and the replies with it.

    `questions`: the bank; `parted`: its texts as they were asked about; `answers`: by the name of
    each of `posed`; `margin`: a fraction; `per_hour`: what a machine of one's own costs. Where no
    text has a label, what the `reference` says with the first prompt stands in for it. Raises
    Missing without scikit-learn.
    """
    read = {
        (model, each.name): said(each.questions, _own(answers, each, model), _grammar(parted, each))
        for each in posed
        for model in models
    }
    table = _predictions(parted, read)
    with_truth = sum(bool(question.label) for question in parted.test)
    known = table if with_truth else stats.against(table, reference, posed[0].name)
    texts = _texts(parted, known, read)
    scores = _scores(known, parted, read, "the bank" if with_truth else reference)
    found = Labelled(
        reference=reference,
        margin=margin,
        labels=list(parted.labels),
        texts=len(parted.test),
        with_truth=with_truth,
        set_apart=len(parted.train),
        replies=[_replied(each, model, answers, read) for each in posed for model in models],
        scores=scores,
        by_label=rows_of(OfLabel, stats.by_label(known, parted.labels)),
        confusion=_confusion(known, parted),
        between=rows_of(Labelling, stats.between(table, margin)),
        reasons=_reasons(read),
        to_label_first=rows_of(ToLabel, stats.to_label_first(table, FEW)),
        break_even=[] if per_hour is None else list(_break_even(reference, read, per_hour)),
        wrong=sum(not all(each.right for each in text.readings) for text in texts),
    )
    rows = [row for each in read.values() for one in each.values() for row in one.answers]
    days = {row.time[:10] for row in rows if row.time}
    results = evidence(bank, questions, [], []).results.model_copy(
        update={
            "models": sorted(models),
            "dollars": dollars_of(
                r.dollars for each in posed for m in models for r in _own(answers, each, m)
            ),
            "earliest": min(days, default=None),
            "latest": max(days, default=None),
            "described": [described(m, stanzas[m]) for m in sorted(models) if m in stanzas],
            "labelled": found,
        }
    )
    missing = list(caveats.missing(results))
    results = results.model_copy(update={"missing": missing})
    return Evidence(results, tuple(questions), labelled=texts)


def _own(answers: Mapping[str, Sequence[Answer]], posed: Posed, model: str) -> list[Answer]:
    return [row for row in answers[posed.bank] if row.model == model]


def _grammar(parted: Texts, posed: Posed) -> Labels:
    return Labels(parted.labels, posed.prompt.synonyms, several=parted.several)


def _predictions(parted: Texts, read: Mapping[Key, Mapping[str, Read]]) -> pd.DataFrame:
    """One row a model, prompt and text, as `stats.labels` wants them, in the order of the bank."""
    truth = {question.id: question.label or None for question in parted.test}
    rows = [
        (*key, question, truth[question], found[question].labelling.labels)
        for key, found in read.items()
        for question in truth
        if question in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype(object)


def _texts(
    parted: Texts, known: pd.DataFrame, read: Mapping[Key, Mapping[str, Read]]
) -> tuple[LabelledText, ...]:
    """The texts with a truth and a reply."""
    own: dict[str, list[dict[Hashable, Any]]] = {}
    for row in known[known["truth"].notna()].to_dict("records"):
        own.setdefault(row["question"], []).append(row)
    for rows in own.values():
        rows.sort(key=lambda row: (row["model"], row["prompt"]))
    return tuple(
        LabelledText(
            question,
            tuple(own[question.id][0]["truth"]),
            tuple(_reading(row, read) for row in own[question.id]),
        )
        for question in parted.test
        if question.id in own
    )


def _reading(row: Mapping[Hashable, Any], read: Mapping[Key, Mapping[str, Read]]) -> Reading:
    one = read[row["model"], row["prompt"]][row["question"]]
    labels = one.labelling.labels
    return Reading(
        row["model"],
        row["prompt"],
        labels,
        one.labelling.unreadable,
        labels is not None and set(labels) == set(row["truth"]),
        one.answer.turns[-1].strip() or one.answer.refusal or "",
        len(one.answers),
    )


def _replied(
    posed: Posed,
    model: str,
    answers: Mapping[str, Sequence[Answer]],
    read: Mapping[Key, Mapping[str, Read]],
) -> Replied:
    standing = [row for one in read[model, posed.name].values() for row in one.answers]
    asked = [question.id for question in posed.questions]
    row = answered(model, _own(answers, posed, model), standing, asked)
    return Replied(**row.model_dump(), prompt=posed.name)


def _scores(
    known: pd.DataFrame, parted: Texts, read: Mapping[Key, Mapping[str, Read]], truth: str
) -> list[LabelScore]:
    table = stats.scores(known, parted.labels)
    costs = [_per_thousand(read[key]) for key in zip(table["model"], table["prompt"], strict=True)]
    dollars = pd.Series(costs, table.index, object)
    return rows_of(LabelScore, table.assign(dollars_per_thousand=dollars, truth=truth))


def _per_thousand(found: Mapping[str, Read]) -> float | None:
    costs = [one.dollars for one in found.values()]
    known = [cost for cost in costs if cost is not None]
    return stats.cost_per_thousand(sum(known), len(known)) if len(known) == len(costs) else None


def _break_even(
    reference: str, read: Mapping[Key, Mapping[str, Read]], per_hour: float
) -> Iterator[BreakEven]:
    for (model, prompt), found in read.items():
        price = _per_thousand(found)
        if model == reference and price and (texts := stats.break_even(price, per_hour)):
            yield BreakEven(model=model, prompt=prompt, per_hour=per_hour, texts=texts)


def _confusion(known: pd.DataFrame, parted: Texts) -> list[Confusion]:
    return [
        Confusion(
            model=model, prompt=prompt, labels=list(parted.labels), texts=found.matrix.tolist()
        )
        for (model, prompt), found in stats.confusion(known, parted.labels).items()
        if found.matrix is not None
    ]


def _reasons(read: Mapping[Key, Mapping[str, Read]]) -> list[Unreadable]:
    why = Counter(
        (*key, one.labelling.unreadable)
        for key, found in read.items()
        for one in found.values()
        if one.labelling.unreadable
    )
    return [
        Unreadable(model=model, prompt=prompt, why=reason, replies=n)
        for (model, prompt, reason), n in sorted(why.items())
    ]
