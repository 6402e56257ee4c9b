"""The front door: what a person sees who types something."""

import json

import pytest
from conftest import vicuna_folder


def test_no_argument_shows_three_steps_and_the_verbs(evalkit, tmp_path):
    ran = evalkit()
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) <= 13
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["evalkit", "demo"], ["1", "evalkit"], ["2", "evalkit"], ["3", "evalkit"]
    ]  # fmt: skip
    from evalkit.cli import verbs

    for verb in verbs.commands:
        assert f" {verb} " in ran.out
    assert list(tmp_path.iterdir()) == []


def test_every_step_of_the_first_screen_is_a_command_that_exists(evalkit):
    from evalkit.cli import verbs

    steps = [line.split() for line in evalkit().out.splitlines() if line[2:3].isdigit()]
    assert len(steps) == 3
    for _, program, verb, *rest in steps:
        assert program == "evalkit"
        options = {name for option in verbs.commands[verb].params for name in option.opts}
        assert {word for word in rest if word.startswith("--")} <= options


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            ["rport"],
            "no verb 'rport'. Did you mean 'report'? There is: answer, batches, chat, classify,",
        ),
        (["report", "--bnak", "x"], "no option '--bnak'. Did you mean '--bank'?"),
        (["report", "--bank"], "option '--bank' requires an argument."),
        (["import", "vicuna"], "missing argument 'PATH'. See: evalkit import --help"),
        (["import", "vicunna", "x"], "no format 'vicunna'. Did you mean 'vicuna'?"),
        (["import", "table", "x.csv"], "what shall the bank be called? Give --bank NAME"),
        (["report", "--bank", "smaple"], "no bank 'smaple'. Did you mean 'sample'?"),
        (["report", "-C", "nowhere"], "nowhere: no such folder"),
        (["report", "-C"], "option '-C' requires an argument. See: evalkit report --help"),
        (["import", "--csv"], "no option '--csv'. See: evalkit import --help"),
        (["-C", "x", "report"], "'-C' goes behind the verb. See: evalkit report --help"),
        (["questions", "chek"], "no verb 'chek'. Did you mean 'check'?"),
        (["questions", "list", "smaple"], "no bank 'smaple'. Did you mean 'sample'?"),
        (
            ["questions", "check", "--aginst", "x"],
            "no option '--aginst'. Did you mean '--against'? See: evalkit questions check --help",
        ),
        (
            ["questions", "-C", "x", "check"],
            "'-C' goes behind the verb. See: evalkit questions check --help",
        ),
        (
            ["questions", "contamination"],
            "missing argument 'FILE...'. See: evalkit questions contamination --help",
        ),
        (["report", "--raw"], "--raw goes with --csv. See: evalkit report --help"),
    ],
)
def test_a_slip_is_one_line_with_the_way_on(evalkit, tmp_path, args, told):
    ran = evalkit(*args)
    assert ran.code == 2
    assert len(ran.lines) == 1 and ran.lines[0].startswith(told), ran.err
    assert ran.err.startswith("evalkit: ") and ran.out == ""
    assert list(tmp_path.iterdir()) == []


def test_h_is_help(evalkit):
    assert evalkit("-h").out == evalkit("--help").out
    assert evalkit("report", "-h").out.startswith("Usage: evalkit report")


def test_a_group_of_verbs_shows_them(evalkit):
    ran = evalkit("questions")
    assert (ran.code, ran.err) == (0, "")
    for name in ("list", "check", "generate", "contamination"):
        assert f"  {name} " in ran.out


def test_open_without_a_browser_says_so(evalkit, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    ran = evalkit("report", "--open")
    assert ran.code == 0
    assert ran.lines[-1] == "no browser could be started; open reports/sample.html yourself"


def test_import_says_one_object_to_programs(evalkit, tmp_path_factory):
    source = vicuna_folder(tmp_path_factory.mktemp("source"))
    ran = evalkit("import", "vicuna", source, "--json")
    said = json.loads(ran.out)
    assert said == {
        "schema": 1,
        "verb": "import",
        "status": "done",
        "files": ["questions/vicuna80.jsonl"],
        "next": "evalkit report --bank vicuna80 --open",
        "bank": "vicuna80",
        "questions": 2,
        "answers": 4,
        "reviews": 2,
        "new_rows": 6,
        "told": ["scores read from the text: 2 strictly, 0 tolerantly"],
    }
    assert json.loads(evalkit("import", "vicuna", source, "--json").out)["new_rows"] == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheet_may_write_semicolons_or_tabs(evalkit, tmp_path, delimiter):
    lines = [["id", "category", "turn_1"], ["f1", "fermi", "Why, and how; and?"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
    (tmp_path / "bank.csv").write_text(text)
    assert evalkit("import", "table", "bank.csv", "--bank", "mine").code == 0
    row = json.loads((tmp_path / "questions" / "mine.jsonl").read_text())
    assert row["turns"] == ["Why, and how; and?"]


def test_a_category_that_is_filed_elsewhere_is_kept_and_told(evalkit, tmp_path):
    (tmp_path / "bank.csv").write_text("id,category,turns\nq1,客服,Why?\nq2,math,How?\n")
    args = ("import", "table", "bank.csv", "--bank", "mine", "--category-default", "generic")
    ran = evalkit(*args)
    assert (ran.code, ran.out) == (0, "mine: 2 questions\n")
    assert "question q1 filed under generic, no prompt knows '客服'" in ran.lines
    row = json.loads((tmp_path / "questions" / "mine.jsonl").read_text().splitlines()[0])
    assert (row["category"], row["extra"]) == ("generic", {"category": "客服"})


def test_a_bank_from_a_spreadsheet(evalkit, tmp_path):
    (tmp_path / "bank.csv").write_text(
        "\ufeffid,category,turn_1,turn_2,reference_1,owner\r\n"
        'f1,fermi,"How many, in all?",Why?,About 5,me\r\n'
        "w1,writing,Write.,,,\r\n"
    )
    ran = evalkit("import", "table", "bank.csv", "--bank", "mine")
    assert ran.code == 0, ran.err
    bank = (tmp_path / "questions" / "mine.jsonl").read_text()
    rows = [json.loads(line) for line in bank.splitlines()]
    assert rows == [
        {
            "id": "f1",
            "category": "fermi",
            "turns": ["How many, in all?", "Why?"],
            "reference": ["About 5"],
            "extra": {"owner": "me"},
        },
        {"id": "w1", "category": "writing", "turns": ["Write."]},
    ]
    assert evalkit("report", "--bank", "mine").code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id;category\nf1;fermi\n", "bank.csv:1: no column 'turns' (in CSV 'turn_1', ...)."),
        ("id,category,turn_1\nf1,fermi,\n", "bank.csv:2: 'turns' is empty"),
        ("id,category\nf1,fermi\n", "bank.csv:1: no column 'turns' (in CSV 'turn_1', ...)."),
        ("id,category,turn_1\nf1,fermi\n", "bank.csv:2: has more or fewer cells than the header"),
        ("id,category,turn_1\n,fermi,x\n", "bank.csv:2: the field 'id' is missing"),
        ('id,category,turn_1\nf1,fermi,"x\n', "not CSV: unexpected end of data"),
        ("id,category,turn_1\n", "bank.csv: no questions"),
        ("id,category,turn_1\nf1,fermi,x\nf1,fermi,y\n", "the id 'f1' stands at"),
    ],
)
def test_a_spreadsheet_that_is_no_bank(evalkit, tmp_path, text, told):
    (tmp_path / "bank.csv").write_text(text)
    ran = evalkit("import", "table", "bank.csv", "--bank", "mine")
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "questions").exists()
