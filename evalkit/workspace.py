"""Where files lie: the current directory's five folders, and one file.

    questions/<bank>.jsonl                  written by hand
    prompts/judge/<name>.yaml               written by hand
    evalkit.yaml                            written by hand
    answers/<bank>/<model>.jsonl            bought
    reviews/<bank>/<judge>.<prompt>.jsonl   bought
    <either>.2-of-8.jsonl                   bought by a shard of a run; read with the others as one
    beside either: <its name>.batches.json  which batches hold calls of it
                   .<its name>.jsonl.index  computed: what a large one holds (`evalkit.index`)
    reports/<bank>.html, .json, ...         computed

What a workspace lacks is taken from what the package ships. This is the only module that knows
these paths; it never looks into a row beyond its key, and it prints nothing: what a person should
hear is collected in `Workspace.told`.
"""

import glob
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from evalkit import batches, jsonl, shards
from evalkit.errors import BadFile, BadName, Fault, Unknown
from evalkit.ledger import Ledger, as_one
from evalkit.records import Answer, Bought, Question, Review
from evalkit.shards import Shard
from evalkit.wholefile import check_writable, write_whole

LONGEST_NAME = 120  # bytes, as a file name without its ending

_IN_WHEEL = Path(__file__).parent / "shipped"
SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parent.parent
"""Where what came with evalkit lies: `evalkit/shipped` in a wheel, the checkout in a checkout."""

SHIPPED_BANKS = ("cars-en", "cars-zh", "evalkit80", "evalkit80-zh", "sample")
"""What came: in a checkout other banks may lie there too, and they are its user's own."""

_BATCHES = ".batches.json"

Row = TypeVar("Row", bound=Bought)


@dataclass(frozen=True)
class Added:
    """What was given to be kept, and how much of it was not there yet."""

    new: int
    answers: Counter[str]
    """By model; those too that were there."""
    reviews: Counter[str]
    """By judge; those too that were there."""

    @property
    def again(self) -> int:
        """How many rows were there already."""
        return self.answers.total() + self.reviews.total() - self.new


@lru_cache(10_000)  # asked for every row
def file_stem(name: str) -> str:
    """The file name, without ending, of the thing called `name`.

    `org/name` becomes `org__name`; characters that some system forbids become %XX. Raises BadName
    for a name that leads out of its folder or that no system would keep.
    """
    why = _no_name(name)
    stem = re.sub(r'[<>:"\\|?*%\x00-\x1f\x7f-\x9f]', _percent, name.replace("/", "__"))
    if len(stem.encode("utf-8", "replace")) > LONGEST_NAME:
        why = f"is longer than {LONGEST_NAME} bytes"
    if not why and (encoding := _unencodable(stem)):
        why = f"cannot be written in {encoding}"
        if encoding != "utf-8":
            why += ", the encoding of file names here; PYTHONUTF8=1 sets UTF-8"
    if why:
        raise BadName(f"{name[:60]!r} cannot be a name: it {why}")
    return stem


def _no_name(name: str) -> str | None:
    parts = re.split(r"[/\\]", name)
    if not name or name != name.strip():
        return "is empty or has blanks at its ends"
    if re.search(r"[\x00\r\n]", name):
        return "holds a NUL or a line break"
    if re.match(r"[/\\~]|[A-Za-z]:[/\\]", name):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder"
    if any(part[0] in ".-" for part in parts):
        return "begins with a dot or a dash"
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE):
        return "is reserved on Windows"
    return None


def _unencodable(stem: str) -> str | None:
    """The encoding that has no bytes for `stem`; half a surrogate pair has none anywhere."""
    for encoding in ("utf-8", sys.getfilesystemencoding()):
        try:
            stem.encode(encoding)
        except UnicodeEncodeError:
            return encoding
    return None


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _ledger_file(*names: str) -> str:
    return shards.harmless(".".join(map(file_stem, names))) + ".jsonl"


def _read_bank(path: Path) -> jsonl.Found[Question]:
    """The questions of a file, each with its place, and every fault of it."""
    found = jsonl.records(path, Question)
    found.faults += jsonl.doubled(found.rows, "id")
    if not found.rows and not found.faults:
        found.faults.append(Fault(str(path), "no questions"))
    return found


def batch_file(ledger: Path) -> Path:
    """Where it is noted which batches hold calls of a ledger."""
    return ledger.with_name(f"{ledger.stem}{_BATCHES}")


def _ledger_of(noted: Path) -> Path:
    return noted.with_name(noted.name.removesuffix(_BATCHES) + ".jsonl")


def bank_of(ledger: Path) -> str:
    """The bank whose answers or reviews a ledger holds."""
    return unquote(ledger.parent.name)  # what `file_stem` made of it


def read_batches(ledger: Path) -> batches.Log:
    """The batches of a ledger; raises BadFile where the file that names them is none."""
    path = batch_file(ledger)
    return batches.read(jsonl.text(path), str(path)) if path.exists() else batches.Log()


def write_batches(ledger: Path, log: batches.Log) -> None:
    """Note the batches of a ledger, whose lock must be held."""
    write_whole(batch_file(ledger), log.text())


class Workspace:
    """The folders of one evaluation, laid over what the package ships."""

    def __init__(self, root: Path, shipped: Path = SHIPPED) -> None:
        self.root = root
        self.shipped = shipped
        self.told: list[str] = []

    # -- written by hand

    def banks(self) -> list[str]:
        """The names of all banks that can be used here."""
        own = set()
        for file in jsonl.files(self.root / "questions"):
            name = unquote(file.stem)  # what `file_stem` made of it
            try:
                is_name = file_stem(name) == file.stem and not name.endswith(".jsonl")
            except BadName:
                is_name = False
            if is_name:
                own.add(name)
            elif not file.name.startswith("."):  # of an editor or a file manager
                self.told.append(f"{file}: no name for a bank, so it is none")
        return sorted(own | set(SHIPPED_BANKS))

    def bank_file(self, bank: str) -> Path:
        """Where the workspace's own bank of this name lies, or would."""
        return self.root / "questions" / f"{file_stem(bank)}.jsonl"

    def is_shipped(self, bank: str) -> bool:
        """Whether this is a bank that came with evalkit, or an unchanged copy of it."""
        if bank not in SHIPPED_BANKS:
            return False
        own, shipped = self.bank_file(bank), self.shipped / "questions" / f"{bank}.jsonl"
        return not own.exists() or own.read_bytes() == shipped.read_bytes()

    def bank(self, bank: str) -> jsonl.Found[Question]:
        """A bank as it lies there: its questions, each with its place, and every fault.

        `bank`: its name, or the path of any file that ends in .jsonl.
        """
        return _read_bank(self.bank_path(bank))

    def bank_path(self, bank: str) -> Path:
        """Where the bank of this name lies that is used here; a path is one itself."""
        if bank.endswith(".jsonl"):
            return Path(bank)
        path = self.bank_file(bank)
        if self.is_shipped(bank):
            return self.shipped / "questions" / path.name
        if not path.exists():
            raise Unknown("bank", bank, self.banks(), "A bank is a file questions/NAME.jsonl")
        return path

    def questions(self, bank: str) -> list[Question]:
        """A bank's questions, checked whole: every fault of the file is told at once."""
        found = self.bank(bank)
        if found.faults:
            raise BadFile(found.faults)
        return [question for _, question in found.rows]

    @property
    def config(self) -> Path:
        """Where the workspace's own settings lie, or would."""
        return self.root / "evalkit.yaml"

    def prompts(self, kind: str) -> dict[str, Path]:
        """The prompt files of a kind (`judge`, `chat`) by name."""
        found: dict[str, Path] = {}
        for root in (self.root, self.shipped):
            for file in sorted((root / "prompts" / kind).glob("*.yaml")):
                found.setdefault(file.stem, file)
        return found

    # -- bought

    def answered(self, bank: str) -> list[str]:
        """The models that have answered something of a bank."""
        ledgers = self.ledgers("answers", bank, Answer)
        return sorted({row.model for ledger in ledgers if (row := ledger.first())})

    def answers(self, bank: str) -> list[Answer]:
        """Every answer to a bank."""
        return list(as_one(self.ledgers("answers", bank, Answer)))

    def reviews(self, bank: str) -> list[Review]:
        """Every review of a bank."""
        return list(as_one(self.ledgers("reviews", bank, Review)))

    def answer_path(self, bank: str, model: str) -> Path:
        """Where a model's answers lie, or would; those of shards lie beside it."""
        return self.root / "answers" / file_stem(bank) / _ledger_file(model)

    def skimmed(self, kind: str, bank: str, model: type[Row]) -> Sequence[Row]:
        """Every row of `ledgers(...)` as `skim` reads it, in a fraction of time and memory."""
        return as_one(self.ledgers(kind, bank, model), Ledger.skim)

    def about(self, kind: str, bank: str, model: type[Row], questions: Set[str]) -> list[Row]:
        """The rows of `ledgers(...)`, whole, that are of some questions."""
        return [r for ledger in self.ledgers(kind, bank, model) for r in ledger.about(questions)]

    def judged_banks(self) -> list[str]:
        """The banks that have reviews."""
        return [bank for bank in self.banks() if self.ledgers("reviews", bank, Review)]

    def ledgers(self, kind: str, bank: str, model: type[Row]) -> list[Ledger[Row]]:
        """The ledgers of a bank in the folder `kind`, by file name.

        A shipped bank has the shipped ones too; the workspace's own of the same name go first.
        """
        place = Path(kind, file_stem(bank))
        found = {file.name: file for file in jsonl.files(self.root / place)}
        if self.is_shipped(bank):
            own = {shards.whole(file).name for file in found.values()}
            shipped = jsonl.files(self.shipped / place)
            found |= {file.name: file for file in shipped if file.name not in own}
        return [Ledger(file, model, self.told.append) for _, file in sorted(found.items())]

    def answer_ledgers(
        self, bank: str, models: Iterable[str], shard: Shard | None = None
    ) -> dict[str, Ledger[Answer]]:
        """The ledger of each model's answers, which may be new; raises BadName for a shared one."""
        places = {model: self.answer_path(bank, model) for model in models}
        return self._new_ledgers(bank, Answer, places, {model: model for model in places}, shard)

    def review_ledgers(
        self, bank: str, judges: Iterable[str], prompt: str, shard: Shard | None = None
    ) -> dict[str, Ledger[Review]]:
        """The ledger of each judge's reviews with a prompt; as `answer_ledgers`."""
        folder = self.root / "reviews" / file_stem(bank)
        places = {judge: folder / _ledger_file(judge, prompt) for judge in judges}
        owners = {judge: f"{judge} with {prompt}" for judge in places}
        return self._new_ledgers(bank, Review, places, owners, shard)

    def _new_ledgers(
        self,
        bank: str,
        model: type[Row],
        places: Mapping[str, Path],
        whose: Mapping[str, str],
        shard: Shard | None,
    ) -> dict[str, Ledger[Row]]:
        owners: dict[str, set[str]] = {}
        for name, path in places.items():
            owners.setdefault(str(path).casefold(), set()).add(whose[name])
        self._refuse_shared(bank, owners)
        files = {name: shards.file_of(path, shard) for name, path in places.items()}
        for file in files.values():
            check_writable(file)
        return {name: Ledger(file, model, self.told.append) for name, file in files.items()}

    def own_reviews(self, bank: str) -> list[Ledger[Review]]:
        """The ledgers of a bank's reviews that lie in this workspace."""
        ledgers = self.ledgers("reviews", bank, Review)
        return [each for each in ledgers if each.path.is_relative_to(self.root)]

    def batched(self, bank: str | None = None) -> "list[Ledger[Answer] | Ledger[Review]]":
        """The ledgers with calls in batches, of one bank or of all."""
        found: list[Ledger[Answer] | Ledger[Review]] = []
        folder = "*" if bank is None else glob.escape(file_stem(bank))
        for path in sorted(self.root.glob(f"answers/{folder}/*{_BATCHES}")):
            found.append(Ledger(_ledger_of(path), Answer, self.told.append))
        for path in sorted(self.root.glob(f"reviews/{folder}/*{_BATCHES}")):
            found.append(Ledger(_ledger_of(path), Review, self.told.append))
        return found

    def append(
        self,
        bank: str,
        rows: Iterable[Bought],
        questions: Sequence[Question] = (),
        *,
        partial: bool = False,
    ) -> "Added":
        """Add the rows that are not there yet, each to its ledger.

        `rows` are asked for twice, once for their names, and not held. `questions`: the bank
        itself, where it comes with them; one that stands already must hold the same, or, where
        they are a part of it, the same of those that both have. Every name is checked and every
        ledger locked before the first byte is written.
        """
        rows = list(rows) if iter(rows) is rows else rows
        homes: dict[Path, type[Bought]] = {}
        owners: dict[str, set[str]] = {}
        seen: Counter[tuple[type[Bought], str]] = Counter()
        for row in rows:
            path, owner = self._home(bank, row)
            homes[path] = type(row)
            seen[type(row), row.judge if isinstance(row, Review) else owner] += 1
            owners.setdefault(str(path).casefold(), set()).add(owner)
        self._refuse_shared(bank, owners)
        new = self._new_questions(bank, questions, partial=partial) if questions else []
        for path in (*homes, *([self.bank_file(bank)] if questions else [])):
            check_writable(path)
        with ExitStack() as stack:
            writers = {
                path: stack.enter_context(Ledger(path, kind, self.told.append).writing())
                for path, kind in homes.items()
            }
            if new and (file := self.bank_file(bank)).exists():
                self.add_questions(bank, new)
            elif new:
                write_whole(file, (question.line() + "\n" for question in new))
            added = sum(writers[self._home(bank, row)[0]].add(row) for row in rows)
        return Added(
            added,
            Counter({who: n for (kind, who), n in seen.items() if kind is Answer}),
            Counter({who: n for (kind, who), n in seen.items() if kind is Review}),
        )

    def add_questions(self, bank: str, questions: Sequence[Question]) -> Path:
        """Write questions to the end of an own bank, which may be new; what stands there stays."""
        if self.is_shipped(bank):
            raise BadName(f"'{bank}' came with evalkit. Give another --bank")
        if bank.endswith(".jsonl"):
            raise BadName(f"'{bank}' cannot be a name: it is that of a file. Leave out .jsonl")
        path = self.bank_file(bank)
        self._refuse_same_file(bank)
        if path.exists() and next(jsonl.text_lines(path), "").startswith("["):
            raise BadFile([Fault(str(path), "is one JSON array; write it as lines to add to it")])
        standing = jsonl.text_lines(path) if path.exists() else ()
        new = (each.line() for each in questions)
        return write_whole(path, (line.rstrip("\r\n") + "\n" for line in chain(standing, new)))

    def repair(self, bank: str) -> None:
        """Move the bad lines of a bank's own ledgers aside, so that the rest can be read."""
        for ledger in self._bought(bank):
            if ledger.path.is_relative_to(self.root):
                ledger.repair()

    # -- computed

    def write_report(self, bank: str, ending: str, content: str | bytes) -> Path:
        """Write reports/<bank><ending>, replacing an older one whole."""
        return write_whole(self.root / "reports" / f"{file_stem(bank)}{ending}", content)

    # -- inside

    def _bought(self, bank: str) -> list[Ledger[Answer] | Ledger[Review]]:
        """All ledgers of a bank."""
        return [*self.ledgers("answers", bank, Answer), *self.ledgers("reviews", bank, Review)]

    def _home(self, bank: str, row: Bought) -> tuple[Path, str]:
        match row:
            case Answer(model=model):
                return self.answer_path(bank, model), model
            case Review(judge=judge, prompt=prompt):
                folder = self.root / "reviews" / file_stem(bank)
                return folder / _ledger_file(judge, prompt), f"{judge} with {prompt}"
        raise TypeError(f"no ledger for a {type(row).__name__}")

    def _new_questions(
        self, bank: str, questions: Sequence[Question], *, partial: bool
    ) -> list[Question]:
        """Those that this bank has not yet. Raises BadName where it holds other questions."""
        path = self.bank_file(bank)
        self._refuse_same_file(bank)
        own = path.exists()
        if not own and bank not in SHIPPED_BANKS:
            return list(questions)
        given = {question.id: question for question in questions}
        standing: dict[str, str] = {}
        faults: list[Fault] = []
        same = whole = True
        for where, each in jsonl.stream(self.bank_path(bank), Question, faults):  # may be many
            if (first := standing.setdefault(each.id, where)) != where:
                faults.append(Fault(where, f"the id '{each.id}' stands at {first} already"))
            same = same and given.get(each.id, each) == each
            place = len(standing) - 1
            whole = whole and place < len(questions) and questions[place].id == each.id
        if faults:
            raise BadFile(faults)
        new = [question for question in questions if question.id not in standing]
        added_to_shipped = bool(new) and not own  # it would hide the bank that came
        whole = partial or (whole and not new)
        if not same or not whole or added_to_shipped:
            what = f"{path} stands already" if own else f"'{bank}' came with evalkit"
            way = "Give another --bank, or move it away" if own else "Give another --bank"
            raise BadName(f"{what}, with other questions. {way}")
        return new

    def _refuse_same_file(self, bank: str) -> None:
        """Raise BadName where another bank has the file of this one."""
        stem = file_stem(bank)
        for other in map(file_stem, self.banks()):
            if other.casefold() == stem.casefold() and other != stem:
                raise BadName(f"'{bank}' and '{other}' would share one file. Give another --bank")

    def _refuse_shared(self, bank: str, owners: dict[str, set[str]]) -> None:
        """Raise BadName where two names share one file.

        A file system may fold upper and lower case, so such names are refused everywhere.
        """
        for ledger in self._bought(bank):
            here = owners.get(str(shards.whole(ledger.path)).casefold())
            if here and (first := ledger.first()):
                here.add(self._home(bank, first)[1])
        for names in owners.values():
            if len(names) > 1:
                both = " and ".join(f"'{name}'" for name in sorted(names))
                raise BadName(f"{both} would share one file. Rename one of them")
