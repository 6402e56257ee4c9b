"""evalkit questions check: every planted fault is found, a clean bank is not."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import question, tree, write_lines

from evalkit.questions.references import accepted_range, blocks
from evalkit.questions.similar import twins

CODE = "Count them.\n```python\ndef double(n):\n    return 2 * n\n```\n"
ASKED = [
    "Write a notice for the stairwell that asks neighbours to close the cellar door at night.",
    "How would a baker tell by ear alone whether a loaf is done, and what fools her?",
    "Plan a walk of two hours around a lake for a class in which one child uses a wheelchair.",
    "Why do old window panes seem thicker at the bottom, and what is the real reason?",
]
GEPLANTE = (
    "Why does milk boil over while water does not? Explain it to a cook who knows no physics."
)


def bank(folder, rows, name="mine"):
    return write_lines(folder / "questions" / f"{name}.jsonl", rows)


def clean():
    return [question(f"q{k}", turns=[text]) for k, text in enumerate(ASKED)]


def test_a_clean_bank_is_clean(evalkit, tmp_path):
    bank(tmp_path, clean())
    before = tree(tmp_path)
    ran = evalkit("questions", "check", "mine")
    assert (ran.code, ran.out, ran.err) == (0, "mine: 4 questions, nothing found\n", "")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"category": "astrology"}, "q9: no prompt knows the category 'astrology'"),
        ({"category": "math"}, "q9: no reference, which math needs for each turn"),
        ({"category": "coding"}, "q9: no reference, which coding needs for each turn"),
        ({"category": "fermi"}, "q9: no reference, which fermi needs for each turn"),
        (
            {"category": "math", "turns": [GEPLANTE, "And twice as much?"], "reference": ["18"]},
            "q9: 1 reference for 2 turns",
        ),
        ({"reference": ["a", "b"]}, "q9: 2 references for 1 turn"),
        ({"reference": [" "]}, "q9: the reference of turn 1 is empty"),
        ({"tests": ["assert True"]}, "q9: 1 test for 0 references"),
        (
            {"category": "fermi", "reference": ["About 300."]},
            "q9: the reference of turn 1 has no range that can be read, as in "
            "'Accepted range: 300 to 5,000'",
        ),
        (
            {"category": "fermi", "reference": ["Accepted range: 9,000 to 100"]},
            "q9: the accepted range of turn 1 goes from 9000 to 100",
        ),
        ({"turns": [GEPLANTE, "  "]}, "question 'q9' has an empty turn"),
        ({"turns": []}, "'turns' is empty"),
        ({"turns": ASKED[1:2]}, "q9: the same as q1 at questions/mine.jsonl:2"),
        (
            {"turns": [ASKED[0].upper().replace(".", "!")]},
            "q9: the same as q0 at questions/mine.jsonl:1",
        ),
        (
            {"turns": [ASKED[3].replace("old", "very old").replace("real", "true")]},
            "q9: 72% like q3 at questions/mine.jsonl:4",
        ),
        (
            {"turns": [f"{ASKED[2]} {GEPLANTE} Then list three things that may well go wrong."]},
            "q9: shares 100% of the shorter text with q2 at questions/mine.jsonl:3",
        ),
        ({"id": "q2"}, "the id 'q2' stands at questions/mine.jsonl:3 already"),
        ({"text": "x"}, "unknown field 'text'. Did you mean 'turns'?"),
    ],
)
def test_each_planted_fault_is_found_where_it_stands(evalkit, tmp_path, row, told):
    bank(tmp_path, [*clean(), question(**{"id": "q9", "turns": [GEPLANTE]} | row)])
    ran = evalkit("questions", "check", "mine", "--run-tests")
    assert ran.code == 1
    first, last = ran.out.splitlines()[:-1], ran.out.splitlines()[-1]
    assert first == [f"questions/mine.jsonl:5: {told}"]
    assert re.fullmatch(r"mine: [45] questions, 1 finding", last)


def test_all_faults_of_a_malformed_bank_at_once(evalkit, tmp_path):
    file = bank(tmp_path, clean())
    file.write_text(
        file.read_text() + '{"id": "x"\n{"id": "y", "category": "generic"}\n["no row"]\n'
        '{"id": "z", "category": "math", "turns": ["What is six times nine, in base thirteen?"]}\n'
    )
    ran = evalkit("questions", "check", "mine")
    assert ran.code == 1
    places = [line.split(": ")[0] for line in ran.out.splitlines()]
    assert places == [
        "questions/mine.jsonl:5:11",
        "questions/mine.jsonl:6",
        "questions/mine.jsonl:7",
        "questions/mine.jsonl:8",
        "mine",
    ]


def test_a_file_that_cannot_be_read_at_all_is_the_users_mistake(evalkit, tmp_path):
    bank(tmp_path, clean()).write_bytes("{}".encode("utf-16"))
    for args, told in (
        (["mine"], "is UTF-16, expected UTF-8"),
        (["nowhere"], "no bank 'nowhere'"),
        (["sample", "--against", "nowhere"], "no bank 'nowhere'"),
        (["gone.jsonl"], "gone.jsonl: no such file"),
    ):
        ran = evalkit("questions", "check", *args)
        assert (ran.code, ran.out, len(ran.lines)) == (2, "", 1)
        assert told in ran.err


@pytest.mark.parametrize(
    ("reference", "test", "told"),
    [
        (CODE, "assert double(3) == 6", None),
        (CODE, "assert double(3) == 7", "AssertionError (line 1 of the test)"),
        (CODE, "x = 1\nassert double(4) == 9, 'four'", "AssertionError: four (line 2 of the test)"),
        (
            "```python\ndef double(n)\n```",
            "pass",
            "SyntaxError: expected ':' (line 1 of the reference)",
        ),
        ("```python\n\nboom()\n```", "pass", "NameError: name 'boom' is not defined (line 2 of"),
        ("The sum is 42.", "assert f'{6 * 7}.' in reference", None),
        ("The sum is 41.", "assert f'{6 * 7}.' in reference", "AssertionError"),
        ("```sql\nselect 1\n```", "assert blocks == {'sql': 'select 1\\n'}", None),
        ("Accepted range: 10 to 2 thousand", "assert accepted == (10, 2000)", None),
        ("No range.", "assert accepted is None", None),
        (CODE, "import sys; sys.exit(3)", "SystemExit: 3 (line 1 of the test)"),
        (CODE, "import os; os._exit(3)", "ended before it was through (exit code 3)"),
        (CODE, "bytearray(8 << 30)", "MemoryError (line 1 of the test)"),
        (CODE, "import os; os._exit(0)", "ended before it was through (exit code 0)"),
        (CODE, "print('passed'); import sys; print('passed', file=sys.stderr); boom", "NameError"),
        (CODE, "raise ValueError('one\\n: 1 question, nothing found')", "ValueError: one : 1 qu"),
        (CODE, "import os; os.kill(os.getpid(), 9)", "ended before it was through (exit code -9"),
        (CODE, "open('x', 'wb').write(bytes(65 << 20))", "OSError: [Errno 27] File too large"),
        (CODE, "def f(:", "SyntaxError: invalid syntax (line 1 of the test)"),
        (CODE.replace("\n", "\r\n"), "assert double(3) == 6", None),
        (CODE.replace("```python", "  ~~~py title=x").replace("```", "  ~~~"), "double(3)", None),
        (
            "```Python\nfrom __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass A:\n    x: int\n```",
            "assert A(1).x == 1",
            None,
        ),
        ("甲：答案：18 小时", "assert '答案：18 小时' in reference", None),
    ],
)
def test_a_reference_that_fails_its_test_is_found(evalkit, tmp_path, reference, test, told):
    bank(tmp_path, [question(turns=[GEPLANTE], reference=[reference], tests=[test])])
    ran = evalkit("questions", "check", "mine", "--run-tests")
    start = "questions/mine.jsonl:1: q1: the reference of turn 1 fails: "
    if told is None:
        assert (ran.code, ran.out) == (0, "mine: 1 question, nothing found\n")
    else:
        assert ran.code == 1 and ran.out.startswith(start + told), ran.out


def test_the_test_of_a_later_turn_belongs_to_its_own_reference(evalkit, tmp_path):
    tests = ["assert double(1) == 2", "assert double(1) == 3"]
    second = CODE.replace("2 * n", "3 * n")
    row = question(turns=[GEPLANTE, "And now three times."], reference=[CODE, second])
    bank(tmp_path, [row | {"tests": tests}])
    assert evalkit("questions", "check", "mine", "--run-tests").code == 0
    bank(tmp_path, [row | {"tests": tests[::-1]}])
    ran = evalkit("questions", "check", "mine", "--run-tests")
    assert re.findall(r"turn (\d) fails", ran.out) == ["1", "2"]


def test_a_test_that_never_ends_is_ended_with_all_that_it_started(evalkit, tmp_path, monkeypatch):
    monkeypatch.setattr("evalkit.questions.references.SECONDS", 1)
    alive = tmp_path / "alive"
    child = f"import time, pathlib\nwhile 1: pathlib.Path({str(alive)!r}).touch(); time.sleep(.05)"
    test = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
    bank(tmp_path, [question(turns=[GEPLANTE], reference=["x"], tests=[f"{test}time.sleep(99)"])])
    ran = evalkit("questions", "check", "mine", "--run-tests")
    assert "fails: still running after 1 s" in ran.out
    assert alive.exists()
    alive.unlink()
    time.sleep(0.3)
    assert not alive.exists()


def test_nobody_waits_for_a_hanging_test_who_does_not_want_to(tmp_path):
    pids = tmp_path / "pids"
    test = f"import os, time\nprint(os.getpid(), file=open({str(pids)!r}, 'a'))\ntime.sleep(99)"
    row = question(turns=[GEPLANTE], reference=["x"], tests=[test])
    bank(tmp_path, [row | {"id": f"q{k}", "turns": [f"{k} {ASKED[k]}"]} for k in range(4)])
    command = [sys.executable, "-m", "evalkit", "questions", "check", "mine", "--run-tests"]
    started = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(100):
        time.sleep(0.1)
        if pids.exists() and pids.read_text().endswith("\n"):
            break
    time.sleep(0.3)
    started.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, said = started.communicate(timeout=15)
    assert (started.returncode, said.strip()) == (130, b"evalkit: interrupted")
    assert time.monotonic() - start < 10
    children = pids.read_text().split()
    assert children
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_test_that_was_just_being_started_is_ended_with_the_others():
    from evalkit.questions.references import _Running

    running = _Running()
    running.end()
    late = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"],
                            start_new_session=True)  # fmt: skip
    running.add(late)
    assert late.returncode == -signal.SIGKILL


def test_code_of_a_bank_of_your_own_runs_only_when_asked(evalkit, tmp_path):
    trace = tmp_path / "trace"
    test = f"open({str(trace)!r}, 'w')"
    bank(tmp_path, [question(turns=[GEPLANTE], reference=["x"], tests=[test])])
    ran = evalkit("questions", "check", "mine")
    assert (ran.code, trace.exists()) == (0, False)
    assert ran.lines == ["mine: 1 test not run, since a test is code; --run-tests runs them"]
    assert evalkit("questions", "check", "mine", "--run-tests").code == 0
    assert trace.exists()


def test_a_test_gets_no_key_of_ours(evalkit, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    test = "import os; assert 'OPENAI_API_KEY' not in os.environ, os.environ"
    bank(tmp_path, [question(turns=[GEPLANTE], reference=["x"], tests=[test])])
    assert evalkit("questions", "check", "mine", "--run-tests").code == 0


def test_what_a_second_bank_has_too(evalkit, tmp_path):
    bank(tmp_path, clean())
    bank(tmp_path, [question("p1", turns=[ASKED[1].lower()]), question("p2")], "theirs")
    ran = evalkit("questions", "check", "mine", "--against", "theirs")
    assert ran.code == 1
    assert ran.out.splitlines()[0] == (
        "questions/mine.jsonl:2: q1: the same as p1 at questions/theirs.jsonl:1"
    )
    assert len(ran.out.splitlines()) == 2
    bank(tmp_path, [question("p2", turns=[GEPLANTE])], "theirs")
    assert evalkit("questions", "check", "mine", "--against", "theirs").code == 0


def test_faults_of_the_second_bank_are_no_all_clear(evalkit, tmp_path):
    bank(tmp_path, clean())
    write_lines(tmp_path / "mt.jsonl", [{"question_id": 1, "category": "x", "turns": ASKED[:1]}])
    for args in (["--against", "mt.jsonl"], ["--against", "empty.jsonl"]):
        (tmp_path / "empty.jsonl").write_text("\n")
        ran = evalkit("questions", "check", "mine", *args)
        assert (ran.code, ran.out) == (2, "")
        assert ran.lines[0].startswith(args[1])


def test_a_bank_is_not_compared_with_itself(evalkit, tmp_path):
    bank(tmp_path, clean())
    for args in (
        ["mine", "--against", "mine"],
        ["mine", "--against", "questions/mine.jsonl"],
        ["./questions/mine.jsonl", "--against", "mine"],
    ):
        assert evalkit("questions", "check", *args).code == 0


def test_near_duplicates_are_one_line_a_question(evalkit, tmp_path):
    form = (
        "How many {} does a village baker of about fifty need for his {} loaves in one long night?"
    )
    names = ["trays", "sacks", "eggs", "ovens", "coins"]
    bank(tmp_path, [question(f"q{k}", turns=[form.format(n, n)]) for k, n in enumerate(names)])
    lines = evalkit("questions", "check", "mine").out.splitlines()
    assert len(lines) == 5 and lines[4] == "mine: 5 questions, 4 findings"
    assert lines[0].endswith("like q0 at questions/mine.jsonl:1")
    assert re.search(r"like q\d at questions/mine.jsonl:\d, and like 3 more$", lines[3])


def test_a_short_text_is_not_near_every_longer_one():
    long = "Write a letter to a baker who has forgotten the cake for the third time in one summer."
    assert list(twins([long, "Write a letter to a baker"])) == []


def test_findings_stand_in_the_order_of_the_file(evalkit, tmp_path):
    rows = [question(f"q{k}", turns=[text], category="math") for k, text in enumerate(ASKED)]
    rows[2] = {"id": "x"}
    rows.append(rows[0] | {"id": "q9"})
    bank(tmp_path, rows)
    lines = evalkit("questions", "check", "mine").out.splitlines()[:-1]
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers) and len(set(numbers)) == 5


def test_a_line_break_in_a_name_does_not_make_a_line(evalkit, tmp_path):
    row = question("a\nmine: 1 question, nothing found", turns=[GEPLANTE], category="math\x1b[2J")
    bank(tmp_path, [row])
    for verb in (["check", "mine"], ["list"], ["list", "mine"]):
        out = evalkit("questions", *verb).out
        assert not any(line == "mine: 1 question, nothing found" for line in out.splitlines())
        assert "\x1b" not in out


def test_a_bank_can_be_a_file_anywhere(evalkit, tmp_path):
    bank(tmp_path, clean())
    write_lines(tmp_path / "far" / "x.jsonl", [question("p", turns=ASKED[2:3])])
    ran = evalkit("questions", "check", "far/x.jsonl", "--against", "questions/mine.jsonl")
    assert ran.code == 1
    assert ran.out.startswith("far/x.jsonl:1: p: the same as q2 at questions/mine.jsonl:3\n")
    assert evalkit("questions", "check", "far/gone.jsonl").code == 2
    assert "generic" in evalkit("questions", "list", "far/x.jsonl").out
    ran = evalkit("questions", "contamination", "--bank", "far/x.jsonl", "questions/mine.jsonl")
    assert ran.code == 1 and ran.out.startswith("far/x.jsonl in 1 file")
    rows = [question("other", turns=[GEPLANTE], language="zh")]
    write_lines(tmp_path / "far" / "x-zh.jsonl", rows)
    ran = evalkit("questions", "check", "./far/x.jsonl", "far/x-zh.jsonl")
    assert ran.code == 1 and "p: stands in no row of far/x-zh.jsonl" in ran.out


def test_a_broken_bank_is_counted_as_far_as_it_goes(evalkit, tmp_path):
    bank(tmp_path, [*clean(), {"id": "x"}])
    ran = evalkit("questions", "list")
    assert ran.code == 1
    assert [line.split()[:2] for line in ran.out.splitlines()][5] == ["mine", "4"]
    assert "mine: 2 faults, counted without what they are in" in ran.lines
    assert ran.lines[-1] == "Next: evalkit questions check"


def test_the_next_step_can_be_typed_from_here(evalkit, tmp_path):
    bank(tmp_path / "far away", clean(), "my bank")
    ran = evalkit("questions", "list", "my bank", "-C", "far away")
    assert ran.lines == ["Next: evalkit questions check 'my bank' -C 'far away'"]


@pytest.mark.parametrize("name", ["a?b", "a%b", "org/name", "ein Name"])
def test_a_bank_of_any_name_can_be_listed(evalkit, tmp_path, name):
    from evalkit.records import Question
    from evalkit.workspace import SHIPPED_BANKS, Workspace

    rows = [Question.model_validate(row) for row in clean()]
    Workspace(tmp_path).add_questions(name, rows)
    ran = evalkit("questions", "list", "--json")
    assert ran.code == 0
    (own,) = set(json.loads(ran.out)["banks"]) - set(SHIPPED_BANKS)
    assert evalkit("questions", "check", own).code == 0


def test_files_that_are_no_banks_are_none(evalkit, tmp_path):
    for name in (".#mine.jsonl", "._mine.jsonl", "100%.jsonl"):
        (tmp_path / "questions").mkdir(exist_ok=True)
        (tmp_path / "questions" / name).write_text("{")
    ran = evalkit("questions", "list")
    assert ran.code == 0
    assert ran.lines[1:] == ["questions/100%.jsonl: no name for a bank, so it is none"]
    long = tmp_path / "questions" / f"{'x' * 121}.jsonl"
    long.write_text("{")
    ran = evalkit("questions", "list")
    assert ran.code == 0
    assert ran.lines[2] == f"questions/{long.name}: no name for a bank, so it is none"


def zh(id, text, **more):
    return question(id, turns=[text], language="zh", **more)


def test_two_languages_of_one_bank_have_the_same_ids(evalkit, tmp_path):
    english = [question("a", turns=ASKED[:1]), question("b", turns=ASKED[1:3], version="2")]
    english += [question("d", turns=["Quite another one, of which more later on."])]
    bank(tmp_path, [*english, question("e", turns=ASKED[3:])])
    rows = [
        zh("b", "请给楼道写一张告示，提醒邻居晚上关好地下室的门。", version="1"),
        zh("c", "面包师怎样只凭耳朵判断面包烤好了？", category="math", reference=["听声音"]),
        question("d", turns=["Still in English here, although the bank is called Chinese."]),
        zh("e", "为什么旧窗户的玻璃看起来下面厚一些？", category="writing"),
    ]
    bank(tmp_path, rows, "mine-zh")
    expected = [
        "questions/mine.jsonl:1: a: stands in no row of mine-zh",
        "questions/mine-zh.jsonl:2: c: stands in no row of mine",
        "questions/mine-zh.jsonl:1: b: its version is '1', but '2' at questions/mine.jsonl:2",
        "questions/mine-zh.jsonl:1: b: has 1 turn, but 2 at questions/mine.jsonl:2",
        "questions/mine-zh.jsonl:3: d: its language is 'en' in both banks",
        "questions/mine-zh.jsonl:4: e: its category is 'writing', but 'generic' at "
        "questions/mine.jsonl:4",
    ]
    for args in (["mine"], ["mine-zh"], ["mine", "mine-zh"]):
        ran = evalkit("questions", "check", *args)
        assert ran.code == 1
        assert [line for line in ran.out.splitlines() if line.startswith("questions")] == expected


def test_another_bank_that_is_broken_is_not_in_the_way(evalkit, tmp_path):
    bank(tmp_path, clean())
    (tmp_path / "questions" / "broken.jsonl").write_bytes("{}".encode("utf-16"))
    (tmp_path / "questions" / "mine-zh.jsonl").write_bytes("{}".encode("utf-16"))
    (tmp_path / "questions" / "folder.jsonl").mkdir()
    assert evalkit("questions", "check", "mine").code == 0
    assert evalkit("questions", "check").code == 2
    ran = evalkit("questions", "list")
    assert ran.code == 1 and "mine " in ran.out
    assert [line.split(":")[0] for line in ran.lines[:3]] == ["broken", "folder", "mine-zh"]


def test_a_language_may_have_a_region(evalkit, tmp_path):
    bank(tmp_path, clean())
    row = question("q0", turns=["Escreva um aviso para os vizinhos fecharem a porta da adega."])
    bank(tmp_path, [row | {"language": "pt-BR"}], "mine-pt-BR")
    ran = evalkit("questions", "check", "mine-pt-BR")
    assert ran.code == 1 and "q1: stands in no row of mine-pt-BR" in ran.out


def test_a_bank_with_a_dash_is_no_translation(evalkit, tmp_path):
    bank(tmp_path, clean())
    bank(tmp_path, [question("other", turns=[GEPLANTE])], "mine-2")
    bank(tmp_path, [question("other", turns=[GEPLANTE])], "mine-zh")  # English, whatever its name
    assert evalkit("questions", "check", "mine", "mine-2", "mine-zh").code == 0


def test_check_says_one_object_to_programs(evalkit, tmp_path):
    bank(tmp_path, [question(category="math", turns=[GEPLANTE])])
    ran = evalkit("questions", "check", "mine", "--json")
    said = json.loads(ran.out)
    assert ran.code == 1 and said["verb"] == "questions check"
    what = "q1: no reference, which math needs for each turn"
    finding = {"where": "questions/mine.jsonl:1", "what": what}
    assert said["banks"] == {"mine": {"questions": 1, "findings": [finding], "tests_not_run": 0}}


def test_list_counts(evalkit, tmp_path):
    rows = [
        question("a", turns=["One two three."], reference=["r"], checklist=["c"]),
        question("b", turns=["One two.", "three four five"], category="math"),
        question("c", turns=["一二三四五六七。"], category="math", language="zh"),
    ]
    bank(tmp_path, rows)
    said = json.loads(evalkit("questions", "list", "mine", "--json").out)["banks"]["mine"]
    parts = said.pop("by_category")
    assert said == {
        "name": "mine",
        "questions": 3,
        "languages": {"en": 2, "zh": 1},
        "categories": {"generic": 1, "math": 2},
        "follow_ups": 1,
        "references": 1,
        "tests": 0,
        "checklists": 1,
        "shortest": 3,
        "median": 5,
        "longest": 7,
        "unit": "words",
    }
    assert [part["name"] for part in parts] == ["generic", "math"]
    assert (parts[1]["questions"], parts[1]["unit"]) == (2, "characters")
    lines = evalkit("questions", "list", "mine").out.splitlines()
    assert [line.split()[0] for line in lines] == ["category", "generic", "math", "all"]
    assert lines[-1].split() == ["all", "3", "en,", "zh", "1", "1", "5", "words", "(3-7)"]
    names = [line.split()[0] for line in evalkit("questions", "list").out.splitlines()]
    assert names == ["bank", "cars-en", "cars-zh", "evalkit80", "evalkit80-zh", "mine", "sample"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Accepted range: 100,000 to 1,500,000 umbrellas", (1e5, 1.5e6)),
        ("Accepted range: 1.5 million to 2 billion litres", (1.5e6, 2e9)),
        ("Accepted range: 3e-4 to 2e3 m", (3e-4, 2e3)),
        ("Accepted range: 20 kg to 90 kg", (20, 90)),
        ("可接受范围：15 万到 1.2 亿 把", (15e4, 1.2e8)),
        ("可接受范围：300 到 900 个", (300, 900)),
        ("可接受范围：1万亿至3万亿", (1e12, 3e12)),
        ("**Accepted range:** 500–8,000 t", (500, 8000)),
        ("Accepted Range: about $20 to $30", (20, 30)),
        ("accepted range: 1 to 2 million", (1e6, 2e6)),
        ("Accepted range: 800 to 2 million", (800, 2e6)),
        ("可接受范围：约 3 到 5 万 把", (3e4, 5e4)),
        ("Accepted range: 20k to 30k", None),
        ("Accepted range: 20 to 400km", None),
        ("Accepted range: 1.5 to 2.5m", None),
        ("Accepted range: 300 to 500k", None),
        ("Accepted range: 50 km to 80km", None),
        ("可接受范围：3千到5千", None),
        ("可接受范围：1百万到2百万", None),
        ("Somewhere between 3 and 4", None),
        ("Accepted range: some to many", None),
    ],
)
def test_an_accepted_range_is_read(text, expected):
    assert accepted_range(f"1. A chain.\n{text}\n") == pytest.approx(expected)


def test_the_blocks_of_a_language_are_one_program():
    text = "```python\na = 1\n```\nthen\n```sql\nselect 1\n```\n```python\nb = 2\n```"
    assert blocks(text) == {"python": "a = 1\nb = 2\n", "sql": "select 1\n"}


def test_two_questions_with_one_stock_sentence_are_not_alike():
    stock = "Show each of your estimates, multiply them and say how far off you may be."
    bees = f"How many flowers does a bee visit on a day in May? {stock}"
    bread = f"What does the bread eaten in a hospital of 500 beds in a year weigh? {stock}"
    assert list(twins([bees, bread])) == []
    assert (
        len(list(twins([bees, bees.replace("a bee", "one bee").replace("in May", "in June")]))) == 1
    )


def test_alike_in_chinese():
    one = "请给楼道写一张告示，提醒邻居晚上关好地下室的门，语气要客气。"
    (pair,) = twins(
        [one, one.replace("晚上", "夜里"), "请给老师写一封信，说明孩子为什么请假三天。"]
    )
    assert (pair.one, pair.other) == (1, 0) and 0.65 < pair.likeness < 1


def test_many_texts_are_compared_in_steps():
    many = [f"word{k} word{k + 1} word{k + 2} word{k + 3}" for k in range(0, 5000, 4)]
    again = [3, 499, 500, 999, 1000, 1100]
    found = [(pair.one, pair.other) for pair in twins([*many, *(many[k] for k in again)])]
    assert found == list(zip(range(1250, 1256), again, strict=True))
    backwards = [(pair.one, pair.other) for pair in twins(many, [many[k] for k in again])]
    assert backwards == list(zip(again, range(6), strict=True))
    assert [(p.one, p.other) for p in twins(many[600:602], many)] == [(0, 600), (1, 601)]
    assert list(twins([], [])) == [] and list(twins(["a"], [])) == []
