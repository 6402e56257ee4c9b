"""FairEval's files: question.jsonl, answer/*.jsonl, and in review/ judgments and people's labels.

Source: i-Eval/FairEval, 2023. Questions and answers are those of the Vicuna evaluation, and are
read as its. A judge was asked several times in one order, and as often with the answers swapped;
a label becomes a vote of `human-faireval`, so that a judge stands beside people.

The texts in `review_bpc` are read as of the swapped order, as that tool's own scores are; one
published version of it asked for them in the same order by mistake, and no file says which did.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from evalkit import jsonl
from evalkit.errors import BadFile, BadPath, Fault, count
from evalkit.formats import Given, Imported, Theirs, Writer, refuse, vicuna
from evalkit.parsers import pair_scores
from evalkit.records import VOTE, Answer, Question, Review, human, short_hash

BANK: str | None = vicuna.BANK
TAKES: Collection[str] = ()
WRITES: Mapping[str, Writer] = {}
PROMPT = "faireval"
PEOPLE = human("faireval")
LABELS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
"""The scores of a label: the first model, the second one, a tie."""
ALSO = {"chatgpt": {"gpt35", "gpt35turbo"}}
"""What that tool's labels call a model -> what its files do, all of it folded."""
SAME = 1e-6  # what two means may differ by that are one

Bank = Mapping[str, Question]
Said = Mapping[str, Answer]
"""By answer_id; without those that failed."""


class _Judged(Theirs):
    """A judge's replies to one question, and their mean scores, the first model's first."""

    question_id: vicuna.QuestionId
    question: str
    review: list[str]
    review_bpc: list[str]
    score: vicuna.TwoScores

    @property
    def id(self) -> str:
        return str(self.question_id)


@dataclass(frozen=True)
class _Model:
    """What answer/answer_<stem>.jsonl holds."""

    stem: str
    versions: list[str]
    answers: dict[str, str]
    """Question -> answer_id."""

    @property
    def names(self) -> set[str]:
        """What a label may call it, folded."""
        return {_folded(name.partition(":")[0]) for name in (self.stem, *self.versions)} - {""}


@dataclass(frozen=True)
class _File:
    """A file of review/, by its name."""

    path: Path
    models: tuple[_Model, _Model]
    judge: str = ""
    """Empty: people's labels."""
    texts: int = 0
    """How many replies were asked for in the models' order,"""
    swapped: int = 0
    """and how many in the other one."""

    def shown(self, question: str, said: Said) -> tuple[Answer, Answer] | None:
        """The two answers; None where one of them failed."""
        one, other = (said.get(model.answers[question]) for model in self.models)
        return (one, other) if one and other else None

    def unanswered(self, where: str, question: str) -> Iterator[Fault]:
        """That a model did not answer a question."""
        for model in self.models:
            if question not in model.answers:
                what = f"no answer to question {question} in answer/answer_{model.stem}.jsonl"
                yield Fault(where, what)


class _Labels:
    """A file of labels: a line a question, in the order of question.jsonl."""

    def __init__(self, file: _File, faults: list[Fault]) -> None:
        self.file = file
        self.words: list[str] = []
        try:
            lines = jsonl.text(file.path).rstrip().split("\n")
            self.words = [line.strip() for line in lines if lines != [""]]
        except BadFile as error:
            faults.extend(error.faults)

    def __len__(self) -> int:
        return len(self.words)

    def faults(self, questions: Mapping[str, str]) -> Iterator[Fault]:
        """What is wrong with it; `questions`: their texts by their ids."""
        path = self.file.path
        if len(self) != len(questions):
            lines, expected = count(len(self), "line"), count(len(questions), "question")
            what = f"{lines} for {expected}: a label is of the question at its place"
            yield Fault(str(path), what)
        for number, word in enumerate(self.words, 1):
            meant = self._meant(word)
            names = [*(model.stem for model in self.file.models), "TIE"]
            if not meant:
                known = ", ".join(names)
                yield Fault(f"{path}:{number}", f"'{word[:40]}' is none of {known}")
            elif len(meant) > 1:
                both = " or ".join(names[place] for place in meant)
                yield Fault(f"{path}:{number}", f"'{word[:40]}' may be {both}")
        for number, (question, _) in enumerate(zip(questions, self.words, strict=False), 1):
            yield from self.file.unanswered(f"{path}:{number}", question)

    def _meant(self, word: str) -> list[int]:
        """Which of LABELS a word may be."""
        folded = _folded(word)
        known = [*(model.names for model in self.file.models), {"tie"}]
        exactly = [place for place, names in enumerate(known) if folded in names]
        also = ALSO.get(folded, set())
        return exactly or [place for place, names in enumerate(known) if names & also]

    def reviews(self, bank: Bank, said: Said, told: list[str]) -> Iterator[Review]:  # noqa: ARG002
        """A vote for each label of two answers that did not fail."""
        for word, question in zip(self.words, bank, strict=True):
            if shown := self.file.shown(question, said):
                hashes = tuple(answer.hash for answer in shown)
                yield Review(
                    question=question,
                    judge=PEOPLE,
                    prompt=VOTE,
                    shown=tuple(answer.model for answer in shown),
                    answers=hashes,
                    text=word,
                    scores=LABELS[self._meant(word)[0]],
                    rung="strict",
                    order_known=False,
                    asked=short_hash([VOTE, question, hashes, word]),
                )


class _Judgments:
    """A file of a judge's replies: a row a question."""

    def __init__(self, file: _File, faults: list[Fault]) -> None:
        self.file = file
        found = jsonl.records(file.path, _Judged)
        self.rows = found.rows
        faults.extend([*found.faults, *jsonl.doubled(found.rows, "id")])

    def __len__(self) -> int:
        return sum(len(row.review) + len(row.review_bpc) for _, row in self.rows)

    def faults(self, questions: Mapping[str, str]) -> Iterator[Fault]:
        """What is wrong with it; `questions`: their texts by their ids."""
        for where, row in self.rows:
            if row.id not in questions:
                yield Fault(where, f"no question {row.id} in question.jsonl")
                continue
            if row.question != questions[row.id]:
                yield Fault(where, f"not the text of question {row.id} in question.jsonl")
            for name, most in (("review", self.file.texts), ("review_bpc", self.file.swapped)):
                if len(texts := getattr(row, name)) > most:
                    of = f"the file's name says {most}"
                    yield Fault(where, f"'{name}' holds {count(len(texts), 'text')}, {of}")
            yield from self.file.unanswered(where, row.id)

    def reviews(self, bank: Bank, said: Said, told: list[str]) -> Iterator[Review]:
        """One for each reply on two answers that did not fail; what is odd goes to `told`."""
        asked = len(self.rows) * (self.file.texts + self.file.swapped)
        if missing := asked - len(self):
            kept = f"{missing} of {count(asked, 'reply', 'replies')} were not kept by that tool"
            told.append(f"{self.file.path}: {kept}")
        for where, row in self.rows:
            if shown := self.file.shown(row.id, said):
                one = list(self._replies(row, row.review, bank[row.id], shown))
                other = list(self._replies(row, row.review_bpc, bank[row.id], shown[::-1]))
                read = [r.scores for r in one if r.scores]
                read += [r.scores[::-1] for r in other if r.scores]
                told.extend(_differs(f"{where}: question {row.id}", row.score, read))
                yield from (*one, *other)

    def _replies(
        self, row: _Judged, texts: list[str], question: Question, shown: tuple[Answer, ...]
    ) -> Iterator[Review]:
        hashes = tuple(answer.hash for answer in shown)
        seen = [*question.turns, *(turn for answer in shown for turn in answer.turns)]
        extra = {"file": self.file.path.name, **row.besides("question", "review", "review_bpc")}
        run = [PROMPT, self.file.judge, self.file.texts, self.file.swapped]
        for sample, text in enumerate(texts):
            reading = pair_scores(text, seen)
            yield Review(
                question=row.id,
                judge=self.file.judge,
                prompt=PROMPT,
                shown=tuple(answer.model for answer in shown),
                answers=hashes,
                text=text,
                scores=reading.scores,
                rung=reading.rung,
                flags=reading.flags,
                unreadable=reading.unreadable,
                sample=sample,
                asked=short_hash([*run, row.id, hashes, sample, text]),
                repaired=row.repaired,
                extra={"faireval": extra},
            )


def recognises(path: Path) -> bool:
    """The Vicuna evaluation's folder, with a file in review/ that is called as FairEval's are."""
    return vicuna.is_laid_out(path) and bool(vicuna.of_faireval(path))


def read(path: Path, given: Given) -> Imported:
    """Read a folder. Raises BadFile with every fault found in any of its files.

    Other files in review/ are left out, and told.
    """
    if not recognises(path):
        names = "review_A_B_human.txt or review_A_B_JUDGE_mecN_bpcN.json"
        raise BadPath(f"{path}: expected a folder with question.jsonl, answer/ and review/{names}")
    faults: list[Fault] = []
    asked = vicuna.look(path, faults)
    files = [
        (_Judgments if file.judge else _Labels)(file, faults)
        for file in _files(path, asked, faults)
    ]
    refuse(path / "question.jsonl", faults, asked.questions)
    questions = {row.question: row.text for _, row in asked.questions}
    loose = [fault for file in files for fault in file.faults(questions)]
    if loose := [*asked.loose_ends(), *loose]:
        raise BadFile(loose)

    bank, said, told = asked.ours(given)
    if others := vicuna.review_files(path):
        what = f"{count(len(others), 'file')} of the Vicuna evaluation's in review/ left out"
        told.append(f"{what}: evalkit import vicuna {path}")
    about: list[str] = []
    reviews = [review for file in files for review in file.reviews(bank, said, about)]
    if lost := sum(map(len, files)) - len(reviews):
        told.append(f"{count(lost, 'review')} of failed answers left out")
    if replies := [review for review in reviews if not review.is_vote]:
        told.append(vicuna.how_read(replies))
    return Imported(list(bank.values()), [*said.values(), *reviews], told + about)


def _files(path: Path, asked: vicuna.Asked, faults: list[Fault]) -> Iterator[_File]:
    """The files in review/, each with the models and the judge of its name."""
    models: dict[str, _Model] = {}
    for answers, rows in asked.files.items():
        if (stem := answers.stem.removeprefix("answer_")) != answers.stem:
            versions = sorted({row.model_id for _, row in rows})
            models[stem] = _Model(stem, versions, {row.question: row.answer_id for _, row in rows})
    for file, name in vicuna.of_faireval(path).items():
        who, texts, swapped = name.groups()
        pairs = [pair for pair in _apart(who, list(models)) if bool(pair[2]) == bool(texts)]
        if len(pairs) != 1:
            ways = " or ".join(f"{one} and {other}" for one, other, _ in pairs)
            wanted = "two models of answer/" + " and a judge" * bool(texts)
            what = f"it may be of {ways}" if ways else f"expected {wanted} in the file's name"
            faults.append(Fault(str(file), what))
            continue
        one, other, judge = pairs[0]
        for model in (models[one], models[other]):
            if len(model.versions) > 1:
                what = (
                    f"answer_{model.stem}.jsonl is of several models: {', '.join(model.versions)}"
                )
                faults.append(Fault(str(file), what))
        k = int(texts or 0)
        yield _File(file, (models[one], models[other]), judge, k, k * int(swapped or 0))


def _apart(who: str, stems: list[str]) -> Iterator[tuple[str, str, str]]:
    """Every way to read a name as two of `stems`, and the judge that follows them, if any."""
    first = [stem for stem in stems if who.startswith(f"{stem}_")]
    for one, other in product(first, stems):
        pair = f"{one}_{other}_"
        if one != other and f"{who}_".startswith(pair):
            yield one, other, who[len(pair) :]


def _folded(name: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"[\W_]", "", name).casefold()


def _differs(
    where: str, given: tuple[float, float], read: list[tuple[float, ...]]
) -> Iterator[str]:
    """That the mean of what was read is not the one given."""
    mean = tuple(sum(scores) / len(read) for scores in zip(*read, strict=True))
    if not mean or max(abs(a - b) for a, b in zip(mean, given, strict=True)) > SAME:
        says = "{:.7g} {:.7g}".format(*mean) if mean else "nothing that can be read"
        yield f"{where}: given {given[0]:.7g} {given[1]:.7g}, the replies say: {says}"
