"""evalkit questions contamination: what stands in training data is found, what does not is not."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import re
import subprocess
import sys
import tracemalloc
from contextlib import suppress

import pytest
from conftest import question, spawn, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.questions import contamination
from evalkit.questions.contamination import Search
from evalkit.questions.window import Window
from evalkit.records import Question

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EN = (
    "A ferry crosses the strait every forty minutes, but on market days the captain waits until "
    "the last cart is aboard. How would you write a timetable that people can still trust?"
)
ZH = (
    "摆渡船每四十分钟开一班，可是赶集的日子，船老大总要等最后一辆板车上了船才走。"
    "时刻表该怎么写，才能让人信得过？"
)
REFERENCE = (
    "The table should give the latest departure, not the planned one, say on which days it "
    "differs, and name the place where a delay of more than ten minutes is posted."
)
CONTROL = (
    "The harbour master keeps a book of every ship. A ferry is not a ship in this book, he says, "
    "and the last cart is none of his business. How would you know? People can trust the tide. "
    "渡口旁边有一家面馆，老板说赶集的日子船总会来，人也信得过。\n"
)
BANK = [
    question("ferry", turns=[EN, "Now shorten it to a sign of twelve words for the quay."]),
    question("ref", turns=["What is wrong with most timetables?"], reference=[REFERENCE]),
    question("渡船", turns=[ZH], language="zh"),
]


@pytest.fixture
def run(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)

    def command(content, *args, name="data.txt"):
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        ran = evalkit("questions", "contamination", "--bank", "mine", name, "--json", *args)
        said = json.loads(ran.out)
        found = {row["question"]: row for row in said["questions"]}
        return ran, {key: row["verdict"] for key, row in found.items()}, found

    return command


@pytest.fixture
def look(evalkit, tmp_path):
    """What is found of one passage in one text."""

    def search(passage, text):
        write_lines(tmp_path / "questions" / "mine.jsonl", [question(turns=[passage])])
        (tmp_path / "a").write_text(text)
        ran = evalkit("questions", "contamination", "--bank", "mine", "a", "--json")
        (found,) = json.loads(ran.out)["questions"]
        return found

    return search


CLEAN = {"ferry": "clean", "ref": "clean", "渡船": "clean"}


def test_the_clean_control_is_clean(run):
    ran, verdicts, found = run(CONTROL * 2000)
    assert (ran.code, verdicts) == (0, CLEAN)
    assert all(row["places"] == [] and row["count"] == 0 for row in found.values())


def test_the_control_shares_words_with_the_bank():  # or it would prove nothing
    for row in BANK:
        text = row["turns"][0]
        assert len(set(re.findall(r"\w", text)) & set(CONTROL)) > 10


@pytest.mark.parametrize(
    ("planted", "hit"),
    [
        (EN, "ferry"),
        (EN.upper(), "ferry"),
        (re.sub(r"[,.?]", " -- ", EN), "ferry"),
        (EN.replace(" ", "\n    "), "ferry"),
        (EN.replace("ferry", "fér­ry").replace("A", "Ａ"), "ferry"),
        (re.sub(r"(\w+ \w+) (\w+)", r"<p>\1 <b class='x'>\2</b>&nbsp;", EN), "ferry"),
        ("See C:\\new\\table. " + EN, "ferry"),
        ("# dump\n" + json.dumps({"value": ZH}), "渡船"),
        ("id\ttext\n1\t" + json.dumps(ZH), "渡船"),
        (json.dumps(ZH), "渡船"),
        (json.dumps({"log": json.dumps({"value": ZH})}), "渡船"),
        (json.dumps({"log": json.dumps({"log": json.dumps(EN.replace(" ", "\n"))})}), "ferry"),
        (re.sub(r" (\w+) (\w+)", r" \1 <b>\2</b>", EN).replace("</", "<\\/"), "ferry"),
        (re.sub(r" (\w+) (\w+)", r" \1 <i>\2</i>", EN).replace("<", "\\u003c"), "ferry"),
        (re.sub(r" (\w+) (\w+)", r" \1 &lt;em&gt;\2&lt;/em&gt;", EN), "ferry"),
        (EN.replace(" ", "<br>"), "ferry"),
        (EN.replace(" ", "&nbsp;"), "ferry"),
        (EN.replace("e", "<b>e</b>"), "ferry"),
        ("".join(f"&#{ord(sign)};" for sign in ZH), "渡船"),
        ("".join(f"&#x{ord(sign):x};" for sign in ZH), "渡船"),
        ("[INST] " + EN.replace(" ", "\\n"), "ferry"),
        (json.dumps({"log": json.dumps({"value": EN.replace(" ", "\t")})}), "ferry"),
        (EN.replace("fe", "ﬀe").replace("ff", "ﬀ").replace("ﬀe", "fe"), "ferry"),
        (json.dumps({"from": "human", "value": f"Hi.\n{EN}\tThanks."}), "ferry"),
        (json.dumps([EN.replace("?", '?"')]).replace(" f", " \\u0066"), "ferry"),
        (REFERENCE, "ref"),
        (ZH, "渡船"),
        (ZH.replace("，", "").replace("。", " / "), "渡船"),
        (ZH.replace("，", ",").replace("？", "?"), "渡船"),
        (json.dumps({"value": ZH}), "渡船"),
        (json.dumps({"value": ZH}, ensure_ascii=False), "渡船"),
        (f"“{ZH.replace('船', '船 ')}”", "渡船"),
    ],
)
@pytest.mark.parametrize("among", ["as text", "as JSON lines", "alone"])
def test_what_is_planted_is_found(run, planted, hit, among):
    text = {"as text": CONTROL, "as JSON lines": json.dumps(CONTROL) + "\n", "alone": ""}[among]
    ran, verdicts, found = run(f"{text * 40}{planted}\n{text * 40}")
    assert verdicts == CLEAN | {hit: "contaminated"}
    assert ran.code == 1
    (place,) = found[hit]["places"]
    assert place["overlap"] > 0.9
    assert place["part"] == ("reference 1" if hit == "ref" else "turn 1")
    assert place["unit"] == ("characters" if hit == "渡船" else "words")
    first = 1 + 40 * text.count("\n")
    assert first <= int(place["where"].split(":")[1]) <= first + 2, place["where"]


def test_the_place_is_file_line_and_column(run):
    text = f"{CONTROL}{CONTROL}  Then: {EN}"
    _, _, found = run(text)
    assert found["ferry"]["places"][0]["where"] == "data.txt:3:9"
    assert text.splitlines()[2][8:].startswith("A ferry crosses")


def sharegpt(rows, **more):
    return json.dumps(
        [
            {
                "id": str(k),
                "conversations": [
                    {"from": "human", "value": row},
                    {"from": "gpt", "value": "Yes."},
                ],
            }
            for k, row in enumerate(rows)
        ],
        **more,
    )


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_sharegpt_file_of_one_array(run, indent, ascii_only):
    rows = [CONTROL] * 400 + [f"Please help.\n\n{EN}"] + [CONTROL] * 400 + [ZH]
    text = sharegpt(rows, indent=indent, ensure_ascii=ascii_only)
    _, verdicts, found = run(text, name="share.json")
    assert verdicts == {"ferry": "contaminated", "ref": "clean", "渡船": "contaminated"}
    for key, start in (("ferry", "A ferry"), ("渡船", "摆" if not ascii_only else "\\u6446")):
        (place,) = found[key]["places"]
        _, line, column = place["where"].split(":")
        assert text.split("\n")[int(line) - 1][int(column) - 1 :].startswith(start)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.jsonl.gz", gzip.compress),
        ("x.jsonl.zst", zstd.compress),
        ("two.gz", lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:])),
        ("two.zst", lambda data: zstd.compress(data[:5000]) + zstd.compress(data[5000:])),
        ("x.bz2", bz2.compress),
        ("x.xz", lzma.compress),
        ("gzip without its name", gzip.compress),
    ],
)
def test_packed_files(run, name, pack):
    rows = [{"text": CONTROL}] * 300 + [{"text": EN}]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    ran, verdicts, found = run(pack(data), name=name)
    assert verdicts == CLEAN | {"ferry": "contaminated"}
    assert found["ferry"]["places"][0]["where"] == f"{name}:301:11"
    assert json.loads(ran.out)["bytes"] == len(data)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(CONTROL.encode() * 99)[:200], "x: cannot be unpacked to its end: "),
        (
            zstd.compress(random.Random(1).randbytes(9000).hex().encode())[:800],
            "x: cannot be unpacked to its end",
        ),
        (bz2.compress(CONTROL.encode() * 99)[:100], "x: cannot be unpacked to its end: "),
        (b"\x1f\x8b\x08rubbish that is no gzip at all", "x: cannot be unpacked to its end: "),
        (b"BZh9rubbish that is no bzip2 at all", "x: cannot be unpacked to its end: "),
        (b"\xfd7zXZ\0rubbish that is no xz at all", "x: cannot be unpacked to its end: "),
        (b"\x28\xb5\x2f\xfdrubbish that is no zstd", "x: cannot be unpacked to its end: "),
        (b"PAR1\x15\x04", "x: is Parquet, expected text, JSON or JSON lines"),
        (b"PK\x03\x04\x14", "x: is a ZIP archive, expected text"),
        (b"abc\0def", "x: is binary, expected text"),
        (gzip.compress(b"abc\0def"), "x: is binary, expected text"),
        ("text".encode("utf-16"), "x:1: is UTF-16, expected UTF-8"),
        (gzip.compress("text".encode("utf-16")), "x:1: is UTF-16, expected UTF-8"),
        (zstd.compress(b"abc")[:3], "x: is the beginning of a packed file, expected text"),
    ],
    ids=[
        *(
            "gz",
            "zst",
            "bz2",
            "no gz",
            "no bz2",
            "no xz",
            "no zst",
            "parquet",
            "zip",
            "binary",
            "binary in gz",
        ),
        *("UTF-16", "UTF-16 in gz", "a stump"),
    ],
)
def test_what_is_no_text_is_never_called_clean(evalkit, tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    ran = evalkit("questions", "contamination", "--bank", "sample", "x")
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.lines
    assert line.startswith(told)


def test_a_file_that_is_gone_or_a_folder(evalkit, tmp_path):
    (tmp_path / "ok.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    for name, told in (("gone", "no such file"), ("folder", "is a folder")):
        ran = evalkit("questions", "contamination", "ok.txt", name)
        assert ran.code == 2 and told in ran.err


def test_a_stock_phrase_is_suspicious_and_no_more(run):
    ran, verdicts, found = run(f"{CONTROL}He said: {' '.join(EN.split()[:9])} and went.\n")
    assert verdicts == CLEAN | {"ferry": "suspicious"}
    assert ran.code == 0
    (place,) = found["ferry"]["places"]
    assert place["longest"] == 9 and place["overlap"] == pytest.approx(9 / len(EN.split()))


@pytest.mark.parametrize(
    ("words", "verdict"),
    [(7, "clean"), (8, "suspicious"), (12, "suspicious"), (30, "contaminated")],
)
def test_how_much_makes_which_verdict(run, words, verdict):
    _, verdicts, _ = run(f"{CONTROL}{' '.join(EN.split()[:words])}")
    assert verdicts["ferry"] == verdict


@pytest.mark.parametrize(
    ("passage", "found", "verdict"),
    [
        (EN.split()[:20], 13, "contaminated"),
        (EN.split()[:20], 12, "suspicious"),
        (EN.split()[:28], 13, "suspicious"),  # less than half of it
        (EN.split()[:10], 10, "contaminated"),  # all of a passage that is shorter
        (EN.split()[:10], 9, "suspicious"),
        (list(ZH[:30]), 23, "contaminated"),  # two of them are no letters
        (list(ZH[:30]), 21, "suspicious"),
        (list(ZH[:17]), 17, "contaminated"),
        (list(ZH[:17]), 15, "suspicious"),
    ],
)
def test_thirteen_words_and_half_of_it(look, passage, found, verdict):
    join = "".join if len(passage[0]) == 1 and passage[0] != "A" else " ".join
    text = f"{CONTROL} {join(passage[:found])} zebra 斑马 {CONTROL}"
    assert look(join(passage), text)["verdict"] == verdict


def test_pieces_in_another_order_are_not_words_in_a_row(run):
    words = EN.split()
    pieces = [" ".join(words[k : k + 9]) for k in range(0, len(words), 9)]
    _, verdicts, found = run(" and then, quite elsewhere, ".join(pieces[::-1]))
    (place,) = found["ferry"]["places"]
    assert (verdicts["ferry"], place["longest"]) == ("suspicious", 9)
    assert place["overlap"] > 0.8
    every_twelve = " ".join(" ".join([*words[k : k + 12], "XX"]) for k in range(0, len(words), 12))
    _, verdicts, found = run(every_twelve)
    assert (verdicts["ferry"], found["ferry"]["places"][0]["longest"]) == ("suspicious", 12)
    sliding = [" ".join(words[k : k + 8]) for k in range(len(words) - 7)]
    _, verdicts, found = run(" so much for that, ".join(sliding))
    assert found["ferry"]["places"][0]["longest"] == 8


def test_a_copy_that_must_be_read_in_two_ways_is_one_row_of_words(run):
    words = EN.split()
    text = f"# dump\n{' '.join(words[:16])}\\n{' '.join(words[16:])}"
    _, _, found = run(text)
    (place,) = found["ferry"]["places"]
    assert (place["longest"], place["overlap"], found["ferry"]["count"]) == (len(words), 1.0, 1)


@pytest.mark.parametrize("packed", [str, json.dumps])
def test_a_passage_that_has_backslashes_itself(look, packed):
    asked = (
        r"Move C:\new\table to D:\bin\upload, then sum \nu and \theta over \real rows, and say why."
    )
    (place,) = look(asked, packed(f"{CONTROL}{asked}\n{CONTROL}"))["places"]
    assert place["overlap"] == 1.0


def test_one_bad_byte_in_a_small_file_is_no_reason_to_stop(run):
    assert run(b"caf\xe9 " + EN.encode())[1] == CLEAN | {"ferry": "contaminated"}


@pytest.mark.parametrize("begins", ["[INST] ", "{\\tt x} ", '"a, b\n', "[a](b) ", "Text: "])
def test_a_text_that_begins_like_json_may_be_none(look, begins):
    asked = r"Sum \nu over \real rows of \theta, then of \beta and \tau, and say why \frac is not."
    (place,) = look(asked, f"{begins}{asked}")["places"]
    assert place["overlap"] == 1.0


def test_thirteen_in_a_row_where_a_run_stands_twice_in_the_passage(look):
    run_ = "one two three four five six seven eight"
    words = f"{run_} apart {run_} nine ten eleven twelve thirteen".split()
    found = look(" ".join(words), " ".join(words[-13:]))
    assert (found["verdict"], found["places"][0]["longest"]) == ("contaminated", 13)


def test_chinese_escaped_again_and_again_is_one_place(run):
    text = ZH
    for _ in range(3):
        text = json.dumps(text)
    _, _, found = run(text)
    assert (found["渡船"]["count"], found["渡船"]["places"][0]["overlap"]) == (1, 1.0)


def test_a_byte_order_mark_is_no_column(run):
    _, _, found = run("\ufeff" + EN)
    assert found["ferry"]["places"][0]["where"] == "data.txt:1:1"


def test_nothing_is_never_called_clean(evalkit, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    ran = evalkit("questions", "contamination", "empty")
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines == ["nothing to look through: empty is empty"]


def test_copies_side_by_side_are_counted(run):
    _, _, found = run(f"{EN} {EN}\n{EN}{CONTROL}{EN}")
    assert found["ferry"]["count"] == 4
    places = found["ferry"]["places"]
    assert [place["overlap"] for place in places] == [1.0] * 4
    assert [place["where"].split(":", 1)[1] for place in places][:3] == [
        "1:1",
        f"1:{len(EN) + 2}",
        "2:1",
    ]


def test_a_passage_that_repeats_itself_is_not_all_of_it(look):
    (place,) = look("ha " * 40, "ha " * 8)["places"]
    assert (place["longest"], place["overlap"]) == (8, 8 / 40)
    (place,) = look("ha " * 40, "ha " * 40)["places"]
    assert (place["longest"], place["overlap"]) == (40, 1.0)


@pytest.mark.parametrize("copies", [1, 50])
@pytest.mark.parametrize("encoding", ["gb18030", "big5hkscs"])
def test_another_encoding_is_never_called_clean(evalkit, tmp_path, encoding, copies):
    (tmp_path / "a").write_text(CONTROL * 10)
    (tmp_path / "x").write_bytes((ZH * copies).encode(encoding, "ignore"))
    ran = evalkit("questions", "contamination", "a", "x", "--bank", "sample")
    assert ran.code == 2
    assert ran.out.startswith("sample in 1 of 2 files")
    (said,) = ran.lines
    assert said.startswith("x:1:1: is not UTF-8 here") and "Try: iconv -f gb18030" in said


@pytest.mark.parametrize("encoding", ["gb18030", "big5hkscs", "shift_jis", "euc_jp"])
def test_one_question_in_another_encoding_among_much_else(evalkit, tmp_path, encoding):
    text = "渡し船は四十分ごとに出ますが、市の日には最後の車を待ちます。" if "j" in encoding else ZH
    data = (CONTROL * 200 + "x ").encode() + text.encode(encoding, "ignore")
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)
    (tmp_path / "a").write_text(EN)
    (tmp_path / "x").write_bytes(data + CONTROL.encode() * 200 + EN.encode())
    ran = evalkit("questions", "contamination", "--bank", "mine", "a", "x")
    assert ran.code == 2 and "1 contaminated" in ran.out
    assert ran.lines[0].startswith("x:201:3: is not UTF-8 here: nothing can be said of that.")
    (tmp_path / "x").write_bytes(data + b" and " * 20 + data)
    ran = evalkit("questions", "contamination", "--bank", "mine", "a", "x")
    assert ran.lines[0].startswith("x:201:3: is not UTF-8 here and in 1 more place: nothing")


def test_a_few_bad_bytes_in_a_large_file_are_no_reason_to_stop(run):
    data = (CONTROL * 50).encode() + b"caf\xe9\n" + "\ufffd".encode() * 500 + EN.encode()
    _, verdicts, _ = run(data)
    assert verdicts == CLEAN | {"ferry": "contaminated"}


def test_what_was_found_is_told_though_a_later_file_is_broken(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)
    (tmp_path / "a").write_text(EN)
    noise = random.Random(1).randbytes(9000).hex().encode()
    (tmp_path / "b.gz").write_bytes(gzip.compress(noise)[:5000])
    (tmp_path / "c").write_text(ZH)
    args = ["questions", "contamination", "--bank", "mine", "a", "b.gz", "c"]
    ran = evalkit(*args)
    assert ran.code == 2
    assert ran.out.startswith("mine in 2 of 3 files") and "1 clean, 0 suspicious, 2 cont" in ran.out
    assert ran.lines[0].startswith("b.gz: cannot be unpacked to its end")
    said = json.loads(evalkit(*args, "--json").out)
    assert [fault["where"] for fault in said["unread"]] == ["b.gz"]
    assert evalkit(*args[:4], "b.gz").out == ""


def test_a_file_that_is_no_text_is_told_before_anything_is_read(evalkit, tmp_path):
    (tmp_path / "a").write_text(EN)
    (tmp_path / "p").write_bytes(b"PAR1 and so on")
    ran = evalkit("questions", "contamination", "a", "p")
    assert (ran.code, ran.out, len(ran.lines)) == (2, "", 1)


def test_stdin_and_pipes(tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)
    (tmp_path / "a.gz").write_bytes(gzip.compress((EN + CONTROL * 99).encode()))
    command = "questions contamination --bank mine"
    for line in (
        f"cat a.gz | {sys.executable} -m evalkit {command} -",
        f"zcat a.gz | {sys.executable} -m evalkit {command} -",
        f"{sys.executable} -m evalkit {command} <(zcat a.gz)",
    ):
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (1, ""), line
        assert "2 clean, 0 suspicious, 1 contaminated" in done.stdout


def test_zstd_with_a_long_window(run):
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    packed = packer.compress(EN.encode()) + packer.flush()  # of unknown length: the window counts
    assert run(packed)[1]["ferry"] == "contaminated"


def test_half_of_it_without_thirteen_in_a_row_is_suspicious(run):
    cut = [*EN.split()]
    for k in (9, 20, 29):
        cut[k] = "zebra"
    _, verdicts, found = run(" ".join(cut))
    assert verdicts["ferry"] == "suspicious"
    assert found["ferry"]["places"][0]["overlap"] > 0.5
    assert found["ferry"]["places"][0]["longest"] < 13


def test_parts_far_apart_are_two_places(run):
    half = len(EN.split()) // 2
    first, second = " ".join(EN.split()[:half]), " ".join(EN.split()[half:])
    _, verdicts, found = run(f"{first}\n{CONTROL * 100}{second}")
    assert [place["overlap"] < 0.6 for place in found["ferry"]["places"]] == [True, True]
    _, verdicts, found = run(f"{first} well\n{second}")
    assert verdicts["ferry"] == "contaminated" and found["ferry"]["count"] == 1


def test_every_place_is_counted_and_the_best_are_kept(run, evalkit):
    _, _, found = run((f"{CONTROL * 20}{' '.join(EN.split()[:14])}\n" * 150) + CONTROL * 20 + EN)
    assert found["ferry"]["count"] == 151
    assert len(found["ferry"]["places"]) == 100
    assert found["ferry"]["places"][0]["overlap"] == 1.0
    ran = evalkit("questions", "contamination", "--bank", "mine", "data.txt")
    lines = ran.out.splitlines()
    assert lines[0].startswith("mine in 1 file (0.8 MB): 2 clean, 0 suspicious, 1 contaminated")
    assert lines[1].split() == ["question", "part", "overlap", "in", "a", "row", "place"]
    assert lines[2].split()[:4] == ["contaminated", "ferry", "turn", "1"]
    assert lines[2].endswith(f"data.txt:{21 * 150 + 21}:1")
    assert len(lines) == 5 and lines[4].endswith(" and 148 more")


def test_several_files_are_one_search(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)
    (tmp_path / "a").write_text(EN)
    (tmp_path / "b").write_text(ZH)
    ran = evalkit("questions", "contamination", "--bank", "mine", "a", "b", "a")
    assert ran.out.splitlines()[0].startswith("mine in 2 files (0.3 kB): 1 clean, 0 suspicious, 2")
    assert [line.split()[-1] for line in ran.out.splitlines()[2:]] == ["a:1:1", "b:1:1"]


def test_a_question_too_short_to_look_for_is_not_called_clean(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question("s", turns=["Why is it so?"])])
    (tmp_path / "a").write_text("Why is it so?")
    ran = evalkit("questions", "contamination", "--bank", "mine", "a")
    assert ran.out.splitlines() == [
        "mine in 1 file (0.0 kB): 0 clean, 0 suspicious, 0 contaminated, 1 too short to tell"
    ]


NEEDLES = [Question.model_validate(row) for row in BANK]


def searched(data, size):
    """What a search finds that reads `size` bytes at a time."""
    search = Search(NEEDLES)
    was, contamination._READ = contamination._READ, size
    try:
        assert sum(search.read("f", io.BytesIO(data))) == len(data)
    finally:
        contamination._READ = was
    return [result.as_json() for result in search.results()]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2), st.integers(90, 3000), st.integers(0, 2**32), st.booleans())
def test_where_a_file_is_divided_makes_no_difference(copies, size, seed, escaped):
    dice = random.Random(seed)
    parts = [EN, ZH, REFERENCE, EN[:90], ZH[:20], "\\\\", "\\n", '"', "é"]
    text = "".join(
        dice.choice([CONTROL[: dice.randrange(200)], " "]) + dice.choice(parts)
        for _ in range(20 + 30 * copies)
    )
    data = (json.dumps([text]) if escaped else text).encode()
    assert searched(data, size) == searched(data, len(data) + 1)


class Endless(io.RawIOBase):
    """So many bytes of one JSON array on one line, made as they are read."""

    def __init__(self, size):
        self.left, self.unit = size, json.dumps(CONTROL * 100).encode()

    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return (self.unit * (size // len(self.unit) + 1))[:size]


@pytest.mark.parametrize("more", range(12))
@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("ferry, ", " "),
        ("ferry,\n", "\n"),
        ("\\\\n字", "字n"),
        ("\\" * 5 + "字字", "字"),
        ("字", "字"),
    ],
)
def test_a_window_ends_between_words_and_not_among_backslashes(text, before, more):
    window = Window("f")
    window.take((text * 9000)[: 8000 + more].encode())
    end = window.safe_end()
    assert 0 < end <= 8000 + more - 4096
    assert window.text[end - 1] in before
    assert end > 8000 + more - 4096 - 10


def test_a_window_waits_until_it_can_tell():
    window = Window("f")
    window.take(b"x" * 4200)
    assert window.safe_end() == 0
    window.take(b"x" * 4200)
    assert window.safe_end() == 8400 - 4096


@settings(max_examples=25, deadline=None)
@given(st.integers(90, 3000), st.integers(0, 2**32))
def test_nor_does_it_where_no_blank_is_near(size, seed):
    dice = random.Random(seed)
    parts = [ZH, "\\".join(ZH), "\\" * 9, "字" * 40, '"', "\t\n", "é", "\U00020000"]
    text = "".join(dice.choice(parts) for _ in range(60))
    data = json.dumps([text], separators=(",", ":")).encode()
    assert searched(data, size) == searched(data, len(data) + 1)


def test_memory_does_not_grow_with_the_file():
    peaks = []
    for megabytes in (2, 20):
        search = Search(NEEDLES)
        tracemalloc.start()
        assert sum(search.read("f", Endless(megabytes * 1_000_000))) == megabytes * 1_000_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[0] > 1_000_000, peaks


def test_no_bar_where_nobody_watches(tmp_path):
    (tmp_path / "a").write_text(CONTROL)
    ran = spawn("questions", "contamination", "a", "--bank", "sample", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")


def test_a_bar_on_a_terminal(tmp_path):
    pty = pytest.importorskip("pty", reason="no terminals to open here")
    (tmp_path / "a").write_text(CONTROL * 50_000)
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "evalkit", "questions", "contamination", "a"]
    started = subprocess.Popen(command, cwd=tmp_path, stderr=inner, stdout=subprocess.PIPE)
    os.close(inner)
    shown = b""
    with suppress(OSError):  # how a terminal ends on Linux
        while more := os.read(outer, 100_000):
            shown += more
    os.close(outer)
    assert b"evalkit80 in 1 file" in started.communicate()[0] and started.returncode == 0
    assert b"100%" in shown and b"#" in shown
