"""Answers that a person typed in: each form, each fault with its place, and nothing twice."""

import csv
import io
import json

import pytest
from conftest import question, review, tree, write_lines

from evalkit.formats import answers, names
from evalkit.records import short_hash

BANK = [question("q1"), question("long-02", turns=["First?", "Then?"]), question("7")]
TEXT = "# q1\nOne.\n\n# long-02\nTwo.\n--- turn 2 ---\nTwo again.\n# 7\nSeven.\n"
SAID = {"q1": ["One."], "long-02": ["Two.", "Two again."], "7": ["Seven."]}
BARD = ("--bank", "mine", "--model", "bard")


@pytest.fixture
def bank(evalkit, tmp_path):
    write_lines(tmp_path / "questions/mine.jsonl", BANK)
    return tmp_path


@pytest.fixture
def put(bank, evalkit):
    """Write a file of answers and import it; `bytes` as they are."""

    def command(name, content, *args):
        raw = content if isinstance(content, bytes) else content.encode()
        (bank / name).write_bytes(raw)
        return evalkit("import", "answers", name, *(args or BARD))

    return command


@pytest.fixture
def refused(put, bank):
    """Import what must be refused; the lines that were said."""

    def command(name, content, *args):
        ran = put(name, content, *args)
        assert (ran.code, ran.out) == (2, ""), ran
        assert not (bank / "answers").exists()
        return ran.lines

    return command


def stored(folder, model="bard", bank="mine"):
    file = folder / "answers" / bank / f"{model}.jsonl"
    return [json.loads(line) for line in file.read_text().strip().split("\n")]


def said(folder, model="bard"):
    return {row["question"]: row["turns"] for row in stored(folder, model)}


def sheet(*lines, delimiter=","):
    """Cells as CSV, all of them in quotes."""
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(lines)
    return made.getvalue()


def as_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


CELLS = [
    ["id", "answer_1", "answer_2"],
    ["q1", "One.", ""],
    ["long-02", "Two.", "Two again."],
    ["7", "Seven.", ""],
]
ROWS = [
    {"id": "q1", "answer": "One."},
    {"question_id": "long-02", "turns": ["Two.", "Two again."]},
    {"question": 7, "output": "Seven."},
]
FORMS = {
    "text": ("said.txt", TEXT),
    "markdown": ("said.md", TEXT.replace("# ", "## ")),
    "no ending": ("said", TEXT),
    "a turn's marker in other spacing": ("said.txt", TEXT.replace("--- turn 2 ---", "-- TURN2 --")),
    "the first turn marked too": ("said.txt", TEXT.replace("Two.", "--- turn 1 ---\nTwo.")),
    "blank lines": ("said.txt", "\n \n" + TEXT.replace("\n", "\n\n \n").replace("- turn", "-turn")),
    "commas": ("said.csv", sheet(*CELLS)),
    "semicolons": ("said.csv", sheet(*CELLS, delimiter=";")),
    "tabs": ("SAID.TSV", sheet(*CELLS, delimiter="\t")),
    "lines": ("said.jsonl", as_lines(*ROWS)),
    "an array": ("said.json", json.dumps(ROWS, indent=2)),
    "an array in a text file": ("said.txt", json.dumps(ROWS)),
    "numbered fields": (
        "said.jsonl",
        as_lines(ROWS[0], {"id": "long-02", "answer_2": "Two again.", "answer_1": "Two."}, ROWS[2]),
    ),
}
EVERY_FORM = pytest.mark.parametrize(("name", "content"), FORMS.values(), ids=FORMS.keys())


# -- the forms


@EVERY_FORM
def test_every_form_says_the_same(put, bank, name, content):
    ran = put(name, content)
    assert (ran.code, ran.out) == (0, "mine: 3 answers (bard)\n"), ran.err
    assert said(bank) == SAID
    assert ran.lines == ["Next: evalkit report --bank mine"]


@EVERY_FORM
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "mark"])
def test_a_byte_order_mark_and_crlf_change_nothing(put, bank, name, content, mark):
    assert put(name, content).code == 0
    again = put(name, mark + content.replace("\r\n", "\n").replace("\n", "\r\n").encode())
    assert again.out == "mine: 3 answers (bard); 3 rows were here already\n"
    assert said(bank) == SAID


@pytest.mark.parametrize(
    "columns",
    ["id,answer", "question_id,text", "question,output", "id,turns", "id,answers", "id,answer_1"],
)
def test_columns_by_other_names(put, bank, columns):
    assert put("said.csv", f'{columns}\nq1,"One, and\nmore."\n').code == 0
    assert said(bank) == {"q1": ["One, and\nmore."]}


def test_line_ends_inside_a_cell_are_no_part_of_an_answer(put, bank):
    assert put("said.csv", 'id,answer\r\nq1,"One,\r\nand more."\r\n').code == 0
    assert said(bank) == {"q1": ["One,\nand more."]}


def test_an_answer_may_hold_headings_rules_and_other_line_ends(put, bank):
    said_by_it = (
        "    indented\n# Overview\n#7\n #q1\n## q1 and more\n---\n\n1\u20282\u0085\n```\n# x\n```"
    )
    assert put("said.txt", f"# q1\n\n{said_by_it}  \n\n\n### 7\n7\n").code == 0
    assert said(bank) == {"q1": [said_by_it + "  "], "7": ["7"]}


def test_a_heading_of_an_answer_may_be_like_an_id_that_has_its_own(put, bank):
    text = "# long-02\nTwo.\n--- turn 2 ---\n# Long-2\nTwo again.\n"
    assert put("said.txt", text).code == 0
    assert said(bank) == {"long-02": ["Two.", "# Long-2\nTwo again."]}


def test_a_row_holds_what_was_said_and_what_was_asked(put, bank):
    assert put("said.csv", "id,answer,date,note\nq1,One.,2023-03-28,\n").code == 0
    (row,) = stored(bank)
    assert row["asked"] == short_hash([["What is q1?"], "bard", ["One."], "by hand"])
    assert row["question_hash"] == short_hash(["What is q1?"])
    assert row["extra"] == {"date": "2023-03-28", "note": ""}
    assert "served" not in row and "repaired" not in row


def test_rows_may_name_their_models(put, bank):
    table = "id,model,answer\nq1,bard,B.\nq1,claude,C.\n7,bard,S.\n"
    ran = put("said.csv", table, "--bank", "mine")
    assert (ran.code, ran.out) == (0, "mine: 3 answers (bard, claude)\n")
    assert said(bank) == {"q1": ["B."], "7": ["S."]}
    assert said(bank, "claude") == {"q1": ["C."]}
    assert ran.lines[:2] == [
        "bard: 1 of 3 questions have no answer here; they are owed",
        "claude: 2 of 3 questions have no answer here; they are owed",
    ]
    row = {"id": "q1", "model": "bard", "answer": "B."}
    assert put("said.jsonl", as_lines(row)).out.endswith("; 1 rows were here already\n")


@pytest.mark.parametrize("model", ["", None])
def test_a_row_without_its_model_is_of_the_one_that_was_given(put, bank, model):
    if model is None:
        row = {"id": "q1", "answer": "One.", "model": None}
        assert put("said.jsonl", as_lines(row)).code == 0
    else:
        assert put("said.csv", "id,model,answer\nq1,,One.\n7,bard,S.\n").code == 0
    assert said(bank)["q1"] == ["One."]


def test_an_empty_answer_is_an_answer_and_told(put, bank):
    for name, content in {
        "said.txt": "# q1\n\n# long-02\nTwo.\n--- turn 2 ---\n# 7\nS.",
        "said.csv": sheet(CELLS[0], ["q1", "", ""], ["long-02", "Two.", ""], ["7", "S.", ""]),
        "said.jsonl": as_lines(
            {"id": "q1", "text": ""},
            {"id": "long-02", "turns": ["Two.", ""]},
            {**ROWS[2], "output": "S."},
        ),
    }.items():
        ran = put(name, content)
        assert ran.code == 0, ran.err
        assert ran.lines[0] == "bard: 2 answers with an empty text (q1, long-02), kept"
        assert said(bank) == {"q1": [""], "long-02": ["Two.", ""], "7": ["S."]}
    assert len(stored(bank)) == 3


def test_half_a_surrogate_is_replaced_and_counted(put, bank):
    row = {"id": "long-02", "turns": ["a \ud83d b", "\udc00 \U0001f600 \ud83d"], "by": "\ud83d"}
    assert put("said.jsonl", as_lines(row)).code == 0
    (row,) = stored(bank)
    assert row["turns"] == ["a \ufffd b", "\ufffd \U0001f600 \ufffd"]
    assert (row["repaired"], row["extra"]) == (3, {"by": "\ufffd"})


# -- what comes of it


def test_twice_adds_nothing_and_a_corrected_answer_is_a_new_row(put, bank):
    put("said.txt", TEXT)
    before = tree(bank / "answers")
    again = put("said.txt", TEXT)
    assert again.out == "mine: 3 answers (bard); 3 rows were here already\n"
    assert tree(bank / "answers") == before
    ran = put("said.txt", "# q1\nOne and a half.\n")
    assert ran.out == "mine: 1 answer (bard)\n"
    assert "owed" not in ran.err  # the others are here since the first time
    assert [row["turns"] for row in stored(bank) if row["question"] == "q1"] == [
        ["One."],
        ["One and a half."],
    ]
    assert len(stored(bank)) == 4


def test_the_report_shows_the_model_and_what_it_owes(put, bank, evalkit):
    ran = put("said.txt", "# q1\nAn answer.\n# 7\n\n")
    assert "bard: 1 of 3 questions have no answer here; they are owed" in ran.lines
    put("other.txt", TEXT, "--bank", "mine", "--model", "other")
    hashes = [short_hash((text,)) for text in ("An answer.", "One.")]
    rows = [review("q1", ("bard", "other"), (8, 9), answers=hashes)]
    write_lines(bank / "reviews/mine/judge.pair-scores.jsonl", rows)
    assert evalkit("report", "--bank", "mine", "--baseline", "other").code == 0
    found = json.loads((bank / "reports/mine.json").read_text())
    counted = [
        (row["model"], row["answers"], row["owed"], row["empty"]) for row in found["answers"]
    ]
    assert counted == [("bard", 2, 1, 1), ("other", 3, 0, 0)]
    assert (found["pairs"][0]["questions"], found["reviews"][0]["stale"]) == (1, 0)


def test_the_next_step_is_a_command_that_works(put, bank, evalkit):
    step = put("said.txt", TEXT).lines[-1].removeprefix("Next: evalkit ")
    assert evalkit(*step.split()).code == 0


def test_answers_to_a_bank_that_came_with_evalkit(put, bank):
    args = ("--bank", "evalkit80", "--model", "org/bard", "--json")
    ran = put("said.md", "# fermi-01\nAbout 30.\n", *args)
    assert ran.code == 0, ran.err
    owed = "org/bard: 79 of 80 questions have no answer here; they are owed"
    assert json.loads(ran.out) == {
        "schema": 1,
        "verb": "import",
        "status": "done",
        "files": ["answers/evalkit80/org__bard.jsonl"],
        "next": "evalkit report --bank evalkit80",
        "bank": "evalkit80",
        "questions": 0,
        "answers": 1,
        "reviews": 0,
        "new_rows": 1,
        "told": [owed],
    }
    assert not (bank / "questions/evalkit80.jsonl").exists()


# -- what is refused


def test_every_fault_of_a_text_at_once(refused):
    text = (
        "# long-2\nLost.\n# q1\nOne.\n--- turn 2 ---\nMore.\n## long-02\nTwo.\n# Q1\n# q1\n# 7x\n"
    )
    assert refused("said.txt", text) == [
        "said.txt:1: no question 'long-2' in the bank. Did you mean 'long-02'?",
        "said.txt:3: 2 turns, but question q1 has 1",
        "said.txt:7: turn 2 of question long-02 is missing; a line '--- turn 2 ---' begins it",
        "said.txt:10: bard answered question q1 at said.txt:3 already",
    ]


def test_a_slip_in_a_heading_does_not_hide_one_answer_in_another(refused):
    assert refused("said.txt", "# q1\nOne.\n# Long-O2\nTwo.\n") == [
        "said.txt:3: no question 'Long-O2' in the bank. Did you mean 'long-02'?"
    ]


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ("--- turn 3 ---\nx", "said.txt:3: turn 3 of question long-02, expected 2"),
        ("--- turn 1 ---\nx", "said.txt:3: turn 1 of question long-02, expected 2"),
        ("--- turn 2 ---\n--- turn 2 ---", "said.txt:4: turn 2 of question long-02, expected 3"),
    ],
)
def test_turns_out_of_order(refused, turns, told):
    assert refused("said.txt", f"# long-02\nTwo.\n{turns}\n")[0] == told


def test_text_above_the_first_answer(refused):
    what = "stands above the first answer, which begins with a line '# ID' of its question"
    assert refused("said.txt", "\nBard said:\nthis\n# q1\nOne.\n") == [f"said.txt:2: {what}"]
    assert refused("said.md", "Bard said nothing.") == [f"said.md:1: {what}"]


def test_every_fault_of_a_table_at_once(refused):
    cells = ["q1,One.,,", "long-O2,Two.,,", "7,Seven.,More.,", ",x,,", "q1,Again.,,claude", "7"]
    assert refused("said.csv", "\n".join(["id,answer_1,answer_2,model", *cells]) + "\n") == [
        "said.csv:5: the field 'id' is missing",
        "said.csv:7: has more or fewer cells than the header",
        "said.csv:3: no question 'long-O2' in the bank. Did you mean 'long-02'?",
        "said.csv:4: 2 turns, but question 7 has 1",
        "said.csv:6: an answer of 'claude', but --model says 'bard'",
    ]


def test_the_column_of_a_missing_turn_is_named(refused):
    assert refused("said.csv", "id,answer\nlong-02,Two.\n") == [
        "said.csv:2: turn 2 of question long-02 is missing; the column 'answer_2' holds it"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "ids,anser\nq1,x\n",
            ["1: no column 'id'. Rename 'ids'?", "1: no column 'answer'. Rename 'anser'?"],
        ),
        ("id,answer,id\nq1,x,q1\n", ["1: the column 'id' stands twice"]),
        ('id,answer\nq1,"x\n', ["2: not CSV: unexpected end of data"]),
        ('id,"answer\n', ["1: not CSV: unexpected end of data"]),
    ],
)
def test_a_table_that_is_none(refused, text, told):
    assert [line.removeprefix("said.csv:") for line in refused("said.csv", text)] == told


def test_every_fault_of_json_at_once(refused):
    rows = [
        *('{"id": "q1", "text": "a"', '{"id": true, "text": "a"}', '{"id": "q1"}'),
        *('{"id": "q1", "turns": []}', '{"id": "q1", "turns": ["a", 5]}', '{"id": 1.5, "text": 3}'),
        *(
            '{"id": "long-02", "answer": "Two."}',
            '{"id": 8, "text": ""}',
            '{"id": 7, "text": "S."}',
        ),
        *('{"id": "7", "text": "S."}', '{"id": "q1", "text": "", "model": ""}'),
    ]
    assert [
        line.removeprefix("said.jsonl:") for line in refused("said.jsonl", "\n".join(rows))
    ] == [
        "1:25: not valid JSON: expecting ',' delimiter",
        "2: 'id' should be a valid string, found true or false",
        "3: the field 'answer' is missing",
        "4: 'answer' is empty",
        "5: 'answer.1' should be a valid string, found a number",
        "6: 'id' should be a valid string, found a number",
        "6: 'answer' should be a valid list, found a number",
        "11: 'model' string should have at least 1 character",
        "7: turn 2 of question long-02 is missing; 'turns' is a list with a text for each",
        "8: no question '8' in the bank.",
        "10: bard answered question 7 at said.jsonl:9 already",
    ]


def test_an_item_of_an_array_is_named(refused):
    rows = [{"id": "q1", "text": "a"}, {"id": "q1", "text": "b"}]
    assert refused("said.json", json.dumps(rows)) == [
        "said.json: item 2: bard answered question q1 at said.json: item 1 already"
    ]


def test_what_is_called_json_and_is_none(refused):
    assert refused("said.jsonl", "\nid,answer\nq1,One.\n") == [
        "said.jsonl:2: expected an object {...} on each line, or one array of them"
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("said.txt", ""),
        ("said.md", "\ufeff\n \r\n"),
        ("said.csv", ""),
        ("said.csv", "id,answer\n"),
        ("said.jsonl", "\n"),
        ("said.json", "[]"),
    ],
)
def test_no_answers(refused, name, content):
    assert refused(name, content) == [f"{name}: no answers"]


@pytest.mark.parametrize("name", ["said.txt", "said.csv", "said.jsonl"])
def test_not_utf8(refused, name):
    start = {"said.txt": b"# q1\n", "said.csv": b"id,answer\n", "said.jsonl": b'{"id": "q1"}\n'}
    lines = refused(name, start[name] + b"q\xe9\n")
    assert any(line.startswith(f"{name}:2: not UTF-8 (byte 0xe9 at column 2)") for line in lines)
    assert refused(name, "# q1".encode("utf-16"))[0].startswith(f"{name}:1: is UTF-16")


def test_a_folder_or_nothing_in_the_place_of_the_file(bank, evalkit):
    assert evalkit("import", "answers", "questions", *BARD).lines == [
        "questions: is a folder, expected a file"
    ]
    assert evalkit("import", "answers", "gone.txt", *BARD).lines == [
        "gone.txt: no such file or directory"
    ]


# -- whose, and to which bank


@pytest.mark.parametrize("form", ["text", "commas", "lines"])
def test_whose_answers_they_are_must_be_said(refused, form):
    told = ["whose answers are these? Give --model NAME"]
    assert refused(*FORMS[form], "--bank", "mine") == told


def test_a_row_that_alone_names_no_model(refused):
    table = "id,model,answer\nq1,bard,B.\n7,,S.\n"
    assert refused("said.csv", table, "--bank", "mine") == [
        "said.csv:3: names no model, as other rows do"
    ]


def test_an_unknown_bank(refused):
    (told,) = refused("said.txt", TEXT, "--bank", "mime", "--model", "bard")
    assert told.startswith("no bank 'mime'. Did you mean 'mine'? There is: ")


def test_no_bank(refused):
    (told,) = refused("said.txt", TEXT, "--model", "bard")
    assert told.endswith("Give --bank NAME")


def test_a_model_that_no_file_can_be_called_after(refused):
    (told,) = refused("said.txt", TEXT, "--bank", "mine", "--model", "../x")
    assert told == "'../x' cannot be a name: it leads out of its folder"


@pytest.mark.parametrize("tool", sorted(set(names()) - {"answers"}))
def test_a_model_is_not_given_to_files_that_name_theirs(bank, evalkit, tool):
    before = tree(bank)
    ran = evalkit("import", tool, "theirs", "--bank", "new", "--model", "bard")
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines == [f"{tool} takes no --model. See: evalkit import --help"]
    assert tree(bank) == before


def test_the_help_tells_the_forms(evalkit):
    said = " ".join(evalkit("import", "--help").out.split())
    assert "'# ID'" in said and "'--- turn 2 ---'" in said and "--model NAME" in said
    assert answers.TURN.fullmatch("--- turn 2 ---")
