"""What bad files and bad names get; the number in a test's name is its row in the table of them.

Refused means: exit code 2, a line on stderr for each fault, and not one byte written.
"""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import answer, question, review, tree, vicuna_folder, write_lines
from filelock import FileLock

from evalkit.errors import MOST_FAULTS
from evalkit.escape import visible
from evalkit.jsonl import MAX_DEPTH, MAX_ROW
from evalkit.workspace import LONGEST_NAME, Workspace

REPORT = ("report", "--bank", "mine", "--baseline", "b")
VICUNA = ("import", "vicuna", "theirs", "--bank", "new")
TABLE = ("import", "table", "theirs.csv", "--bank", "new")

BANK = "questions/mine.jsonl"
ANSWERS = "answers/mine/a.jsonl"
REVIEWS = "reviews/mine/judge.pair-scores.jsonl"
THEIRS = "theirs/question.jsonl"

OURS = {"bank": (BANK, REPORT), "answers": (ANSWERS, REPORT), "reviews": (REVIEWS, REPORT)}
IMPORTED = {
    "their questions": (THEIRS, VICUNA),
    "their answers": ("theirs/answer/answer_a_v1.jsonl", VICUNA),
    "their reviews": ("theirs/review/dir/review.jsonl", VICUNA),
}
LINES = OURS | IMPORTED
"""Every door through which JSON lines come in: the file, and the command that reads it."""
DOORS = LINES | {"a table": ("theirs.csv", TABLE)}

HAND = "(mend the line, or --repair moves it aside)"


def build(folder):
    """A good file at each door, of two rows at least."""
    write_lines(folder / BANK, [question("q1"), question("q2")])
    for model in "ab":
        rows = [answer("q1", model), answer("q2", model)]
        write_lines(folder / f"answers/mine/{model}.jsonl", rows)
    write_lines(folder / REVIEWS, [review("q1"), review("q2")])
    vicuna_folder(folder / "theirs")
    (folder / "theirs.csv").write_text("id,category,turns\nq1,generic,One?\nq2,generic,Two?\n")


def doors(some):
    return pytest.mark.parametrize(("file", "command"), some.values(), ids=some.keys())


def put(path, *lines):
    """Write lines as they are, in bytes, each with a newline."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))


def line_two(file, line):
    """Put another line in the place of the second one."""
    lines = Path(file).read_bytes().splitlines()
    put(file, lines[0], line, *lines[2:])


def row(**more):
    return json.dumps(question() | more)


def rename(file, field, name, lines=(0, 1)):
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    for line in lines:
        rows[line][field] = name
    write_lines(Path(file), rows)


@pytest.fixture
def good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(tmp_path)
    return tmp_path


@pytest.fixture
def refused(evalkit, tmp_path):
    """Run what must be refused; the lines that were said."""

    def command(*args):
        before = tree(tmp_path)
        ran = evalkit(*args)
        assert (ran.code, ran.out) == (2, ""), ran
        assert all(line.startswith("evalkit: ") for line in ran.err.splitlines()), ran.err
        assert tree(tmp_path) == before
        return ran.lines

    return command


BOUND = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's way past permissions
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; it holds from exec on
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def bound(*args, cwd):
    """Run Python as somebody whom permissions bind, also where the tests are run by root."""
    if not sys.platform.startswith("linux"):
        pytest.skip("CLOSED FILES AND FOLDERS ARE NOT TESTED: root is bound by them on Linux only")
    command = [sys.executable, "-c", BOUND, *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def permissions_bind(tmp_path_factory):
    file = tmp_path_factory.mktemp("permissions") / "closed"
    file.touch(mode=0)
    look = "import os, sys; print(os.access(sys.argv[1], os.R_OK))"
    if bound("-c", look, file, cwd=file.parent).stdout != "False\n":
        pytest.skip("CLOSED FILES AND FOLDERS ARE NOT TESTED: permissions do not bind us here")


@pytest.fixture
def closed(permissions_bind, good):
    """Change the mode of a path, run a command there that must be refused; the lines it said."""

    def command(path, mode, *args):
        before = tree(good)
        (good / path).chmod(mode)
        try:
            done = bound("-m", "evalkit", *args, cwd=good)
        finally:
            (good / path).chmod(0o755)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert tree(good) == before
        return [line.removeprefix("evalkit: ") for line in done.stderr.splitlines()]

    return command


def computed(folder, bank="mine"):
    return json.loads((Path(folder) / f"reports/{bank}.json").read_text())


@doors(DOORS)
def test_every_door_lets_good_files_in(good, evalkit, file, command):
    assert evalkit(*command).code == 0


# -- files


@doors(DOORS)
def test_01_not_utf8(good, refused, file, command):
    lines = (good / file).read_bytes().splitlines()
    line_two(file, lines[1][:2] + b"\xe9" + lines[1][2:])
    (said,) = refused(*command)
    assert said.startswith(
        f"{file}:2: not UTF-8 (byte 0xe9 at column 3). Try: iconv -f latin1 -t utf-8"
    )


def test_01_the_column_counts_characters_and_not_bytes(good, refused):
    line_two(BANK, b'{"id": "\xc3\xa9\xc3\xa9\xe9"}')
    assert "column 11)" in refused(*REPORT)[0]


def test_01_not_utf8_inside_an_array(good, refused):
    put(BANK, "[", row() + ",", b'{"id": "\xe9"}]')
    assert refused(*REPORT)[0].startswith(f"{BANK}:3: not UTF-8 (byte 0xe9 at column 9)")


@doors(DOORS)
def test_02_byte_order_mark_and_crlf_change_nothing(evalkit, tmp_path, file, command):
    for folder in "plain", "windows":
        build(tmp_path / folder)
    saved = tmp_path / "windows" / file
    saved.write_bytes(b"\xef\xbb\xbf" + saved.read_bytes().replace(b"\n", b"\r\n"))
    found = []
    for folder in "plain", "windows":
        args = [f"{folder}/{arg}" if arg.startswith("theirs") else arg for arg in command]
        ran = evalkit(*args, "-C", folder)
        made = tree(tmp_path / folder)
        del made[file]
        found.append((ran.code, ran.out, made))
    assert found[0][0] == 0
    assert found[1] == found[0]


@pytest.mark.parametrize(
    ("written", "asked"),
    [("utf-16", "utf-16"), ("utf-16-le", "utf-16le"), ("utf-16-be", "utf-16be")],
)
@doors(DOORS)
def test_03_utf16(good, refused, file, command, written, asked):
    text = (good / file).read_text()
    (good / file).write_bytes(text.encode(written))
    fix = f"iconv -f {asked} -t utf-8 {file} > NEW"
    assert refused(*command) == [f"{file}:1: is UTF-16, expected UTF-8. Try: {fix}"]
    if shutil.which("iconv"):
        subprocess.run(fix, shell=True, cwd=good, check=True)
        assert (good / "NEW").read_text(encoding="utf-8-sig") == text


def test_04_all_broken_lines_of_a_bank_with_their_columns(good, refused):
    put(BANK, row(), '{"id": "q2"', row(id="q3"), '{"id": oops}', "{", row(id="q4"))
    assert refused(*REPORT) == [
        f"{BANK}:2:12: not valid JSON: expecting ',' delimiter",
        f"{BANK}:4:8: not valid JSON: expecting value",
        f"{BANK}:5:2: not valid JSON: expecting property name enclosed in double quotes",
    ]


def test_04_no_more_than_twenty_are_shown_and_the_others_counted(good, refused):
    put(BANK, row(), *["{"] * (MOST_FAULTS + 5))
    said = refused(*REPORT)
    assert [line.split(":")[1] for line in said[:-1]] == [str(n) for n in range(2, 22)]
    assert said[-1] == "... and 5 more like these"


def test_04_broken_lines_in_several_files_of_an_import_come_in_one_go(good, refused):
    files = [file for file, _ in IMPORTED.values()]
    for file in files:
        line_two(file, '{"text": "torn')
    said = [line.split(": ")[0] for line in refused(*VICUNA)]
    assert said == [f"{file}:2:10" for file in files]


def test_04_broken_rows_of_a_table(good, refused):
    put("theirs.csv", "id,category,turns", "q1,generic", "q2,generic,Fine?", "q3,generic,a,b")
    assert refused(*TABLE) == [
        "theirs.csv:2: has more or fewer cells than the header",
        "theirs.csv:4: has more or fewer cells than the header",
    ]
    put("theirs.csv", "id,category,turns", 'q1,generic,"never closed')
    assert refused(*TABLE)[0].startswith("theirs.csv:2: not CSV: ")


@pytest.mark.parametrize("file", [ANSWERS, REVIEWS])
def test_05_a_torn_last_line_is_cut_and_said_once(good, evalkit, file):
    first, last = (good / file).read_bytes().splitlines(keepends=True)
    (good / file).write_bytes(first + last[:-9])

    ran = evalkit(*REPORT)
    path = Path(file)
    said = f"{file}: last line torn (crash?) -> saved as {path.name}.torn; question q2 is owed"
    assert ran.code == 0
    assert ran.lines.count(said) == 1
    assert path.read_bytes() == first
    assert path.with_name(path.name + ".torn").read_bytes() == last[:-9] + b"\n"
    if file == ANSWERS:
        assert [each["owed"] for each in computed(good)["answers"]] == [1, 0]
    else:
        assert computed(good)["pairs"][0]["questions"] == 1

    assert said not in evalkit(*REPORT).lines
    assert path.read_bytes() == first


def test_05_torn_at_any_byte(good):
    first, last = (good / ANSWERS).read_bytes().splitlines(keepends=True)
    torn = good / (ANSWERS + ".torn")
    for cut in range(1, len(last) - 1):
        (good / ANSWERS).write_bytes(first + last[:cut])
        workspace = Workspace(good)
        assert len(workspace.answers("mine")) == 3, cut
        assert len(workspace.told) == 1, cut
        assert (good / ANSWERS).read_bytes() == first
        assert torn.read_bytes().endswith(last[:cut].strip() + b"\n")


def test_05_a_last_row_that_lacks_only_its_newline_is_whole(good, evalkit):
    whole = (good / ANSWERS).read_bytes().removesuffix(b"\n")
    (good / ANSWERS).write_bytes(whole)
    ran = evalkit(*REPORT)
    assert ran.code == 0
    assert "torn" not in ran.err
    assert (good / ANSWERS).read_bytes() == whole


def test_05_a_whole_row_of_a_wrong_kind_is_not_called_torn(good, refused):
    (good / ANSWERS).write_text(json.dumps(answer(mood="good")))
    assert refused(*REPORT)[0].startswith(f"{ANSWERS}:1: unknown field 'mood'")


def test_05_the_question_of_a_torn_line_can_be_bought_again(good, evalkit):
    assert evalkit(*VICUNA).code == 0
    ledger = good / "answers/new/a.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-20])
    ran = evalkit(*VICUNA)
    assert ran.code == 0
    assert sum("torn" in line for line in ran.lines) == 1
    assert ran.out.endswith("; 5 rows were here already\n")
    assert ledger.read_bytes() == whole


def test_05_a_line_that_somebody_is_writing_just_now_is_left_alone(good, evalkit):
    half = (good / ANSWERS).read_bytes()[:-9]
    (good / ANSWERS).write_bytes(half)
    with FileLock(good / "answers/mine/.a.jsonl.lock"):
        ran = evalkit(*REPORT)
    assert ran.code == 0
    assert "torn" not in ran.err
    assert (good / ANSWERS).read_bytes() == half
    assert not (good / (ANSWERS + ".torn")).exists()
    assert "torn" in evalkit(*REPORT).err


def test_05_a_torn_line_in_a_read_only_folder_is_said_and_left(good, closed):
    first, last = (good / ANSWERS).read_bytes().splitlines(keepends=True)
    (good / ANSWERS).write_bytes(first + last[:-9])
    said = closed("answers/mine", 0o555, "import", "vicuna", "theirs", "--bank", "mine")
    what = "left there, since it cannot be moved; question q2 is owed"
    assert said[0] == f"{ANSWERS}: last line torn (crash?) -> {what}"
    assert said[-1].startswith("questions/mine.jsonl stands already, with other questions")


def test_06_every_bad_line_of_a_ledger_is_named(good, refused):
    put(ANSWERS, "{oops", json.dumps(answer()), json.dumps(answer(mood="good")), b"caf\xe9")
    said = refused(*REPORT)
    assert [line.split(": ")[0] for line in said] == [f"{ANSWERS}:{n}" for n in (1, 3, 4)]
    assert all(line.endswith(f" {HAND}") for line in said)


def test_06_an_import_refuses_a_damaged_ledger_before_it_writes(good, evalkit, refused):
    evalkit(*VICUNA)
    line_two("answers/new/a.jsonl", "{oops")
    assert refused(*VICUNA)[0].startswith("answers/new/a.jsonl:2: not valid JSON")


def test_06_repair_moves_bad_lines_aside_and_good_ones_stay_byte_for_byte(good, evalkit):
    odd = [
        b"\xef\xbb\xbf" + json.dumps(answer("q1")).encode() + b"  \r\n",
        b"\n",
        b"\t" + json.dumps(answer("q2")).replace(": ", " :").encode() + b"\n",
    ]
    bad = [b"{oops\n", b'{"question": "q3", "mood": 1}\n']
    (good / ANSWERS).write_bytes(odd[0] + bad[0] + odd[1] + bad[1] + odd[2])
    intact = (good / REVIEWS).read_bytes()

    ran = evalkit(*REPORT, "--repair")
    assert ran.code == 0
    assert f"{ANSWERS}: 2 bad lines moved to a.jsonl.bad; what they held is owed" in ran.lines
    assert (good / ANSWERS).read_bytes() == b"".join(odd)
    assert (good / (ANSWERS + ".bad")).read_bytes() == b"".join(bad)
    assert (good / REVIEWS).read_bytes() == intact
    assert [each["answers"] for each in computed(good)["answers"]] == [2, 2]

    assert "moved" not in evalkit(*REPORT, "--repair").err
    assert (good / (ANSWERS + ".bad")).read_bytes() == b"".join(bad)


def test_06_a_torn_line_is_not_cut_before_the_bad_one_is_repaired(good, evalkit, refused):
    first = json.dumps(answer())
    (good / ANSWERS).write_text(f'{first}\n{{oops\n{{"question": "q2", ')
    assert len(refused(*REPORT)) == 1
    ran = evalkit(*REPORT, "--repair")
    assert ran.code == 0
    assert (good / ANSWERS).read_text() == f"{first}\n"
    assert (good / (ANSWERS + ".bad")).read_text() == "{oops\n"
    assert (good / (ANSWERS + ".torn")).read_text() == '{"question": "q2",\n'


@pytest.mark.parametrize("nothing", ["", "\n \n\t\r\n", "\ufeff"], ids=["empty", "blank", "mark"])
@pytest.mark.parametrize(
    ("door", "what"), [("bank", "questions"), ("their questions", "questions"), ("a table", "rows")]
)
def test_07_no_questions(good, refused, door, what, nothing):
    file, command = DOORS[door]
    (good / file).write_text(nothing)
    assert refused(*command) == [f"{file}: no {what}"]


def test_07_a_header_or_an_empty_array_is_no_question_either(good, refused):
    put("theirs.csv", "id,category,turns")
    assert refused(*TABLE) == ["theirs.csv: no questions"]
    put(BANK, "[]")
    assert refused(*REPORT) == [f"{BANK}: no questions"]


def test_07_an_empty_ledger_is_a_ledger_without_rows(good, evalkit):
    (good / REVIEWS).write_text("\n")
    assert evalkit(*REPORT).code == 0
    assert "No pair of answers has been judged yet." in computed(good)["missing"]


@pytest.mark.parametrize("wrong", ["text", "question", "prompt", "instruction", "turn"])
def test_08_a_field_that_is_called_turns_here(good, refused, wrong):
    put(BANK, json.dumps({"id": "q1", "category": "generic", wrong: "Why?"}))
    assert refused(*REPORT) == [
        f"{BANK}:1: the field 'turns' is missing",
        f"{BANK}:1: unknown field '{wrong}'. Did you mean 'turns'?",
    ]


def test_08_an_unknown_field_that_is_like_none(good, refused):
    line_two(BANK, row(id="q2", zzz=1))
    (said,) = refused(*REPORT)
    assert said.startswith(f"{BANK}:2: unknown field 'zzz'. Known: extra, id, category, turns")


@pytest.mark.parametrize(
    ("door", "field"),
    [
        ("answers", "model"),
        ("reviews", "judge"),
        ("their questions", "category"),
        ("their answers", "model_id"),
        ("their reviews", "answer1_id"),
    ],
)
def test_08_a_missing_field(good, refused, door, field):
    file, command = LINES[door]
    values = json.loads((good / file).read_text().splitlines()[1])
    del values[field]
    line_two(file, json.dumps(values))
    (said,) = refused(*command)
    assert said.startswith(f"{file}:2: the field '{field}' is missing")


def test_08_a_missing_column(good, refused):
    put("theirs.csv", "question_id,kind,question", "q1,generic,Why?")
    assert refused(*TABLE) == [
        "theirs.csv:1: no column 'id'. Rename 'question_id'?",
        "theirs.csv:1: no column 'category'.",
        "theirs.csv:1: no column 'turns' (in CSV 'turn_1', ...). Rename 'question'?",
    ]


def test_09_doubled_ids(good, refused):
    put(BANK, row(), "", row(id="q2"), row(category="math"))
    assert refused(*REPORT) == [f"{BANK}:4: the id 'q1' stands at {BANK}:1 already"]
    put("theirs.csv", "id,category,turns", "q1,generic,One?", "q1,generic,Two?")
    assert refused(*TABLE) == ["theirs.csv:3: the id 'q1' stands at theirs.csv:2 already"]


@pytest.mark.parametrize(
    ("door", "field", "value"),
    [
        ("their questions", "question", "q1"),
        ("their answers", "answer_id", "a:v1 q1"),
        ("their reviews", "review_id", "review q1"),
    ],
)
def test_09_doubled_ids_in_an_import(good, refused, door, field, value):
    file, command = LINES[door]
    put(file, *(good / file).read_bytes().splitlines(), (good / file).read_bytes().splitlines()[0])
    assert refused(*command) == [f"{file}:3: the {field} '{value}' stands at {file}:1 already"]


def test_09_one_question_answered_twice(good, refused):
    file = IMPORTED["their answers"][0]
    first = json.loads((good / file).read_text().splitlines()[0])
    again = first | {"answer_id": "another"}
    put(file, *(good / file).read_text().splitlines(), json.dumps(again))
    assert refused(*VICUNA) == [f"{file}:3: a:v1 answered question q1 at {file}:1 already"]


@doors(LINES)
def test_09_a_doubled_key(good, refused, file, command):
    line = (good / file).read_text().splitlines()[1]
    line_two(file, line[:-1] + ', "text": "one", "text": "two"}')
    (said,) = refused(*command)
    assert said.startswith(f"{file}:2: the key 'text' stands twice in one row")


def test_09_a_doubled_column(good, refused):
    put("theirs.csv", "id,category,turns,id", "q1,generic,Why?,q2")
    assert refused(*TABLE) == ["theirs.csv:1: the column 'id' stands twice"]


SEPARATORS = "line\u2028paragraph\u2029next\u0085end"


def test_10_unicode_line_ends_inside_a_row_do_not_end_it(good, evalkit):
    put(
        BANK,
        json.dumps(question(turns=[SEPARATORS]), ensure_ascii=False),
        row(id="q2", turns=["Two?"]),
    )
    assert SEPARATORS in (good / BANK).read_text()
    put("theirs.csv", "id,category,turns", f"q1,generic,{SEPARATORS}\x0b\x0c\x1c", "q2,generic,x")
    assert evalkit(*TABLE).code == 0
    read = Workspace(good)
    assert [each.turns for each in read.questions("mine")] == [(SEPARATORS,), ("Two?",)]
    assert read.questions("new")[0].turns == (f"{SEPARATORS}\x0b\x0c\x1c",)


def test_10_unicode_line_ends_go_through_an_import_and_a_ledger(good, evalkit):
    file, command = IMPORTED["their answers"]
    text = (good / file).read_text()
    (good / file).write_text(text.replace("a:v1 says q1", SEPARATORS))
    assert evalkit(*command).code == 0
    assert SEPARATORS in (good / "answers/new/a.jsonl").read_text()
    assert SEPARATORS in [each.turns[0] for each in Workspace(good).answers("new")]


@doors(LINES)
def test_10_a_raw_vertical_tab_is_one_fault_of_one_line(good, refused, file, command):
    """JSON allows no raw control character; the lines after it must still be counted right."""
    lines = (good / file).read_text().splitlines()
    put(file, lines[0], '{"id": "\x0b"}', "\x0b", "{", *lines[1:])
    said = refused(*command)
    assert [line.removeprefix(file)[:3] for line in said] == [":2:", ":3:", ":4:"]
    assert "invalid control character" in said[0]


NOT_JSON_HERE = {
    "NaN": "NaN is not a number",
    "-Infinity": "-Infinity is not a number",
    "1e999": "1e999 is too large",
    "9" * 5000: "a number of too many digits",
    "[" * 100_000: "nested too deeply",
    "[" * MAX_DEPTH + "]" * MAX_DEPTH: "nested too deeply",
    '{"x":' * 400 + "1" + "}" * 400: "nested too deeply",
}


@pytest.mark.parametrize("value", NOT_JSON_HERE, ids=lambda value: value[:9])
@doors(LINES)
def test_11_what_python_reads_but_json_does_not_know(good, refused, file, command, value):
    line_two(file, f'{{"extra": {value}}}')
    (said,) = refused(*command)
    assert said.startswith(f"{file}:2: not valid JSON here: {NOT_JSON_HERE[value]}")


@doors(LINES)
def test_11_what_is_nested_as_deep_as_may_be_is_read_and_written(good, evalkit, file, command):
    values = json.loads((good / file).read_text().splitlines()[1])
    field = "metadata" if "metadata" in values else "extra"
    deep = MAX_DEPTH - 2
    values[field] = {"x": "DEEP"}
    line_two(file, json.dumps(values).replace('"DEEP"', "[" * deep + "]" * deep))
    assert evalkit(*command).code == 0


def test_11_a_file_that_begins_with_a_hundred_thousand_brackets(good, refused):
    put(BANK, "[" * 100_000)
    assert refused(*REPORT) == [f"{BANK}:1:2: not valid JSON here: nested too deeply"]


@pytest.mark.parametrize("value", ["5", '"text"', "null", "true", "[1]"])
@doors(LINES)
def test_11_a_row_that_is_no_object(good, refused, file, command, value):
    line_two(file, value)
    (said,) = refused(*command)
    assert said.startswith(f"{file}:2: expected an object {{...}}, found ")


@pytest.mark.parametrize(
    ("door", "field", "value", "said"),
    [
        ("bank", "id", 7, "'id' should be a valid string, found a number"),
        ("bank", "category", None, "'category' should be a valid string, found null"),
        ("bank", "turns", "Why?", "'turns' should be a list, found text"),
        ("bank", "turns", [["Why?"]], "'turns.0' should be a valid string, found a list"),
        ("answers", "sample", True, "'sample' should be a valid integer, found true or false"),
        ("reviews", "scores", ["8", 9], "'scores.0' should be a valid number, found text"),
        ("reviews", "scores", [8, 9, 7], "2 shown, but 3 scores"),
        ("reviews", "scores", [10**400, 9], "'scores.0' should be a valid number, found a number"),
        ("their questions", "category", "", "'category' string should have at least 1 character"),
        ("their answers", "model_id", 3, "'model_id' should be a valid string, found a number"),
        ("their reviews", "score", [8], "the field 'score.1' is missing"),
    ],
)
def test_11_a_wrong_type(good, refused, door, field, value, said):
    file, command = LINES[door]
    values = json.loads((good / file).read_text().splitlines()[1])
    line_two(file, json.dumps(values | {field: value}))
    assert refused(*command)[0].startswith(f"{file}:2: {said}")


PEAK = """
import sys
from evalkit.cli import run
from evalkit import formats, workspace  # what every run needs, so that only the file is measured
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
code = run(sys.argv[1:])
print(code, (peak() - before) // 1000)
"""


def grown(*args, cwd):
    """Exit code, and by how many MB the process grew while it read."""
    if not Path("/proc/self/status").exists():
        pytest.skip("PEAK MEMORY IS NOT CHECKED: this system has no /proc/self/status")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *args], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    code, peak = done.stdout.splitlines()[-1].split()
    return int(code), int(peak), done.stderr


@pytest.mark.parametrize("file", [BANK, ANSWERS])
def test_12_a_line_of_a_gigabyte_is_refused_without_reading_it(good, file):
    with open(good / file, "r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(b'{"id": "')
        stream.truncate(1_000_000_000)  # sparse: it takes no room on the disk
    code, peak, said = grown(*REPORT, cwd=good)
    assert code == 2
    assert said.startswith(f"evalkit: {file}:3: a row of more than 10 MB")
    assert len(said.splitlines()) == 1
    assert peak < 60


def test_12_a_long_file_is_read_as_a_stream(good):
    """Its rows share one key, so that only one of them is kept: what grew would be the file."""
    long = json.dumps(answer(text="long" * 500_000)) + "\n"
    with open(good / ANSWERS, "w") as stream:
        stream.writelines(long for _ in range(40))
    code, peak, said = grown("import", "vicuna", "nowhere", "--bank", "mine", cwd=good)
    assert (code, said.count("\n")) == (2, 1)  # after it has read the ledger
    assert "nowhere" in said
    assert peak < 40  # MB, of 80


@doors(LINES)
def test_12_a_row_over_ten_megabytes(good, refused, file, command):
    line_two(file, '{"id": "' + "x" * MAX_ROW + '"}')
    assert refused(*command) == [f"{file}:2: a row of more than 10 MB"]


def test_12_a_row_of_just_under_ten_megabytes_is_read(good):
    frame = row(id="q2", turns=["x"])
    line_two(BANK, row(id="q2", turns=["x" * (MAX_ROW - len(frame))]))
    assert (good / BANK).read_bytes().splitlines(keepends=True)[1][MAX_ROW - 1 :] == b"\n"
    assert len(Workspace(good).questions("mine")[1].turns[0]) == MAX_ROW - len(frame)


def test_13_a_file_that_is_gone(good, refused):
    assert refused("report", "--bank", "mime") == [
        "no bank 'mime'. Did you mean 'mine'? There is: cars-en, cars-zh, evalkit80, evalkit80-zh, "
        "mine, sample.  A bank is a file questions/NAME.jsonl"
    ]
    assert refused("report", "-C", "nowhere") == ["nowhere: no such folder"]
    missing = "expected a folder with question.jsonl, answer/ and review/"
    assert refused("import", "vicuna", "nowhere") == [f"nowhere: {missing}"]
    assert refused("import", "vicuna", "theirs.csv") == [f"theirs.csv: {missing}"]
    assert refused("import", "table", "nowhere.csv", "--bank", "new") == [
        "nowhere.csv: no such file or directory"
    ]
    (good / THEIRS).unlink()
    assert refused(*VICUNA) == [f"{THEIRS}: no such file or directory"]
    (good / ANSWERS).unlink()
    (good / ANSWERS).symlink_to("nowhere")
    assert refused(*REPORT) == [f"{ANSWERS}: no such file or directory"]


@doors(DOORS)
def test_13_a_folder_in_the_place_of_a_file(good, refused, file, command):
    (good / file).unlink()
    (good / file).mkdir()
    (line,) = refused(*command)
    assert line.startswith(f"{file}: is a folder, expected a file")


@pytest.mark.parametrize("folder", ["answers/mine", "reviews/mine", "theirs/answer"])
def test_13_a_file_in_the_place_of_a_folder(good, refused, folder):
    shutil.rmtree(good / folder)
    (good / folder).write_text("")
    command = VICUNA if folder.startswith("theirs") else REPORT
    assert refused(*command) == [f"{folder}: not a directory"]


@pytest.mark.timeout(20)
@doors(DOORS)
def test_13_a_pipe_is_not_waited_for(good, refused, file, command):
    (good / file).unlink()
    os.mkfifo(good / file)
    assert refused(*command) == [f"{file}: is not an ordinary file"]


@doors(DOORS)
def test_13_an_unreadable_file(closed, file, command):
    assert closed(file, 0, *command) == [f"{file}: permission denied"]


@pytest.mark.parametrize(
    ("folder", "named", "command"),
    [
        ("questions", BANK, REPORT),
        ("answers", "answers/mine", REPORT),
        ("answers/mine", "answers/mine", REPORT),
        ("reviews/mine", "reviews/mine", REPORT),
        ("reviews", "reviews/cars-en", ["report"]),
        ("theirs", THEIRS, VICUNA),
        ("theirs/answer", "theirs/answer", VICUNA),
        ("theirs/review/dir", "theirs/review/dir", VICUNA),
    ],
)
def test_13_an_unreadable_folder_is_not_an_empty_one(closed, folder, named, command):
    assert closed(folder, 0, *command) == [f"{named}: permission denied"]


@pytest.mark.parametrize(
    ("folder", "named", "command"),
    [
        (".", "reports/mine.html", REPORT),
        ("questions", "questions/new.jsonl", VICUNA),
        ("questions", "questions/new.jsonl", TABLE),
        ("answers/mine", ANSWERS, [*REPORT, "--repair"]),
    ],
)
def test_13_a_read_only_folder(closed, folder, named, command):
    if "--repair" in command:
        line_two(ANSWERS, "{oops")
    assert closed(folder, 0o555, *command) == [f"{named}: permission denied"]


@pytest.mark.parametrize("turns", [[""], ["  \t\n"], ["\u3000"], ["Why?", " "]], ids=repr)
def test_14_an_empty_question(good, refused, turns):
    put(BANK, row(), row(id="empty", turns=turns))
    assert refused(*REPORT) == [f"{BANK}:2: question 'empty' has an empty turn"]


def test_14_a_question_without_a_turn(good, refused):
    put(BANK, row(turns=[]))
    (said,) = refused(*REPORT)
    assert said.startswith(f"{BANK}:1: 'turns' ")


def test_14_an_empty_question_in_an_import(good, refused):
    line_two(THEIRS, json.dumps({"question_id": "q2", "category": "generic", "text": " \n"}))
    assert refused(*VICUNA) == [f"{THEIRS}:2: question q2 is empty"]
    put("theirs.csv", "id,category,turn_1,turn_2", "q1,generic,Why?,", "q2,generic,  ,")
    assert refused(*TABLE) == ["theirs.csv:3: question 'q2' has an empty turn"]


@pytest.mark.parametrize("door", ["bank", "their questions", "a table"])
def test_15_a_category_that_no_prompt_knows(good, evalkit, refused, door):
    file, command = DOORS[door]
    (good / file).write_text((good / file).read_text().replace("generic", "poetry", 1))
    (said,) = refused(*command)
    assert "no prompt knows the category 'poetry' of question q1." in said
    assert "Known: coding, " in said and " generic, " in said
    assert said.endswith("--category-default NAME takes these questions in")

    refused(*command, "--category-default", "poetic")
    ran = evalkit(*command, "--category-default", "math")
    assert ran.code == 0
    if door == "bank":
        assert [each["category"] for each in computed(good)["by_category"]] == ["generic", "math"]
    else:
        bank = Workspace(good).questions("new")
        assert [each.category for each in bank] == ["math", "generic"]


def test_15_a_default_that_no_prompt_knows(good, refused):
    (said,) = refused(*REPORT, "--category-default", "maths")
    assert said.startswith("no category 'maths'. Did you mean 'math'? There is: ")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", ["", "\ufeff", " \n\n\t"], ids=["at once", "mark", "blank"])
def test_16_an_array_instead_of_lines(tmp_path, evalkit, before, indent):
    found = []
    for folder in "lines", "arrays":
        build(tmp_path / folder)
        if folder == "arrays":
            for file in BANK, *(file for file, _ in IMPORTED.values()):
                path = tmp_path / folder / file
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                path.write_text(before + json.dumps(rows, indent=indent))
        ran = evalkit("import", "vicuna", f"{folder}/theirs", "--bank", "new", "-C", folder)
        read = Workspace(Path(folder))
        rows = read.questions("mine"), read.answers("new"), read.reviews("new")
        found.append((ran.code, ran.out, rows))
    assert found[0][0] == 0
    assert found[1] == found[0]


def test_16_what_is_wrong_in_an_array(good, refused):
    put(BANK, "[", row() + ",", "oops]")
    assert refused(*REPORT) == [f"{BANK}:3:1: not valid JSON: expecting value"]
    put(BANK, f"[{row()}, 5, [], {row(id='q2')}]")
    assert refused(*REPORT) == [
        f"{BANK}: item 2: expected an object {{...}}, found a number",
        f"{BANK}: item 3: expected an object {{...}}, found a list",
    ]
    put(BANK, f"[{row()}, {row(text='x')}, {row()}]")
    assert refused(*REPORT) == [
        f"{BANK}: item 2: unknown field 'text'. Did you mean 'turns'?",
        f"{BANK}: item 3: the id 'q1' stands at {BANK}: item 1 already",
    ]
    put(BANK, f"[{row()}]", row(id="q2"))
    assert refused(*REPORT) == [f"{BANK}:2:1: not valid JSON: extra data"]


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "mark"])
def test_16_csv_instead_of_lines_and_the_command_that_is_offered_works(
    good, evalkit, refused, mark
):
    (good / BANK).write_text(mark + (good / "theirs.csv").read_text())
    (said,) = refused(*REPORT)
    step = f"evalkit import table {BANK} --bank NAME"
    assert said == f"{BANK}:1: looks like CSV, expected JSON lines. Try: {step}"
    assert evalkit(*step.replace("NAME", "new").split()[1:]).code == 0
    assert [each.id for each in Workspace(good).questions("new")] == ["q1", "q2"]


def test_16_broken_json_after_a_byte_order_mark_is_not_called_csv(good, refused):
    (good / BANK).write_text('\ufeff{"id": "q1", "category": oops}\n')
    assert refused(*REPORT) == [f"{BANK}:1:26: not valid JSON: expecting value"]


# -- names

BAD_NAMES = {
    "../x": "leads out of its folder",
    "a/../../b": "leads out of its folder",
    "..\\x": "leads out of its folder",
    ".": "leads out of its folder",
    "a//b": "leads out of its folder",
    "/x": "is an absolute path",
    "\\\\host\\x": "is an absolute path",
    "~/x": "is an absolute path",
    "a\0b": "holds a NUL or a line break",
    "a\nb": "holds a NUL or a line break",
    "-x": "begins with a dot or a dash",
    ".x": "begins with a dot or a dash",
    "org/-x": "begins with a dot or a dash",
    "CON": "is reserved on Windows",
    "nul.txt": "is reserved on Windows",
    "x" * (LONGEST_NAME + 1): f"is longer than {LONGEST_NAME} bytes",
    "é" * (LONGEST_NAME // 2 + 1): f"is longer than {LONGEST_NAME} bytes",
    "": "is empty or has blanks at its ends",
    "x ": "is empty or has blanks at its ends",
}
NAMES = pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:9]))


@NAMES
@pytest.mark.parametrize("command", [["report"], VICUNA[:3], TABLE[:3]], ids=lambda x: x[-1])
def test_17_a_bank_that_no_file_can_be_called_after(good, refused, command, name):
    assert refused(*command, "--bank", name) == [
        f"{name[:60]!r} cannot be a name: it {BAD_NAMES[name]}"
    ]


@NAMES
@pytest.mark.parametrize("door", ["their answers", "their reviews"])
def test_17_a_name_from_an_import(good, refused, door, name):
    file, command = DOORS[door]
    rename(file, "model_id" if door == "their answers" else "reviewer_id", name)
    assert refused(*command) == [f"{name[:60]!r} cannot be a name: it {BAD_NAMES[name]}"]


def test_17_a_name_with_a_folder_keeps_its_own_name_in_the_rows(good, evalkit):
    rename(IMPORTED["their answers"][0], "model_id", "org/name:v1")
    rename(IMPORTED["their reviews"][0], "reviewer_id", "lab/judge-generic")
    assert evalkit(*VICUNA[:3], "--bank", "some/bank").code == 0
    stored = (good / "answers/some__bank/org__name.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in stored} == {"org/name"}
    assert (good / "reviews/some__bank/lab__judge.vicuna-blog.jsonl").is_file()

    ran = evalkit("report", "--bank", "some/bank", "--baseline", "org/name")
    assert ran.code == 0
    assert computed(good, "some__bank")["models"] == ["b", "org/name"]
    assert computed(good, "some__bank")["judges"] == ["lab/judge"]


def test_17_a_name_as_long_as_may_be(good, evalkit):
    name = "x" * LONGEST_NAME
    rename(IMPORTED["their answers"][0], "model_id", name)
    rename(IMPORTED["their reviews"][0], "reviewer_id", name)
    assert evalkit(*VICUNA[:3], "--bank", name).code == 0
    assert evalkit("report", "--bank", name, "--baseline", name).code == 0
    assert computed(good, name)["judges"] == [name]


@pytest.mark.parametrize(
    ("one", "two"), [("Vicuna", "vicuna"), ("org/x", "org__x"), ("Straße", "STRASSE")]
)
def test_18_two_models_of_one_import_that_would_share_a_file(tmp_path, refused, one, two):
    vicuna_folder(tmp_path / "theirs", models=["other", "b"])
    for place, name in enumerate([one, two]):
        said = {"answer_id": name, "question_id": "q1", "model_id": name, "text": "x"}
        write_lines(tmp_path / f"theirs/answer/{place}.jsonl", [said])
    first, second = sorted([one, two])
    assert refused(*VICUNA) == [
        f"'{first}' and '{second}' would share one file. Rename one of them"
    ]


@pytest.mark.parametrize(("here", "comes"), [("a", "A"), ("org/a", "org__a")])
def test_18_a_model_that_would_share_a_file_of_the_workspace(good, evalkit, refused, here, comes):
    rename(IMPORTED["their answers"][0], "model_id", here)
    assert evalkit(*VICUNA).code == 0
    rename(IMPORTED["their answers"][0], "model_id", comes)
    first, second = sorted([here, comes])
    assert refused(*VICUNA) == [
        f"'{first}' and '{second}' would share one file. Rename one of them"
    ]


def test_18_two_judges_that_would_share_a_file(good, refused):
    rename(IMPORTED["their reviews"][0], "reviewer_id", "GPT-4", lines=[0])
    rename(IMPORTED["their reviews"][0], "reviewer_id", "gpt-4", lines=[1])
    (said,) = refused(*VICUNA)
    assert "'GPT-4" in said
    assert "'gpt-4" in said
    assert said.endswith("would share one file. Rename one of them")


@pytest.mark.parametrize("name", ["Mine", "SAMPLE"])
def test_18_two_banks_that_would_share_a_file(good, refused, name):
    for command in VICUNA[:3], TABLE[:3]:
        assert refused(*command, "--bank", name) == [
            f"'{name}' and '{name.lower()}' would share one file. Give another --bank"
        ]


HOSTILE = ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", "\x1b[31mred", "\x9b31m\u202ered"]


class Read(HTMLParser):
    """The texts of a page, and apart from them its scripts."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.scripts = [], []
        self.feed(page)

    def handle_data(self, text):
        (self.scripts if self.cdata_elem == "script" else self.texts).append(text)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_19_a_hostile_name_of_a_model_a_judge_and_a_bank(good, evalkit, name):
    rename(IMPORTED["their answers"][0], "model_id", name)
    rename(IMPORTED["their reviews"][0], "reviewer_id", name)
    imported = evalkit(*VICUNA[:3], "--bank", name)
    shown = evalkit("report", "--bank", name, "--baseline", "b")
    for ran in imported, shown:
        assert ran.code == 0
        assert not set("\x1b\x9b\u202e") & set(ran.out + ran.err)
    assert {each.model for each in Workspace(good).answers(name)} == {name, "b"}

    (file,) = (good / "reports").glob("*.json")
    found = json.loads(file.read_text())
    assert (found["bank"], found["judges"]) == (name, [name])
    assert set(found["models"]) == {name, "b"}

    page = file.with_suffix(".html").read_text()
    assert not set("\x1b\x9b\u202e") & set(page)
    read = Read(page)
    assert "alert(1)" not in read.scripts
    shown_as = visible(name)
    assert any(shown_as in text for text in read.texts)
    assert (shown_as == name) == name.isprintable()


def test_19_json_for_programs_holds_no_raw_escape(good, evalkit):
    rename(IMPORTED["their answers"][0], "model_id", "\x1b[31mred")
    evalkit(*VICUNA)
    ran = evalkit("report", "--bank", "new", "--baseline", "b", "--json")
    assert "\x1b" not in ran.out
    assert "\x1b[31mred" in json.loads(ran.out)["models"]


def test_19_an_error_shows_a_name_without_obeying_it(good, refused):
    hostile = "\x1b[31mred\nevalkit: all is well"
    put(BANK, row(id=hostile), row(id=hostile))
    (said,) = refused(*REPORT)
    assert said.startswith(f"{BANK}:2: the id '␛[31mred␤evalkit: all is well' stands at ")
