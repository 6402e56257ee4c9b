"""The ledgers, on a real disk with real processes: what was counted is there, once and whole."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import answer, question, review, tree, vicuna_folder, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import BadFile, BadName, DiskFull, Locked, Unknown
from evalkit.ledger import FSYNC_EVERY, Ledger
from evalkit.records import Answer, Review
from evalkit.workspace import LONGEST_NAME, Workspace, file_stem

HOME = Path("answers", "bank", "a.jsonl")

# Appends numbered rows for ever; a number is printed when its row counts. The long rows are what
# a kill can tear: the system writes them in several steps.
NUMBERING = """
import sys
from itertools import count
from pathlib import Path
from evalkit.records import Answer
from evalkit.ledger import Ledger

path = Path(sys.argv[1])
ledger = Ledger(path, Answer, lambda line: None)
last = max((row.sample for row in ledger.read()), default=0) if path.exists() else 0
with ledger.writing() as writer:
    for n in count(last + 1):
        text = "long" * 500_000 if n % 4 == 0 else "short"
        writer.add(Answer(question="q1", model="a", turns=[text], sample=n, asked="0"))
        print(n, flush=True)
"""

# Holds the ledger, with half a row written, until it is killed or its stdin ends.
HOLDING = """
import os, sys
from pathlib import Path
from evalkit.records import Answer
from evalkit.ledger import Ledger

with Ledger(Path(sys.argv[1]), Answer, print).writing() as writer:
    writer.add(Answer(question="held", model="a", served="a:v1", turns=["x"], asked="0"))
    os.write(writer._file, b'{"question": "half", "model": "a", ')
    print("ready", flush=True)
    sys.stdin.read()
    os.write(writer._file, b'"turns": ["x"], "asked": "0"}\\n')
"""

# Appends its own rows one at a time, asking again for as long as somebody else is writing.
PATIENT = """
import sys, time
from pathlib import Path
from evalkit.errors import Locked
from evalkit.records import Answer
from evalkit.workspace import Workspace

root, name = sys.argv[1:]
for n in range(25):
    row = Answer(question=name, model="a", turns=[name * 20_000], sample=n, asked="0")
    while True:
        try:
            Workspace(Path(root)).append("bank", [row])
            break
        except Locked:
            time.sleep(0.001)
"""


def answers(*questions, **more):
    return [Answer.model_validate(answer(each, **more)) for each in questions]


def start(script, *args):
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def held(path):
    """A living process that is in the middle of writing the ledger."""
    with start(HOLDING, path) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def rows_of(path):
    """The rows of a file, read without evalkit: every line must be whole JSON and ended."""
    raw = path.read_bytes()
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw.removesuffix(b"\n").split(b"\n")]


def test_rows_come_back_as_they_went_and_a_second_append_adds_nothing(tmp_path):
    workspace = Workspace(tmp_path)
    bought = answers("q1", "q2", text="tab\t, line\n, \u2028, \x00, 中文")
    bought.append(Answer.model_validate(answer("q1", model="org/b")))
    judged = Review.model_validate(review())

    assert workspace.append("bank", [*bought, judged]).new == 4
    before = tree(tmp_path)
    assert workspace.append("bank", [*bought, judged]).new == 0
    assert tree(tmp_path) == before

    assert workspace.answers("bank") == bought
    assert workspace.reviews("bank") == [judged]
    assert workspace.told == []
    kept = sorted(path for path in before if path.endswith(".jsonl"))
    assert kept == [
        "answers/bank/a.jsonl",
        "answers/bank/org__b.jsonl",
        "reviews/bank/judge.pair-scores.jsonl",
    ]


def test_a_doubled_key_counts_once_and_the_first_row_wins(tmp_path):
    write_lines(tmp_path / HOME, [answer(text="old"), answer("q2"), answer(text="new")])
    read = Workspace(tmp_path).answers("bank")
    assert [(row.question, row.turns) for row in read] == [
        ("q1", ("old",)),
        ("q2", ("An answer of a.",)),
    ]


def test_what_another_process_added_meanwhile_is_not_added_again(tmp_path, monkeypatch):
    bought = answers("q1", "q2")
    lock = Ledger._locked

    def late(ledger):
        monkeypatch.setattr(Ledger, "_locked", lock)
        Workspace(tmp_path).append("bank", bought)  # just before we get the lock ourselves
        return lock(ledger)

    monkeypatch.setattr(Ledger, "_locked", late)
    assert Workspace(tmp_path).append("bank", bought).new == 0
    assert len(rows_of(tmp_path / HOME)) == 2


def test_kill_9_at_any_moment_loses_no_row_that_was_counted(tmp_path):
    path, aside = tmp_path / "a.jsonl", tmp_path / "a.jsonl.torn"
    counted, torn = [], []
    for _ in range(10):
        with start(NUMBERING, path) as child:
            counted.append(int(child.stdout.readline()))
            time.sleep(random.uniform(0, 0.03))
            child.kill()
            counted += map(int, child.stdout.read().split())
        half = path.read_bytes().rpartition(b"\n")[2]
        if half and not half.endswith(b"}"):  # else the row is whole and lacks only its newline
            torn.append(half)

    with Ledger(path, Answer, print).writing():
        pass  # the next writer puts the last half aside
    numbers = [row["sample"] for row in rows_of(path)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(counted) <= set(numbers)
    assert len(counted) == len(set(counted)), "a row that was counted was bought again"
    assert (aside.read_bytes().splitlines() if aside.exists() else []) == torn


def test_a_torn_last_line_is_moved_aside_and_its_question_is_owed(tmp_path):
    path = write_lines(tmp_path / HOME, [answer("q1")])
    whole, half = path.read_bytes(), b'{"question": "q57", "model": "a", "turns": ["caf\xc3'
    path.write_bytes(whole + half)

    workspace = Workspace(tmp_path)
    assert workspace.answers("bank") == answers("q1")
    assert workspace.told == [
        f"{path}: last line torn (crash?) -> saved as a.jsonl.torn; question q57 is owed"
    ]
    assert path.read_bytes() == whole
    assert path.with_name("a.jsonl.torn").read_bytes() == half + b"\n"

    with path.open("ab") as stream:
        stream.write(half)
    told = []
    with Ledger(path, Answer, told.append).writing() as writer:
        writer.add(*answers("q57"))
    assert told == workspace.told
    assert [row["question"] for row in rows_of(path)] == ["q1", "q57"]


def test_a_row_that_is_being_written_is_neither_read_nor_called_torn(tmp_path):
    path = tmp_path / HOME
    with held(path) as process:
        before = tree(tmp_path)
        workspace = Workspace(tmp_path)
        assert workspace.answers("bank") == answers("held", text="x", served="a:v1", asked="0")
        assert workspace.told == []
        assert tree(tmp_path) == before
        process.communicate(timeout=30)
    assert [row["question"] for row in rows_of(path)] == ["held", "half"]


def test_the_second_writer_is_told_who_the_first_is_and_writes_nothing(tmp_path, evalkit):
    folder = vicuna_folder(tmp_path / "vicuna")
    with held(tmp_path / HOME) as process:
        before = (tmp_path / HOME).read_bytes()
        for _ in range(2):  # asking does not wipe out the answer
            with pytest.raises(Locked, match=rf"\(pid {process.pid}, since \d\d:\d\d\) is writing"):
                Workspace(tmp_path).append("bank", answers("q1"))
        ran = evalkit("import", "vicuna", folder, "--bank", "bank")
        assert ran.code == 2
        assert [f"(pid {process.pid}, since" in line for line in ran.lines] == [True]
        assert (tmp_path / HOME).read_bytes() == before


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    with held(tmp_path / HOME) as process:
        process.kill()
    workspace = Workspace(tmp_path)
    assert workspace.append("bank", answers("q1")).new == 1
    assert [row["question"] for row in rows_of(tmp_path / HOME)] == ["held", "q1"]
    assert ["question half is owed" in line for line in workspace.told] == [True]


def test_two_writers_taking_turns_interleave_nothing(tmp_path):
    with start(PATIENT, tmp_path, "one") as one, start(PATIENT, tmp_path, "two") as two:
        assert (one.wait(timeout=60), two.wait(timeout=60)) == (0, 0)
    rows = rows_of(tmp_path / HOME)
    assert all(row["turns"] == [row["question"] * 20_000] for row in rows)
    keys = sorted((row["question"], row.get("sample", 0)) for row in rows)
    assert keys == [(name, n) for name in ("one", "two") for n in range(25)]


def long_answers(folder):
    """Published files whose answers need far more room than their questions."""
    vicuna_folder(folder, questions=[f"q{n}" for n in range(40)])
    for path in (folder / "answer").iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_lines(path, [row | {"text": row["text"] + "." * 2000} for row in rows])
    return folder


def shell(script, *args):
    """Run a shell script; $1 is Python, the rest are `args`."""
    command = ["sh", "-c", script, "sh", sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


IMPORT = '"$1" -m evalkit import vicuna "$2" --bank bank'


def assert_whole_up_to_the_wall(path, said, wall):
    rows = rows_of(path)
    assert 0 < len(rows) < 40
    assert [row["question"] for row in rows] == [f"q{n}" for n in range(len(rows))]
    assert all(row["turns"][0].endswith("." * 2000) for row in rows)
    told = f"{wall} at {HOME}. {len(rows)} new rows are whole. Make room, run it again"
    assert said.splitlines()[-1] == f"evalkit: {told}"


def test_a_file_that_may_not_grow_keeps_the_rows_that_were_counted(tmp_path):
    folder = long_answers(tmp_path / "vicuna")
    ran = shell(f'cd "$3" && ulimit -f 32 && {IMPORT}', folder, tmp_path)
    assert ran.returncode == DiskFull.exit_code == 1, ran.stderr
    assert_whole_up_to_the_wall(tmp_path / HOME, ran.stderr, "file too large")

    again = shell(f'cd "$3" && {IMPORT}', folder, tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(rows_of(tmp_path / HOME)) == 40


def test_a_full_disk_keeps_the_rows_that_were_counted(tmp_path):
    folder, disk, kept = (tmp_path / name for name in ("vicuna", "disk", "kept"))
    long_answers(folder)
    disk.mkdir()
    kept.mkdir()
    mount = 'mount -t tmpfs -o size=48k none "$3"'
    private = 'unshare --map-root-user --mount sh -ec "$4" sh "$@"'
    probe = shell(private, folder, disk, mount)
    if probe.returncode:
        pytest.skip(f"no private mount here, a full disk was NOT tested: {probe.stderr.strip()}")

    step = f'{IMPORT} 2> "$5/{{0}}.said" > "$5/out" && echo 0 || echo $?; cp -R answers "$5/{{0}}"'
    room = 'mount -o remount,size=4m "$3"'
    script = f'{mount}; cd "$3"; {step.format("full")}; {room}; {step.format("roomy")}'
    ran = shell(private, folder, disk, script, kept)
    assert (ran.stdout, ran.stderr) == ("1\n0\n", "")
    said = (kept / "full.said").read_text()
    assert_whole_up_to_the_wall(kept / "full" / "bank" / "a.jsonl", said, "disk full")
    assert len(rows_of(kept / "roomy" / "bank" / "a.jsonl")) == 40


def test_a_last_row_that_lacks_only_its_newline_is_kept(tmp_path):
    path = write_lines(tmp_path / HOME, [answer("q1"), answer("q2")])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))

    workspace = Workspace(tmp_path)
    assert workspace.answers("bank") == answers("q1", "q2")
    assert workspace.append("bank", answers("q2", "q3")).new == 1
    assert workspace.told == []
    assert [row["question"] for row in rows_of(path)] == ["q1", "q2", "q3"]


def test_a_bad_line_in_the_middle_stops_until_repair_moves_it_aside(tmp_path):
    path = write_lines(tmp_path / HOME, [answer("q1"), answer("q2")])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"garbage\n" + second)

    workspace = Workspace(tmp_path)
    with pytest.raises(BadFile, match=r"a\.jsonl:2: .*--repair"):
        workspace.answers("bank")
    with pytest.raises(BadFile):
        workspace.append("bank", answers("q3"))
    workspace.repair("bank")
    assert workspace.answers("bank") == answers("q1", "q2")
    assert path.read_bytes() == first + second
    assert path.with_name("a.jsonl.bad").read_bytes() == b"garbage\n"


def test_what_a_workspace_lacks_is_shipped_and_its_own_file_wins(tmp_path):
    workspace = Workspace(tmp_path)
    shipped = workspace.questions("sample")
    assert len(shipped) == 16
    assert workspace.answers("sample")
    assert workspace.reviews("sample")
    assert list(tmp_path.iterdir()) == [], "reading copied something into the workspace"

    write_lines(tmp_path / "questions" / "sample.jsonl", [question("mine")])
    write_lines(tmp_path / "answers" / "sample" / "sample-brief.jsonl", [answer("mine")])
    assert [each.id for each in workspace.questions("sample")] == ["mine"]
    own = [row for row in workspace.answers("sample") if row.model in ("a", "sample-brief")]
    assert own == answers("mine")
    with pytest.raises(Unknown, match="Did you mean 'sample'"):
        workspace.questions("sampel")


def test_a_row_that_could_not_be_read_again_is_not_written(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.append("bank", answers("q1"))
    (long,) = answers("q2", text="x" * 10_000_001)
    with pytest.raises(BadFile, match="a row of more than 10 MB"):
        workspace.append("bank", [long])
    assert [row.question for row in workspace.answers("bank")] == ["q1"]


def test_an_own_ledger_of_a_shipped_bank_goes_before_the_shipped_one(tmp_path):
    own = tmp_path / "answers" / "sample" / "sample-brief.jsonl"
    write_lines(own, [answer("fermi-08", "sample-brief", "Mine.")])
    said = {row.model: row.turns for row in Workspace(tmp_path).answers("sample")}
    assert said["sample-brief"] == ("Mine.",)
    assert set(said) == {f"sample-{each}" for each in ("thorough", "brief", "vague", "null")}


def test_repair_leaves_what_came_with_evalkit_alone(tmp_path):
    shipped = tmp_path / "shipped"
    write_lines(shipped / "questions" / "sample.jsonl", [question()])
    bad = shipped / "answers" / "sample" / "a.jsonl"
    write_lines(bad, [answer(mood="good")])
    before = tree(shipped)
    (tmp_path / "here").mkdir()
    Workspace(tmp_path / "here", shipped).repair("sample")
    assert tree(shipped) == before


def test_a_shipped_ledger_is_never_written(tmp_path):
    shipped = Workspace(tmp_path).shipped
    before = tree(shipped / "answers")
    row = Answer.model_validate(answer("q1", model="sample-brief"))
    assert Workspace(tmp_path).append("sample", [row]).new == 1
    assert tree(shipped / "answers") == before
    assert (tmp_path / "answers" / "sample" / "sample-brief.jsonl").exists()


def test_rows_are_brought_to_disk_in_groups_and_at_the_end(tmp_path, monkeypatch):
    calls = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(file), fsync(file)))
    ledger = Ledger(tmp_path / "a.jsonl", Answer, print)
    with ledger.writing() as writer:
        for row in answers(*(f"q{n}" for n in range(FSYNC_EVERY))):
            writer.add(row)
        assert len(calls) <= 2  # the group, and the folder that has a new file
        in_groups = len(calls)
    assert len(calls) == in_groups + 1


@pytest.mark.parametrize(
    "rows",
    [
        [answer(model="org/x"), answer(model="org__x")],
        [answer(model="Vicuna"), answer(model="vicuna")],
        [review(judge="a.b", prompt="c"), review(judge="a", prompt="b.c")],
    ],
)
def test_two_names_that_would_share_a_file_are_refused_together_and_apart(tmp_path, rows):
    kind = Review if "judge" in rows[0] else Answer
    one, two = map(kind.model_validate, rows)
    workspace = Workspace(tmp_path)
    with pytest.raises(BadName, match="would share one file"):
        workspace.append("bank", [one, two])
    assert list(tmp_path.iterdir()) == []
    workspace.append("bank", [one])
    with pytest.raises(BadName, match="would share one file"):
        workspace.append("bank", [two])


def test_the_longest_names_can_be_written_locked_torn_and_repaired(tmp_path):
    row = review(judge="j" * LONGEST_NAME, prompt="p" * LONGEST_NAME)
    bank = "b" * LONGEST_NAME
    workspace = Workspace(tmp_path)
    workspace.append(bank, [Review.model_validate(row)])
    (path,) = (tmp_path / "reviews" / bank).glob("*.jsonl")
    path.write_bytes(b"garbage\n" + path.read_bytes() + b'{"question": "q2')
    workspace.repair(bank)
    assert [each.question for each in workspace.reviews(bank)] == ["q1"]


OUTSIDE = ["..", "../x", "/a", "~/a", "C:\\a", "a/../../b", "a//b", "-a", ".a", "a/.b"]
ODD = ["", " a", "a\n", "a\0b", "CON", "nul.txt", "é" * LONGEST_NAME]

# A small alphabet makes names meet that differ only in how they would be written.
NAMES = st.one_of(
    st.text(st.characters(), min_size=1),
    st.text("a/_%2F5C.\\:-\x01", min_size=1, max_size=6),
    st.sampled_from([*OUTSIDE, *ODD]),
)


def stem_or_none(name):
    try:
        return file_stem(name)
    except BadName:
        return None


@settings(max_examples=500, deadline=None)
@given(NAMES, NAMES)
def test_two_names_share_a_stem_only_where_a_slash_became_two_underscores(one, two):
    stem = stem_or_none(one)
    for other in (two, stem):  # a name may look like what another one is written as
        if stem and other and one.replace("/", "__") != other.replace("/", "__"):
            assert stem_or_none(other) != stem


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_a_stem_is_a_file_in_its_folder_and_nowhere_else(name):
    stem = stem_or_none(name)
    if stem is None:
        return
    assert not set(stem) & set('/\\\0\n\r:*?"<>|')
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside, "answers")
        folder.mkdir()
        (folder / f"{stem}.jsonl").touch()
        (folder / stem).mkdir()
        assert sorted(os.listdir(folder)) == sorted([f"{stem}.jsonl", stem])
        assert os.listdir(outside) == ["answers"]


@pytest.mark.parametrize("name", [*OUTSIDE, *ODD])
def test_a_name_that_no_file_may_have_is_refused(name):
    with pytest.raises(BadName, match="cannot be a name: it "):
        file_stem(name)


def test_what_stands_there_is_known_though_its_keys_were_not_worked_out(tmp_path, monkeypatch):
    from evalkit import ledger

    path = tmp_path / "j.p.jsonl"
    rows = [
        Review.model_validate(review(id_, ("m", "base")) | {"asked": asked, "sample": n})
        for id_, asked, n in (("q1", "a", 0), ("q1", "a", 1), ("q2", "b", 0), ("q2", "a", 0))
    ]
    with Ledger(path, Review, print).writing() as writer:
        assert [writer.add(row) for row in rows[:2]] == [True, True]
    worked_out = []
    digest_of = ledger._digest_of
    monkeypatch.setattr(ledger, "_digest_of", lambda key: worked_out.append(key) or digest_of(key))
    with Ledger(path, Review, print).writing() as writer:
        assert writer.add(rows[2])
        assert set(worked_out) == {rows[2].key}
        assert not writer.add(rows[1])
        assert set(worked_out) == {row.key for row in rows[:3]}
        assert writer.add(rows[3])
        assert not writer.add(rows[2])
    assert [row.key for row in Ledger(path, Review, print).read()] == [row.key for row in rows]
