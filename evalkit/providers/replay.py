"""Replies from a recording: a ledger of bought rows, asked again without key, network or cost.

A request finds its reply by what is asked, to the letter, of what it is about; else of anything.
Where no row was asked just that, by what it is about: the question, the models shown and their
order, the sample and the turn, so that a reworded prompt does not orphan a recording. Of several
rows about the same thing, the last.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.catalog import Model
from evalkit.chat import Failure, Kind, Reply, Request, about, unheard
from evalkit.errors import BadFile, Fault, Missing
from evalkit.keys import Keys
from evalkit.records import Answer, Bought, Review


class Provider:
    """One model, as far as it was recorded."""

    def __init__(self, model: Model, keys: Keys) -> None:  # noqa: ARG002
        if model.stanza.path is None:
            raise Missing(f"no recording of '{model.name}': it needs a `path`")
        path = Path(model.stanza.path)
        self.shares = str(path)
        self.at_once: int | None = None
        self.notes: tuple[str, ...] = ()
        self._id = model.id
        self._by_asked: dict[tuple[Any, ...], Reply] = {}
        self._by_words: dict[tuple[str, int], Reply] = {}
        self._by_about: dict[tuple[Any, ...], Reply] = {}
        for row in _rows(path):
            here = about(row), row.sample
            said = row.turns if isinstance(row, Answer) else (row.text,)
            for turn, text in enumerate(said, 1):
                if turn == len(said):
                    reply = _reply(row, text)
                    self._by_asked[row.asked, *here] = self._by_about[*here, turn] = reply
                    self._by_words[row.asked, row.sample] = reply
                else:  # typed in by hand, all turns in one row
                    self._by_about.setdefault((*here, turn), _reply(row, text))

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Find what was said."""
        here = request.about, request.sample
        turn = sum(message.role == "user" for message in request.messages)
        places = ((*here, turn), (*here, 1))  # a judge's second try is about the same thing
        known = [self._by_about.get(place) for place in places[: 1 + (len(request.about) > 1)]]
        asked = request.asked(self._id)
        found = [self._by_asked.get((asked, *here)), self._by_words.get((asked, request.sample))]
        found += known
        reply = next((each for each in found if each is not None), None)
        if reply is None:
            what = " ".join(request.about)
            return Failure(Kind.NOT_RECORDED, f"{self.shares} holds no reply about {what}")
        hear(reply.text)
        return reply

    async def close(self) -> None:
        """Nothing is open."""


def _rows(path: Path) -> list[Answer | Review]:
    rows: list[Answer | Review] = []
    faults: list[Fault] = []
    for line in jsonl.lines(path):
        where = f"{path}:{line.number}"
        model: type[Answer] | type[Review] = Answer
        try:
            value = jsonl.parse(line.raw)
            model = Review if "judge" in value else Answer
            rows.append(model.model_validate(value))
        except jsonl.Malformed as error:
            faults.append(Fault(where, error.what))
        except ValidationError as error:
            faults.append(Fault(where, "; ".join(jsonl.complaints(error, model))))
    if faults:
        raise BadFile(faults)
    return rows


def _reply(row: Bought, text: str) -> Reply:
    return Reply(
        text=text,
        served=row.served,
        usage=row.usage,
        finish_reason=row.finish_reason,
        reasoning=row.reasoning,
        refusal=row.refusal,
        repaired=row.repaired,
        sampling=row.sampling,
        latency=row.latency,
        time=row.time,
        template=row.template,
    )
