"""The index of a large ledger: never believed where the ledger is another one."""

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from conftest import review
from test_rows import same

from evalkit import index, jsonl, ledger, skim
from evalkit.errors import BadFile
from evalkit.ledger import Ledger
from evalkit.records import Answer, Review, short_hash

BLOCK = 1000  # bytes: a segment is of two such, six rows or so


def rows(first, last):
    return [
        Review.model_validate(
            review(f"q{n % 7}", ("m", "base"), (n % 9, 5)) | {"asked": short_hash(n)}
        )
        for n in range(first, last)
    ]


def lines(first, last):
    return "".join(row.line() + "\n" for row in rows(first, last))


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", BLOCK)
    monkeypatch.setattr(index, "BLOCKS", 2)
    path = tmp_path / "j.p.jsonl"
    path.write_text(lines(0, 50))
    return path


def strictly(path):
    return [row for _, row in jsonl.records(path, Review).rows]


def skimmed(path, monkeypatch):
    """What is skimmed of a ledger, and how many bytes of it were parsed for that."""
    parsed = []
    read = skim.read

    def counting(model, blocks):
        blocks = list(blocks)
        parsed.extend(map(len, blocks))
        return read(model, blocks)

    with monkeypatch.context() as patched:
        patched.setattr(skim, "read", counting)
        found = index.skimmed(path, Review)
    assert same(found, strictly(path))
    return found, sum(parsed)


def test_what_was_read_once_is_not_parsed_again(path, monkeypatch):
    size = path.stat().st_size
    assert skimmed(path, monkeypatch)[1] == size
    assert index.path_of(path).name == ".j.p.jsonl.index"
    made = index.path_of(path).read_bytes()
    rest = skimmed(path, monkeypatch)[1]
    assert 0 < rest < 2 * BLOCK  # less than a segment
    assert index.path_of(path).read_bytes() == made
    with path.open("a") as stream:
        stream.write(lines(50, 90))
    more = path.stat().st_size - size
    assert skimmed(path, monkeypatch)[1] == rest + more
    grown = index.path_of(path).read_bytes()
    assert grown.startswith(made)
    assert len(grown) > len(made)
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK
    with path.open("a") as stream:
        stream.write(lines(0, 30))
    assert len(index.skimmed(path, Review)) == 90  # what stood there already adds nothing
    assert len(index.skimmed(path, Review)) == 90


def swapped(text):
    one, other, *rest = text.split("\n")
    return "\n".join([other, one, *rest])


EDITS = {
    "the first score": lambda text: text.replace("[3.0, 5.0]", "[3.0, 6.0]", 1),
    "a score in the middle": lambda text: (
        lines(0, 25) + text[len(lines(0, 25)) :].replace("5", "6")
    ),
    "a line is gone": lambda text: text.split("\n", 1)[1],
    "a line more in the middle": lambda text: text.replace("\n", "\n" + lines(70, 71), 1),
    "two lines changed places": swapped,
    "cut": lambda text: lines(0, 20),
    "nothing": lambda text: "",
    "another ledger": lambda text: lines(100, 190),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_ledger_that_was_edited_is_read_anew(path, monkeypatch, edit):
    skimmed(path, monkeypatch)
    stamp = path.stat()
    new = edit(path.read_text())
    assert new != path.read_text()
    path.write_text(new)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # an edit that hides itself
    skimmed(path, monkeypatch)
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK


def test_what_stands_before_an_edit_is_not_read_again(path, monkeypatch):
    skimmed(path, monkeypatch)
    path.write_text(lines(0, 40) + lines(200, 210))
    parsed = skimmed(path, monkeypatch)[1]
    assert len(lines(200, 210)) <= parsed < len(lines(200, 210)) + 2 * BLOCK


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_index_is_believed_up_to_there_and_mended(path, monkeypatch, seed):
    skimmed(path, monkeypatch)
    file = index.path_of(path)
    whole = file.read_bytes()
    chance = random.Random(seed)
    for _ in range(8):
        place = chance.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ (1 << chance.randrange(8))])
        file.write_bytes(flipped + chance.choice([b"", whole[place + 1 :]]))
        skimmed(path, monkeypatch)
        assert skimmed(path, monkeypatch)[1] < 2 * BLOCK


def test_an_index_of_another_evalkit_is_none(path, monkeypatch):
    skimmed(path, monkeypatch)
    index._format.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(index, "FORMAT", 99)
        assert skimmed(path, monkeypatch)[1] == path.stat().st_size
        assert skimmed(path, monkeypatch)[1] < 2 * BLOCK
    index._format.cache_clear()
    assert skimmed(path, monkeypatch)[1] == path.stat().st_size


def test_codes_that_lead_nowhere_are_no_index(path, monkeypatch):
    encoded = index._encoded

    def spoilt(found):
        object.__setattr__(found.columns["judge"], "values", [])
        return encoded(found)

    with monkeypatch.context() as patched:
        patched.setattr(index, "_encoded", spoilt)
        patched.setattr(index, "undoubled", lambda found: found)
        index.skimmed(path, Review)
    assert index.path_of(path).stat().st_size > BLOCK
    assert skimmed(path, monkeypatch)[1] == path.stat().st_size


def test_small_ledgers_and_those_of_answers_have_none(tmp_path, monkeypatch):
    path = tmp_path / "j.p.jsonl"
    path.write_text(lines(0, 50))
    assert len(index.skimmed(path, Review)) == 50
    monkeypatch.setattr(jsonl, "BLOCK", BLOCK)
    monkeypatch.setattr(index, "BLOCKS", 1)
    answers = tmp_path / "m.jsonl"
    row = {"question": "q", "model": "m", "turns": ["t"], "asked": "a"}
    answers.write_text(Answer.model_validate(row).line() + "\n")
    assert len(index.skimmed(answers, Answer)) == 1
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_last_line_without_its_end_is_read_and_not_in_the_index(path, monkeypatch, bom):
    path.write_bytes(bom + path.read_bytes().rstrip(b"\n"))
    for _ in range(2):
        assert len(skimmed(path, monkeypatch)[0]) == 50
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK
    path.write_bytes(path.read_bytes() + b"\n" + lines(50, 60).encode())
    assert len(skimmed(path, monkeypatch)[0]) == 60


def test_a_bad_line_behind_it_is_told_and_a_torn_one_moved(path, monkeypatch):
    skimmed(path, monkeypatch)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    told = []
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "read", None)  # a million rows are not read strictly for that
        assert len(Ledger(path, Review, told.append).skim()) == 50
    assert "torn" in told[0]
    assert path.read_bytes() == whole
    assert path.with_name("j.p.jsonl.torn").read_bytes() == whole[:40] + b"\n"
    path.write_bytes(whole + b'{"question": 1}\n')
    with pytest.raises(BadFile, match=f"{path.name}:51"):
        Ledger(path, Review, told.append).skim()


def test_a_line_that_goes_on_behind_its_segment_is_told(path, monkeypatch):
    monkeypatch.setattr(index, "BLOCKS", 1)
    whole = path.read_bytes().rstrip(b"\n")
    path.write_bytes(whole)
    assert len(skimmed(path, monkeypatch)[0]) == 50
    path.write_bytes(whole + b" " + lines(70, 71).encode())
    with pytest.raises(BadFile, match=f"{path.name}:50"):
        Ledger(path, Review, print).skim()


def test_a_segment_of_more_than_there_is_is_none(path, monkeypatch):
    body = b"{}"
    head = index._HEAD.pack(index._format(), 0, 2**50, bytes(32), len(body))
    index.path_of(path).write_bytes(head + index._hash([head, body]) + body)
    assert skimmed(path, monkeypatch)[1] == path.stat().st_size


def test_what_is_of_no_use_does_not_stay_in_it(path, monkeypatch):
    skimmed(path, monkeypatch)
    path.write_text(lines(100, 120).replace('"text": "', '"text": "longer '))
    skimmed(path, monkeypatch)
    segments = index._segments(path, 0)
    assert 0 < sum(each.size for each in segments) == index.path_of(path).stat().st_size


def test_a_disk_that_is_full_costs_nothing_but_the_index(path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(index, "_write", full)
        assert len(skimmed(path, monkeypatch)[0]) == 50
    assert not index.path_of(path).exists()


def test_a_value_that_no_index_can_hold_costs_nothing_but_the_index(path, monkeypatch):
    row = review("q", ("m", "base")) | {"asked": "big", "sample": 2**70}
    path.write_text(lines(0, 50) + json.dumps(row) + "\n" + lines(50, 70))
    found = skimmed(path, monkeypatch)[0]
    assert max(each.sample for each in found) == 2**70
    assert 2 * BLOCK < skimmed(path, monkeypatch)[1] < path.stat().st_size


def test_a_ledger_that_is_exchanged_while_it_is_read_is_read_again(path, monkeypatch):
    skimmed(path, monkeypatch)
    path.write_text(path.read_text() + lines(50, 90))
    read = skim.read

    def exchanging(model, blocks):
        monkeypatch.setattr(skim, "read", read)
        other = path.with_name("other")
        other.write_text(lines(100, 200))
        os.replace(other, path)
        return read(model, blocks)

    monkeypatch.setattr(skim, "read", exchanging)
    assert same(index.skimmed(path, Review), strictly(path))
    assert same(index.skimmed(path, Review), strictly(path))


KILLED = """
import os, signal, sys
from pathlib import Path
from evalkit import index, jsonl
from evalkit.records import Review
jsonl.BLOCK, index.BLOCKS, left = 1000, 2, [3]
write = index._write
def killed(path, place, data):
    left[0] -= 1
    if left[0]:
        return write(path, place, data)
    write(path, place, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
index._write = killed
index.skimmed(Path(sys.argv[1]), Review)
"""


def test_killed_in_the_middle_of_a_segment_the_ones_before_are_good(path, monkeypatch):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    parsed = skimmed(path, monkeypatch)[1]
    assert path.stat().st_size - 4.5 * BLOCK < parsed < path.stat().st_size - 2.5 * BLOCK
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK


def test_who_writes_a_ledger_keeps_its_index(path, monkeypatch):
    monkeypatch.setattr(ledger, "MUCH", 2 * BLOCK)
    with Ledger(path, Review, print).writing() as writer:
        for row in rows(50, 120):
            writer.add(row)
        size = path.stat().st_size
    assert index.path_of(path).exists()
    parsed = skimmed(path, monkeypatch)[1]
    assert parsed < 5 * BLOCK < size
    answers = path.with_name("m.jsonl")
    with Ledger(answers, Answer, print).writing() as writer:
        for n in range(50):
            row = {"question": f"q{n}", "model": "m", "turns": ["t" * 100], "asked": "a"}
            writer.add(Answer.model_validate(row))
    assert not index.path_of(answers).exists()


def test_an_index_is_brought_up_once_in_a_while_and_only_that_of_reviews(path, monkeypatch):
    monkeypatch.setattr(ledger, "MUCH", 2 * BLOCK)
    followed = []
    monkeypatch.setattr(index, "follow", followed.append)
    with Ledger(path, Review, print).writing() as writer:
        for row in rows(50, 120):
            writer.add(row)
    assert 5 <= len(followed) <= len(lines(50, 120)) / (2 * BLOCK)
    with Ledger(path.with_name("m.jsonl"), Answer, print).writing() as writer:
        for n in range(50):
            row = {"question": f"q{n}", "model": "m", "turns": ["t" * 100], "asked": "a"}
            writer.add(Answer.model_validate(row))
    assert set(followed) == {path}


def test_who_writes_a_ledger_is_not_stopped_by_its_index(path, monkeypatch):
    index.path_of(path).mkdir()
    index.follow(path)
    assert len(skimmed(path, monkeypatch)[0]) == 50
    path.write_text("{}\n" * 1000)
    index.follow(path)
    path.unlink()
    index.follow(path)


def test_two_who_write_it_at_once_leave_a_good_one(path, monkeypatch):
    one = index._rest(path, [], 0, None)
    next(one)
    next(one)
    other = index._rest(path, [], 0, None)  # has seen none of them
    next(other)
    next(other)
    next(one)
    next(other)
    skimmed(path, monkeypatch)
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK
    for _ in one:
        skimmed(path, monkeypatch)
    for _ in other:
        skimmed(path, monkeypatch)
    assert skimmed(path, monkeypatch)[1] <= path.stat().st_size
    assert skimmed(path, monkeypatch)[1] < 2 * BLOCK
