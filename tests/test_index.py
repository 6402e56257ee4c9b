"""The index of a large ledger: never believed where the ledger is another one."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import review
from hypothesis import given
from hypothesis import strategies as st
from test_rows import same

from evalkit import index, jsonl, skim
from evalkit.errors import BadFile, BadPath
from evalkit.ledger import Ledger
from evalkit.records import Answer, Review, short_hash


def lines(first, last):
    return "".join(
        Review.model_validate(
            review(f"q{n % 7}", ("m", "base"), (n % 9, 5)) | {"asked": short_hash(n)}
        ).line()
        + "\n"
        for n in range(first, last)
    )


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "LEAST", 1)
    path = tmp_path / "j.p.jsonl"
    path.write_text(lines(0, 50))
    return path


def strictly(path):
    return jsonl.records(path, Review).rows


def skimmed(path, monkeypatch):
    """What is skimmed of a ledger, and how many bytes of it were parsed for that."""
    parsed = []
    read = skim.read

    def counting(model, blocks, *before):
        return read(model, (parsed.append(len(block)) or block for block in blocks), *before)

    with monkeypatch.context() as patched:
        patched.setattr(skim, "read", counting)
        rows = index.skimmed(path, Review)
    assert same(rows, [row for _, row in strictly(path)])
    return rows, sum(parsed)


def test_what_was_read_once_is_not_parsed_again(ledger, monkeypatch):
    size = ledger.stat().st_size
    assert skimmed(ledger, monkeypatch)[1] == size
    assert index.path_of(ledger).name == ".j.p.jsonl.index"
    made = index.path_of(ledger).read_bytes()
    assert skimmed(ledger, monkeypatch)[1] == 0
    with ledger.open("a") as stream:
        stream.write(lines(50, 52))
    more = ledger.stat().st_size - size
    assert skimmed(ledger, monkeypatch)[1] == more
    assert index.path_of(ledger).read_bytes() == made  # for so few it is not made again
    with ledger.open("a") as stream:
        stream.write(lines(52, 60))
    assert skimmed(ledger, monkeypatch)[1] == ledger.stat().st_size - size
    assert skimmed(ledger, monkeypatch)[1] == 0
    with ledger.open("a") as stream:
        stream.write(lines(0, 3))
    rows = index.skimmed(ledger, Review)
    assert len(rows) == 60  # what stood there already adds nothing


@given(st.lists(st.binary(max_size=20)), st.integers(1, 9), st.integers(0, 30))
def test_a_digest_is_the_same_however_its_bytes_come(parts, piece, end):
    whole = b"".join(parts)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(index, "PIECE", piece)
        file = Path(folder, "a")
        file.write_bytes(whole)
        digest = index.hashed(file, min(end, len(whole)))
        digest.update(whole[end:])
        slowly = index.Digest()
        for part in parts:
            slowly.update(part)
        assert (digest.value(), digest.end) == (slowly.value(), slowly.end)
        assert digest.end == len(whole)
        if whole:
            file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
            assert index.hashed(file, len(whole)).value() != digest.value()
        assert index.hashed(file, len(whole) + 1).value() != digest.value() or not whole


EDITS = {
    "a score": lambda text: text.replace("[3.0, 5.0]", "[3.0, 6.0]", 1),
    "a line is gone": lambda text: text.split("\n", 1)[1],
    "a line more in the middle": lambda text: text.replace("\n", "\n" + lines(70, 71), 1),
    "two lines changed places": lambda text: "\n".join(
        [*text.split("\n")[1::-1], *text.split("\n")[2:]]
    ),
    "another ledger of the same size": lambda text: text.replace("[3.0, 5.0]", "[2.0, 5.0]"),
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_ledger_that_was_edited_is_read_anew(ledger, monkeypatch, edit):
    skimmed(ledger, monkeypatch)
    stamp = ledger.stat()
    new = edit(ledger.read_text())
    assert new != ledger.read_text()
    ledger.write_text(new)
    os.utime(ledger, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # an edit that hides itself
    assert skimmed(ledger, monkeypatch)[1] == len(new.encode())


@pytest.mark.parametrize("cut", [0, 10, 40, 1000, -1])
def test_a_damaged_index_is_none(ledger, monkeypatch, cut):
    skimmed(ledger, monkeypatch)
    path = index.path_of(ledger)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    assert skimmed(ledger, monkeypatch)[1] == ledger.stat().st_size
    chance = random.Random(cut)
    for _ in range(20):
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert index.read(ledger) is None
    assert skimmed(ledger, monkeypatch)[1] == ledger.stat().st_size
    assert path.read_bytes() == whole


def test_an_index_of_another_evalkit_is_none(ledger, monkeypatch):
    skimmed(ledger, monkeypatch)
    monkeypatch.setattr(index, "FORMAT", 99)
    assert index.read(ledger) is None
    assert skimmed(ledger, monkeypatch)[1] == ledger.stat().st_size
    assert index.read(ledger) is not None


def test_codes_that_lead_nowhere_are_no_index(ledger):
    rows = index.skimmed(ledger, Review)
    made = index.Index(rows, index.hashed(ledger, ledger.stat().st_size))
    column = rows.columns["judge"]
    object.__setattr__(column, "values", [])
    index.path_of(ledger).write_bytes(index.encode(made))
    assert index.read(ledger) is None


def test_small_ledgers_and_those_of_answers_have_none(tmp_path, monkeypatch):
    path = tmp_path / "j.p.jsonl"
    path.write_text(lines(0, 50))
    assert len(index.skimmed(path, Review)) == 50
    monkeypatch.setattr(index, "LEAST", 1)
    answers = tmp_path / "m.jsonl"
    row = {"question": "q", "model": "m", "turns": ["t"], "asked": "a"}
    answers.write_text(Answer.model_validate(row).line() + "\n")
    assert len(index.skimmed(answers, Answer)) == 1
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_last_line_without_its_end_is_read_and_not_in_the_index(ledger, monkeypatch, bom):
    ledger.write_bytes(bom + ledger.read_bytes().rstrip(b"\n"))
    assert len(skimmed(ledger, monkeypatch)[0]) == 50
    assert not index.path_of(ledger).exists()
    ledger.write_bytes(ledger.read_bytes() + b"\n")
    assert skimmed(ledger, monkeypatch)[1] == ledger.stat().st_size - len(bom)
    assert skimmed(ledger, monkeypatch)[1] == 0


def test_a_bad_line_behind_it_is_told_and_a_torn_one_moved(ledger, monkeypatch):
    skimmed(ledger, monkeypatch)
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + whole[:40])
    told = []
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "read", None)  # a million rows are not read strictly for that
        assert len(Ledger(ledger, Review, told.append).skim()) == 50
    assert "torn" in told[0]
    assert ledger.read_bytes() == whole
    assert ledger.with_name("j.p.jsonl.torn").read_bytes() == whole[:40] + b"\n"
    ledger.write_bytes(whole + b'{"question": 1}\n')
    with pytest.raises(BadFile, match=f"{ledger.name}:51"):
        Ledger(ledger, Review, told.append).skim()


def test_a_folder_that_takes_no_file_and_a_full_disk_cost_nothing(ledger, monkeypatch):
    def full(*_):
        raise BadPath("full")

    monkeypatch.setattr(index, "write_whole", full)
    assert len(skimmed(ledger, monkeypatch)[0]) == 50
    assert not index.path_of(ledger).exists()


def test_a_ledger_that_is_exchanged_while_it_is_read_is_read_again(ledger, monkeypatch):
    skimmed(ledger, monkeypatch)
    ledger.write_text(ledger.read_text() + lines(50, 90))
    read = skim.read

    def exchanging(model, blocks, *before):
        monkeypatch.setattr(skim, "read", read)
        other = ledger.with_name("other")
        other.write_text(lines(100, 200))
        os.replace(other, ledger)
        return read(model, blocks, *before)

    monkeypatch.setattr(skim, "read", exchanging)
    assert same(index.skimmed(ledger, Review), [row for _, row in strictly(ledger)])


def test_killed_while_it_is_written_it_is_not_there(ledger):
    code = (
        "import os, signal, sys; from pathlib import Path; from evalkit import index\n"
        "from evalkit.records import Review\n"
        "index.LEAST = 1\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "index.skimmed(Path(sys.argv[1]), Review)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(ledger)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not index.path_of(ledger).exists()
    assert len(index.skimmed(ledger, Review)) == 50
    assert index.read(ledger) is not None
