"""evalkit questions generate: what is good in a reply is taken, what is not is refused and told."""

import json
from contextlib import contextmanager

import pytest
from chat_server import Behaviour, serving
from conftest import ROOT, question, tree, write_lines

from evalkit.errors import BadFile
from evalkit.prompts import GeneratePrompt, fill
from evalkit.questions.generate import Drafts
from evalkit.records import Question
from evalkit.yamlfile import load

PROMPT = load(ROOT / "prompts" / "generate" / "question.yaml", GeneratePrompt)

SUBJECTS = [
    "How many letters does a postwoman in a hill village put into boxes with one hand in a year?",
    "What do all the keys hanging in the porter's lodge of a clinic with 300 rooms weigh together?",
    "A tailor sweeps up the threads of a week. How long would they be, laid end to end, roughly?",
    "Estimate how much salt the gritting lorry of a small town strews on its roads in one winter.",
    "How many times has the handle of your school's front door been pressed since it was built?",
    "How much bread is thrown away each Saturday night by the bakeries of a town of 40,000 people?",
    "Roughly how many metres of rope does a circus with one tent knot and unknot in a season?",
]


def written(turn, **more):
    return {
        "turns": [turn],
        "reference": ["1. Ten a day.\nAccepted range: 1,000 to 9,000"],
        "checklist": ["Names each factor", "Gives a range", "Multiplies right"],
        "tests": ["assert accepted[0] < 3650 < accepted[1]"],
        **more,
    }


def said(*items):
    return f"Here they are:\n```json\n{json.dumps(list(items), ensure_ascii=False)}\n```\nEnjoy!"


def drafts(wanted=2, taken=(), category="fermi", language="en"):
    known = list(PROMPT.guidance)
    return Drafts(PROMPT, category, wanted, language, "scripted", list(taken), known)


@contextmanager
def saying(*replies):
    """A chat service that says these texts one after the other, and the last of them for ever."""
    left = list(replies)
    with serving(Behaviour(text=lambda _: left.pop(0) if len(left) > 1 else left[0])) as server:
        yield server


def test_a_model_is_asked_until_all_are_there(evalkit, tmp_path):
    first = said(*map(written, SUBJECTS[:3]), written(SUBJECTS[0].upper()), {"turns": "no list"})
    with saying(first, "I am sorry.", said(*map(written, SUBJECTS[3:])), "never said") as server:
        args = ("--category", "fermi", "--n", 6, "--bank", "mine")
        ran = evalkit("questions", "generate", *args, "--model", f"{server.url}#scripted")
    assert ran.code == 0, ran.err
    rows = [json.loads(row) for row in (tmp_path / "questions/mine.jsonl").read_text().splitlines()]
    assert [row["turns"] for row in rows] == [[turn] for turn in SUBJECTS[:6]]
    assert {row["source"] for row in rows} == {"scripted"}
    assert ran.out == "mine: 6 of 6 fermi questions, 6 new, 4 refused\n"
    texts = [call.body["messages"][-1]["content"] for call in server.calls]
    assert [text.split(" new")[0] for text in texts] == ["Write 5", "Write 3", "Write 3"]
    assert SUBJECTS[0] not in texts[0] and SUBJECTS[0] in texts[1] and SUBJECTS[2] in texts[2]
    whys = [line for line in ran.lines if line.startswith("refused: ")]
    assert whys[0].startswith(f"refused: the same as {rows[0]['id']}")
    assert whys[1].startswith("refused: 'turns' should be a list, found text")
    assert whys[2].startswith("refused: no JSON object with turns in the reply")


def test_asking_ends_where_it_leads_nowhere(evalkit, tmp_path):
    with saying("No.") as server:
        args = ("--category", "fermi", "--n", 6, "--bank", "mine")
        ran = evalkit("questions", "generate", *args, "--model", f"{server.url}#scripted")
    assert ran.code == 1
    assert len(server.calls) == 6 and not (tmp_path / "questions").exists()


def test_a_model_that_cannot_be_asked_leaves_nothing(evalkit, tmp_path):
    with serving(Behaviour(key="sk-right")) as server:
        args = ("--category", "fermi", "--model", f"{server.url}#scripted")
        ran = evalkit("questions", "generate", *args)
    assert ran.code == 2 and len(server.calls) == 1
    assert any("wants a key (401)" in line for line in ran.lines), ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_ours_is_not_the_models_to_say():
    found = drafts()
    ours = {"id": "x", "category": "math", "language": "tlh", "source": "me", "version": "9"}
    found.take(said(written(SUBJECTS[0], **ours)))
    (made,) = found.questions
    assert (made.category, made.language, made.source) == ("fermi", "en", "scripted")
    assert made.id.startswith("fermi-") and made.version == "1"


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (written(SUBJECTS[0], reference=[]), "no reference, which fermi needs for each turn"),
        (written(SUBJECTS[0], reference=["About 3000."]), "has no range that can be read"),
        (written(SUBJECTS[0], checklist=[]), "0 points in its checklist, at least 3"),
        (written(SUBJECTS[0], turns=[SUBJECTS[0], " "]), "has an empty turn"),
        (written(SUBJECTS[0], turns=[]), "'turns' is empty"),
        (
            written(SUBJECTS[0], turns=[SUBJECTS[0], "And why is it so?"]),
            "1 reference for 2 turns",
        ),
        (written(SUBJECTS[0], tests=["a", "b"]), "2 tests for 1 reference"),
        (
            written(SUBJECTS[0], checklist="short"),
            "'checklist' should be a list, found text",
        ),
        (written(SUBJECTS[1].replace("a clinic", "the clinic")), "like old"),
        (written(5), "turns.0"),
        ({"turns": None}, "'turns' should be a list"),
        (written("x \ud83d y"), "half of a character"),
        (written("?!"), "turn 1 has no words"),
        (written(SUBJECTS[0], checklist=["a", " ", "b"]), "a point of the checklist is empty"),
        (written(SUBJECTS[0], checklist=["a", "b"]), "2 points in its checklist, at least 3"),
    ],
)
def test_what_is_refused_says_why(item, why):
    found = drafts(taken=[Question.model_validate(question("old", turns=SUBJECTS[1:2]))])
    found.take(said(item))
    assert found.questions == []
    (refused,) = found.refused
    assert why in refused.why


@pytest.mark.parametrize(
    "reply",
    [
        said(*map(written, SUBJECTS[:2])),
        "\n".join(json.dumps(written(text)) for text in SUBJECTS[:2]),
        json.dumps({"questions": [written(text) for text in SUBJECTS[:2]]}),
        json.dumps([written(text) for text in SUBJECTS[:3]])[:-40],
        said(*map(written, SUBJECTS[:2])).replace("\\n", "\n"),
        'Like {this} or {"that": 1}:\n' + said(*map(written, SUBJECTS[:2])),
    ],
    ids=["fenced", "lines", "inside an object", "cut short", "raw line breaks", "other braces"],
)
def test_every_whole_question_of_a_reply_is_found(reply):
    found = drafts(wanted=9)
    found.take(reply)
    assert [q.turns[0] for q in found.questions] == SUBJECTS[:2]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said(written(SUBJECTS[0]))[:-30], "not valid JSON: unterminated string"),
        (said(written(SUBJECTS[0]))[:90], "not valid JSON: unterminated string"),
        (said(written(SUBJECTS[0])).replace("How many", 'How "many"'), "not valid JSON: expecting"),
        (said(written(SUBJECTS[0])).replace('"', "'"), "not valid JSON: expecting property name"),
    ],
    ids=["cut short", "cut in a text", "inner quotes", "single quotes"],
)
def test_a_broken_question_is_counted_and_told(reply, why):
    found = drafts()
    found.take(reply)
    (refused,) = found.refused
    assert refused.why.startswith(why) and "line" in refused.why


def test_what_models_get_wrong_most_often_is_mended():
    text = said(written(SUBJECTS[0]), written(SUBJECTS[1] + " (say \\sqrt{2})"))
    text = text.replace("\\\\", "\\").replace('"], "tests"', '",], "tests"').replace("}]", "},]")
    assert "\\s" in text and ",]" in text
    found = drafts()
    found.take(text)
    assert [q.turns[0] for q in found.questions] == [SUBJECTS[0], SUBJECTS[1] + " (say \\sqrt{2})"]
    assert found.refused == []


def test_the_prompt_shows_each_question_once_and_ends_somewhere():
    rows = [question(f"q{k}", turns=[f"Question number {k % 200} of many"]) for k in range(400)]
    taken = [Question.model_validate(row | {"category": "fermi"}) for row in rows]
    others = [{"category": "math"}, {"category": "fermi", "language": "zh"}]
    strange = [question(f"x{k}", turns=["Not of this kind"]) | o for k, o in enumerate(others)]
    taken += [Question.model_validate(row) for row in strange]
    text = drafts(taken=taken).request().messages[-1].text
    assert text.count("- Question number") == 100 and "Not of this kind" not in text
    assert "- Question number 199 of" in text and "- Question number 99 of" not in text


def test_a_category_that_no_judge_knows_is_refused():
    found = Drafts(PROMPT, "fermi", 1, "en", "scripted", [], ["math"])
    found.take(said(written(SUBJECTS[0])))
    assert found.refused[0].why == "no prompt knows the category 'fermi'"


def test_no_more_are_taken_than_wanted():
    found = drafts(wanted=1)
    found.take(said(*map(written, SUBJECTS[:3])))
    assert len(found.questions) == 1 and found.request() is None
    assert [refused.why for refused in found.refused] == ["there are as many as were wanted"] * 2


def test_code_of_a_reply_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    code = f"```python\nopen({str(trace)!r}, 'w')\n```\nAccepted range: 1 to 2"
    found = drafts()
    found.take(said(written(SUBJECTS[0], reference=[code], tests=[f"open({str(trace)!r}, 'w')"])))
    assert len(found.questions) == 1 and not trace.exists()


@pytest.mark.parametrize("category", PROMPT.guidance)
def test_the_prompt_says_what_the_category_needs(category):
    text = drafts(category=category, language="zh").request().messages[-1].text
    assert f'Write 2 new questions of the category "{category}" in Chinese.' in text
    assert PROMPT.guidance[category].split(".")[0] in text
    assert ("Python that raises" in text) == (category in ("fermi", "coding", "math"))
    assert ("Accepted range" in text) == (category == "fermi")
    assert ("```python block, standard" in text) == (category == "coding")
    assert "exist already" not in text and "{" not in text and "\n\n\n" not in text


def test_a_value_is_never_a_template():
    old = question("old", turns=["{{ 7 * 7 }} {% for x in y %} {{ count.__class__ }}, as it is"])
    taken = [Question.model_validate(old | {"category": "fermi"})]
    text = drafts(taken=taken).request().messages[-1].text
    assert "- {{ 7 * 7 }} {% for x in y %} {{ count.__class__ }}, as it is" in text


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ cuont }}", "the template has no value for 'cuont'. Did you mean 'count'?"),
        ("{% if %}", "line 1 of the template: Expected an expression"),
        ("{{ count | nofilter }}", "line 1 of the template: No filter named 'nofilter'"),
        ("{{ count is notest }}", "line 1 of the template: No test named 'notest'"),
        ("{% include 'x' %}", "a template cannot take in another file"),
        ("{% for x in taken %}", "line 1 of the template: Unexpected end of template"),
    ],
)
def test_a_slip_in_a_template_is_told_when_it_is_read(tmp_path, template, told):
    file = tmp_path / "question.yaml"
    rows = {"description": "d", "system": "s", "template": template, "guidance": {"fermi": "f"}}
    file.write_text(json.dumps(rows))
    with pytest.raises(BadFile) as caught:
        load(file, GeneratePrompt)
    assert caught.value.lines()[0].startswith(f"{file}:1: {told}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ x.__class__.__mro__ }}",
        "{{ x.__init__.__globals__ }}",
        "{% for n in range(10 ** 9) %}{% endfor %}",
        "{{ nothing }}",
        "{{ 1 / 0 }}",
        "{% if x is notest %}{% endif %}",
    ],
)
def test_a_template_cannot_leave_its_box(template):
    with pytest.raises(BadFile, match="the template of the prompt: cannot be filled: "):
        fill(template, x="")


def test_the_shipped_prompt_knows_every_category_of_the_bank(evalkit):
    rows = json.loads(evalkit("questions", "list", "evalkit80", "--json").out)["banks"]
    assert set(rows["evalkit80"]["categories"]) == set(PROMPT.guidance)


def test_by_hand_from_prompt_to_a_bank_that_check_accepts(evalkit, tmp_path):
    shown = evalkit("questions", "generate", "--category", "fermi", "--n", "3", "--show-prompt")
    assert shown.code == 0 and "Write 3 new questions" in shown.out and shown.err == ""
    assert tree(tmp_path) == {}
    (tmp_path / "one.txt").write_text(said(*map(written, SUBJECTS[:2])))
    args = ["questions", "generate", "--category", "fermi", "--n", "3", "--bank", "mine"]
    ran = evalkit(*args, "--reply", "one.txt", "--model", "some-bot")
    assert (ran.code, ran.out) == (1, "mine: 2 of 3 fermi questions, 2 new, 0 refused\n"), ran.err
    assert ran.lines == ["Next: read them, then evalkit questions check mine --run-tests"]
    before = (tmp_path / "questions" / "mine.jsonl").read_bytes()
    assert b'"source": "some-bot"' in before

    assert "Write 1 new question" in evalkit(*args, "--show-prompt").out
    (tmp_path / "two.txt").write_text(said(*map(written, SUBJECTS[1:4])))
    ran = evalkit(*args, "--reply", "one.txt", "--reply", "two.txt")
    assert (ran.code, ran.out) == (0, "mine: 3 of 3 fermi questions, 1 new, 4 refused\n"), ran.err
    after = (tmp_path / "questions" / "mine.jsonl").read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 3
    checked = evalkit("questions", "check", "mine", "--run-tests")
    assert (checked.code, checked.out) == (0, "mine: 3 questions, nothing found\n")
    assert evalkit(*args, "--show-prompt").lines[0].startswith("nothing to ask")


@pytest.mark.parametrize("name", ["org/model", "q?%/x", "ein Name"])
def test_a_bank_of_any_name_is_added_to(evalkit, tmp_path, name):
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text(said(written(SUBJECTS[number])))
        args = ["questions", "generate", "--category", "fermi", "--n", "2", "--bank", name]
        ran = evalkit(*args, "--reply", f"{number}.txt")
        assert f"{number} of 2 fermi questions, 1 new, 0 refused" in ran.out, ran.err
    assert (ran.code, len(list((tmp_path / "questions").iterdir()))) == (0, 1)


def test_what_cannot_be_added_to_is_left_as_it_is(evalkit, tmp_path):
    (tmp_path / "one.txt").write_text(said(written(SUBJECTS[0])))
    file = tmp_path / "questions" / "arr.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps([question()]))
    before = tree(tmp_path)
    args = ["questions", "generate", "--category", "fermi", "--n", "2", "--reply", "one.txt"]
    ran = evalkit(*args, "--bank", "arr")
    assert ran.code == 2 and "is one JSON array; write it as lines to add to it" in ran.err
    ran = evalkit(*args, "--bank", "foo.jsonl")
    assert ran.code == 2 and "'foo.jsonl' cannot be a name" in ran.err
    assert tree(tmp_path) == before


def test_latex_is_not_corrupted_in_silence():
    text = said(written(SUBJECTS[0] + " FRAC")).replace("FRAC", r"$\frac{1}{2} \times \beta$")
    found = drafts()
    found.take(text)
    assert found.questions == []
    assert "in JSON a backslash is written twice" in found.refused[0].why


def test_mending_leaves_what_is_right_alone():
    text = said(written(SUBJECTS[0] + r" (\d+ and \alpha)"), written(SUBJECTS[1]))
    found = drafts()
    found.take(text.replace("}]", "},]"))
    found_again = drafts()
    found_again.take(text.replace("}, {", "},, {").replace('right"]', 'right",]'))
    for each in (found, found_again):
        assert each.questions[0].turns[0] == SUBJECTS[0] + r" (\d+ and \alpha)", each.refused


def test_another_category_or_language_goes_into_the_same_bank(evalkit, tmp_path):
    (tmp_path / "en.txt").write_text(said(written(SUBJECTS[0])))
    zh = written("全村的邮递员一年里一共要往信箱里塞多少封信？请写出每一步的估计。")
    (tmp_path / "zh.txt").write_text(said(zh))
    args = ["questions", "generate", "--category", "fermi", "--n", "1", "--bank", "mine", "--reply"]
    assert evalkit(*args, "en.txt").code == 0
    ran = evalkit(*args, "zh.txt", "--language", "zh")
    assert (ran.code, ran.out) == (0, "mine: 1 of 1 fermi question, 1 new, 0 refused\n"), ran.err
    assert evalkit("questions", "check", "mine", "--run-tests").code == 0


def test_banks_get_names_that_are_no_translations_of_each_other(evalkit, tmp_path):
    (tmp_path / "en.txt").write_text(said(written(SUBJECTS[0])))
    args = ["questions", "generate", "--category", "fermi", "--reply", "en.txt"]
    ran = evalkit(*args)
    assert (ran.code, ran.out) == (1, "new-fermi: 1 of 10 fermi questions, 1 new, 0 refused\n")
    ran = evalkit(*args, "--language", "zh", "--json")
    made = json.loads(ran.out)
    assert (made["bank"], made["questions"], made["owed"]) == ("new-zh-fermi", 0, 10)
    assert made["refused"][0]["why"].startswith("the same as fermi-")
    assert (ran.code, made["files"], made["next"]) == (1, [], None)


def test_nothing_good_writes_nothing(evalkit, tmp_path):
    (tmp_path / "one.txt").write_text("As a language model I cannot.")
    before = tree(tmp_path)
    ran = evalkit("questions", "generate", "--category", "math", "--reply", "one.txt")
    assert (ran.code, ran.out) == (1, "new-math: 0 of 10 math questions, 0 new, 1 refused\n")
    assert tree(tmp_path) == before


def test_the_prompt_for_programs(evalkit):
    ran = evalkit("questions", "generate", "--category", "fermi", "--show-prompt", "--json")
    system, user = json.loads(ran.out)["prompt"]
    assert system.startswith("You write") and "Write 10 new questions" in user


def test_a_broken_bank_elsewhere_is_not_in_the_way_but_its_own_is(evalkit, tmp_path):
    (tmp_path / "one.txt").write_text(said(written(SUBJECTS[0])))
    write_lines(tmp_path / "questions" / "other.jsonl", [{"id": "x"}])
    (tmp_path / "questions" / "wide.jsonl").write_bytes("{}".encode("utf-16"))
    (tmp_path / "questions" / "folder.jsonl").mkdir()
    args = ["questions", "generate", "--category", "fermi", "--n", "1", "--reply", "one.txt"]
    assert evalkit(*args).code == 0
    ran = evalkit(*args, "--bank", "other")
    assert ran.code == 2 and "questions/other.jsonl:1: the field 'category' is missing" in ran.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--category", "fermy"], "no category 'fermy'. Did you mean 'fermi'?"),
        (["--category", "fermi"], "who shall write them? Give --model NAME. --show-prompt"),
        (
            ["--category", "fermi", "--model", "gpt4"],
            "no model 'gpt4'. Did you mean 'gpt-4",
        ),
        (["--category", "fermi", "--language", "english", "--reply", "good"], "no code of a lang"),
        (["--category", "fermi", "--n", "0", "--reply", "x"], "invalid value for '--n'"),
        (["--category", "fermi", "--reply", "gone"], "gone: no such file"),
        (["--category", "fermi", "--bank", "../x", "--reply", "x"], "'../x' cannot be a name"),
        (
            ["--category", "fermi", "--bank", "sample", "--reply", "good"],
            "'sample' came with evalkit",
        ),
        ([], "missing option '--category'"),
    ],
)
def test_a_slip_is_one_line(evalkit, tmp_path, args, told):
    (tmp_path / "good").write_text(said(written(SUBJECTS[0])))
    before = tree(tmp_path)
    ran = evalkit("questions", "generate", *args)
    assert ran.code == 2 and len(ran.lines) == 1 and told in ran.lines[0], ran.err
    assert tree(tmp_path) == before


def test_a_bank_in_the_workspace_is_not_asked_for_again(evalkit, tmp_path):
    rows = [question("a", turns=SUBJECTS[:1]) | {"category": "fermi"}]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    ran = evalkit("questions", "generate", "--category", "fermi", "--show-prompt")
    assert f"- {SUBJECTS[0]}"[:90] in ran.out
