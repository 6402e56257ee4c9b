"""Can it replace ChatGPT at our labelling? Scripted models of known accuracy, a real server."""

import json
import re
from collections import Counter

import pytest
from chat_server import Behaviour, last_said, serving
from conftest import ROOT, read_lines, write_lines

from evalkit import yamlfile
from evalkit.classify import nearest, posed, texts
from evalkit.errors import Missing, Unknown
from evalkit.parsers.labels import Labels
from evalkit.prompts import ClassifyPrompt
from evalkit.records import Question

YES, NO = "about cars", "not about cars"
PROMPTS = sorted((ROOT / "prompts" / "classify").glob("*.yaml"))


def bank_of(n, **more):
    return [
        {"id": f"t{k:03}", "category": "generic", "turns": [f"text number {k} of the bank"],
         "label": [YES if k % 2 else NO], **more}
        for k in range(n)
    ]  # fmt: skip


def told(body):
    """Which text of the bank a prompt asks about: the last one that stands in it."""
    return re.findall(r"text number (\d+) of the bank", last_said(body))[-1]


def model(wrong=(), unreadable=(), refused=()):
    """Labels each text right, but for some."""

    def reply(body):
        n = int(told(body))
        right = YES if n % 2 else NO
        if n in unreadable:
            return "I could not say."
        return f"Label: {(NO if right == YES else YES) if n in wrong else right}"

    return reply


@pytest.fixture
def mine(tmp_path):
    def put(n=100, **more):
        write_lines(tmp_path / "questions" / "mine.jsonl", bank_of(n, **more))
        return tmp_path

    return put


def run(evalkit, servers, *more, bank="mine"):
    options = [part for name, s in servers.items() for part in ("--model", f"{s.url}#{name}")]
    return evalkit("classify", "--bank", bank, *options, *more)


def both(evalkit, one, other, *more, **options):
    """A reference `gpt` and another model `open`."""
    with serving(Behaviour(text=one)) as gpt, serving(Behaviour(text=other)) as mine:
        ran = run(evalkit, {"gpt": gpt, "open": mine}, *more, **options)
        ran.calls = [call.body for server in (gpt, mine) for call in server.calls]
        return ran


# -- the verb


def test_two_models_side_by_side(evalkit, mine):
    folder = mine()
    ran = both(evalkit, model(), model(wrong={1, 2, 3}, unreadable={4}))
    assert ran.code == 0, ran.err
    table = [re.split(r"  +", line)[:7] for line in ran.out.splitlines()]
    assert ["gpt, zero-shot", "100.0", "[96.3, 100.0]", "100.0", "1.00", "0", "100"] in table
    assert ["open, zero-shot", "96.0", "[90.2, 98.4]", "96.5", "0.94", "1", "100"] in table
    assert "open, zero-shot: 1 unreadable (no label found)" in ran.lines
    rows = read_lines(folder / "answers" / "mine.zero-shot" / "open.jsonl")
    assert len(rows) == 100 and rows[0]["turns"][0].startswith("Label: ")
    again = both(evalkit, model(), model(wrong=range(100)))
    assert again.calls == [] and again.out.splitlines()[-1] == ran.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("wrong", "margin", "said"),
    [
        (0, 4, "is not worse than gpt by more than 4 points"),
        (0, 3.6, "may be worse than gpt by more than 3.6 points; more texts would tell"),
        (12, 5, "is worse than gpt by more than 5 points"),
        (12, 10, "may be worse than gpt by more than 10 points; more texts would tell"),
    ],
)
def test_the_verdict_on_both_sides_of_the_margin(evalkit, mine, wrong, margin, said):
    """The interval of no difference on 100 texts ends at -3.7 points, that of -12 at -7.0."""
    mine()
    ran = both(evalkit, model(), model(wrong=range(wrong)), "--margin", margin)
    (line,) = [line for line in ran.out.splitlines() if line.startswith("open, zero-shot: ")]
    assert line.startswith(f"open, zero-shot: {said} (")


def test_better_than_the_reference(evalkit, mine):
    mine()
    ran = both(evalkit, model(wrong=range(20)), model())
    assert "open, zero-shot: is better than gpt (+20.0 points" in ran.out
    ran = both(evalkit, model(), model(), "--reference", "open")
    assert "gpt, zero-shot: is worse than open by more than 2 points (-20.0 points" in ran.out


def test_programs_get_every_number(evalkit, mine):
    mine(20)
    ran = both(evalkit, model(), model(wrong={1}, unreadable={2}), "--json")
    found = json.loads(ran.out)
    assert (found["verb"], found["status"], found["reference"]) == ("classify", "done", "gpt")
    assert found["labels"] == [YES, NO]
    rows = {row["model"]: row for row in found["scores"]}
    assert (rows["open"]["accuracy"], rows["open"]["unreadable"]) == (0.9, 1)
    (pair,) = found["between"]
    assert (pair["only_a"], pair["only_b"]) == (2, 0)
    assert found["reasons"] == [
        {"model": "open", "prompt": "zero-shot", "why": "no label found", "replies": 1}
    ]
    assert {row["label"] for row in found["by_label"]} == {YES, NO}


def test_most_of_several_samples_decide(evalkit, mine):
    mine(10)
    seen = Counter()

    def wavering(body):
        seen[told(body)] += 1
        return model(wrong=range(10) if seen[told(body)] == 2 else ())(body)

    ran = both(evalkit, model(), wavering, "--samples", 3, "--temperature", 1, "--json")
    rows = {row["model"]: row for row in json.loads(ran.out)["scores"]}
    assert rows["open"]["accuracy"] == 1 and seen["3"] == 3


def test_without_labels_the_reference_stands_in_and_says_what_to_label(evalkit, tmp_path):
    bare = [{k: v for k, v in row.items() if k != "label"} for row in bank_of(10)]
    write_lines(tmp_path / "questions" / "mine.jsonl", bare)
    ran = both(evalkit, model(), model(wrong={3, 4}), "--labels", f"{YES},{NO}", "--json")
    found = json.loads(ran.out)
    (row,) = found["scores"]
    assert (row["model"], row["truth"], row["accuracy"]) == ("open", "gpt", 0.8)
    assert {row["question"] for row in found["to_label_first"][:2]} == {"t003", "t004"}
    ran = both(evalkit, model(), model(), "--labels", f"{YES},{NO}")
    assert "no text has a label: what gpt says stands in for the truth" in ran.lines
    assert "open, zero-shot: agrees with gpt on 80.0% of the 10 texts that both labelled" in ran.out


def test_refused_replies_stand_apart(evalkit, mine):
    mine(6)
    with serving(Behaviour(script=["refusal"], text=model())) as server:
        ran = run(evalkit, {"gpt": server}, "--json", "--concurrency", 1)
    assert [each["why"] for each in json.loads(ran.out)["reasons"]] == ["refused"]


def test_the_price_of_a_thousand(evalkit, mine):
    folder = mine(10)
    (folder / "evalkit.yaml").write_text("")
    with serving(Behaviour(text=model())) as one, serving(Behaviour(text=model())) as two:
        stanzas = "".join(
            f"  {name}:\n    provider: openai_api\n    url: {server.url}\n    model: m\n"
            f"    price: {{input: {price}, output: {price}, date: 2026-01-01}}\n"
            for name, server, price in (("gpt", one, 100), ("open", two, 5))
        )
        (folder / "evalkit.yaml").write_text(f"catalog:\n{stanzas}")
        ran = evalkit("classify", "--bank", "mine", "--model", "gpt,open", "--yes", "--json")
        rows = {row["model"]: row for row in json.loads(ran.out)["scores"]}
        assert rows["gpt"]["dollars_per_thousand"] == pytest.approx(
            20 * rows["open"]["dollars_per_thousand"]
        )
        price = rows["gpt"]["dollars_per_thousand"]
        args = ("classify", "--bank", "mine", "--model", "gpt,open", "--yes", "--gpu-hour", 2)
        ran = evalkit(*args)
    *_, verdict, even = ran.out.splitlines()
    assert verdict.endswith("10 texts), at 0.05 times the price")
    assert even == (
        f"A machine at $2.00 an hour costs no more than gpt, zero-shot from {2000 / price:,.0f} "
        "texts an hour on, if it can label as many."
    )
    page = (folder / "reports" / "mine.labels.html").read_text()
    assert f"from {2000 / price:,.0f} texts an hour on" in page


def test_a_dry_run_and_a_shown_prompt_send_nothing(evalkit, mine):
    mine()
    ran = both(evalkit, model(), model(), "--dry-run", "--prompt", "zero-shot,carp")
    assert (ran.code, ran.calls) == (0, [])
    assert "75 texts to label, 25 texts set apart for examples" in ran.err
    ran = both(evalkit, model(), model(), "--show-prompt", "--prompt", "carp")
    assert ran.calls == [] and "Similar texts, with their labels:" in ran.out


def test_the_cars_in_chinese_end_to_end(evalkit):
    bank = {
        row["turns"][0]: row["label"][0] for row in read_lines(ROOT / "questions" / "cars-zh.jsonl")
    }

    def reply(body):
        text = re.findall(r"^文本：(.+)$", last_said(body), re.M)[-1]
        return f"线索：若干。\n推理：综合来看。\n**标签：**「{bank[text]}」。"

    with serving(Behaviour(text=reply)) as server:
        ran = run(evalkit, {"m": server}, "--prompt", "carp", "--json", bank="cars-zh")
    (row,) = json.loads(ran.out)["scores"]
    assert (row["accuracy"], row["unreadable"], row["texts"]) == (1, 0, 96)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--prompt", "zeroshot"], "no prompt 'zeroshot'. Did you mean 'zero-shot'?"),
        (["--reference", "nobody"], "no model 'nobody'."),
        (["--labels", "a,b"], "no label 'about cars'."),
        (["--bank", "nowhere"], "no bank 'nowhere'."),
    ],
)
def test_what_is_not_there(evalkit, mine, args, told):
    mine(4)
    ran = both(evalkit, model(), model(), *args)
    assert ran.code == 2
    assert told in ran.err


# -- examples


def questions(n):
    return [Question.model_validate(row) for row in bank_of(n)]


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("several", [False, True])
def test_no_text_that_is_asked_about_is_an_example(path, several):
    prompt = yamlfile.load(path, ClassifyPrompt)
    again = [each.model_copy(update={"id": f"{each.id} again"}) for each in questions(10)]
    bank = [*questions(40), *again]
    parted = texts(bank, [], several=several, examples=bool(prompt.examples.count), seed=1)
    made = posed(parted, prompt, None, 1)
    train = {each.turns[0] for each in parted.train}
    assert len(made) == len(parted.test) and not train & {each.turns[0] for each in parted.test}
    for asked, question in zip(made, parted.test, strict=True):
        shown = re.findall(r"text number \d+ of the bank", asked.turns[0])
        assert shown[-1] == question.turns[0]
        assert len(shown) == prompt.examples.count + 1
        assert set(shown[:-1]) <= train
        assert YES in asked.turns[0] and NO in asked.turns[0]


def test_the_train_part_is_a_quarter_by_chance_or_what_is_marked():
    bank = questions(80)
    one = texts(bank, [], several=False, examples=True, seed=1)
    assert (len(one.train), len(one.test)) == (20, 60)
    assert one == texts(bank, [], several=False, examples=True, seed=1)
    assert one.train != texts(bank, [], several=False, examples=True, seed=2).train
    assert texts(bank, [], several=False, examples=False, seed=1).train == ()
    marked = [
        q.model_copy(update={"extra": {"split": "train" if n < 3 else "test"}})
        for n, q in enumerate(bank)
    ]
    assert [q.id for q in texts(marked, [], several=False, examples=True, seed=1).train] == [
        "t000",
        "t001",
        "t002",
    ]


def test_the_most_similar_text_comes_last():
    known = [
        "the engine makes a noise",
        "my cat sleeps all day",
        "the engine of my car makes a noise",
    ]
    train = [Question(id=str(n), category="generic", turns=(text,)) for n, text in enumerate(known)]
    test = [Question(id="x", category="generic", turns=("engine of a car makes noise",))]
    assert [each.id for each in nearest(train, test, 2)["x"]] == ["0", "2"]


def test_what_cannot_be_labelled():
    with pytest.raises(Missing, match="which labels are there"):
        texts([questions(1)[0]], [], several=False, examples=False, seed=1)
    with pytest.raises(Unknown, match="no label 'about cars'"):
        texts(questions(2), ["a", "b"], several=False, examples=False, seed=1)
    two = questions(2)[0].model_copy(update={"turns": ("one", "two")})
    with pytest.raises(Missing, match="has several turns"):
        texts([two], ["a", "b"], several=False, examples=False, seed=1)


# -- what a reply says


CARS = Labels([YES, NO])


@pytest.mark.parametrize(
    ("reply", "label", "rung"),
    [
        ("Label: about cars", YES, "strict"),
        ("about cars", YES, "strict"),
        ("Not about cars.", NO, "strict"),
        ("**Label:** “Not About Cars”", NO, "strict"),
        (
            "Clues: about cars, it seems\nReasoning: it is a toy.\nLabel: not about cars",
            NO,
            "strict",
        ),
        ("Label: about cars\nOh wait.\nLabel: not about cars", NO, "strict"),
        ("<think>about cars?</think>not about cars", NO, "strict"),
        ('{"label": "about cars"}', YES, "structured"),
        ("I would say this text is not about cars", NO, "tolerant"),
        ("This text is about cars, since it names an engine.", YES, "tolerant"),
        ("Label: it is clearly about cars", YES, "tolerant"),
        ("Is it about cars or not about cars? Hard to tell.", None, "contradictory"),
        ("I don't think it is about cars", None, "a label with a doubt"),
        ("It would be about cars if it named one.", None, "a label with a doubt"),
        ("trucks", None, "no label found"),
        ("", None, "empty reply"),
        ("***", None, "no label found"),
        ('{"label": "trucks"}', None, "no label in the JSON"),
        ("about carsharing", None, "no label found"),
        ("I thought of roundabout cars", None, "no label found"),
    ],
)
def test_one_label(reply, label, rung):
    found = CARS.read(reply)
    assert found.labels == (None if label is None else (label,))
    assert (found.rung if label else found.unreadable) == rung


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("标签：与汽车有关", "与汽车有关"),
        ("与汽车无关。", "与汽车无关"),
        ("**标签**：「与汽车有关」", "与汽车有关"),
        ("这段文本与汽车无关，说的是玩具。", "与汽车无关"),
        ("不能说它与汽车有关", None),
        ("与火车有关", None),
    ],
)
def test_one_label_in_chinese(reply, label):
    found = Labels(["与汽车有关", "与汽车无关"]).read(reply)
    assert found.labels == (None if label is None else (label,))


def test_of_labels_that_hold_one_another_the_longest_counts():
    found = Labels(["car", "car rental"]).read("I think that car rental fits")
    assert found.labels == ("car rental",)


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ("Labels: red, blue", ("red", "blue")), ("blue and red", ("red", "blue")), ("none", ()),
        ("标签：红、蓝", ("red", "blue")), ('{"labels": ["blue"]}', ("blue",)),
        ('{"labels": []}', ()),
        ("It is blue, with some red in it", ("red", "blue")), ("green", None),
    ],
)  # fmt: skip
def test_several_labels(reply, labels):
    colours = Labels(["red", "blue"], {"red": ["红"], "blue": ["蓝"]}, several=True)
    assert colours.read(reply).labels == labels


# -- texts with labels


def imported(evalkit, tmp_path, name, text, *more):
    (tmp_path / name).write_text(text)
    return evalkit("import", "labels", name, "--bank", "mine", *more)


def test_a_csv_of_texts_and_labels(evalkit, tmp_path):
    text = "id,content,cls,note\n1,Engine noise,cars,a\n2,Cat,other|pets,\n3,Dog,,b\n"
    more = ("--text-column", "content", "--label-column", "cls")
    ran = imported(evalkit, tmp_path, "x.csv", text, *more)
    assert ran.code == 0, ran.err
    of = {"category": "generic"}
    assert "1 of 3 texts have no label: nobody said what is right" in ran.lines
    assert read_lines(tmp_path / "questions" / "mine.jsonl") == [
        {"id": "1", **of, "turns": ["Engine noise"], "label": ["cars"], "extra": {"note": "a"}},
        {"id": "2", **of, "turns": ["Cat"], "label": ["other", "pets"]},
        {"id": "3", **of, "turns": ["Dog"], "extra": {"note": "b"}},
    ]


def test_json_lines_of_texts_and_labels(evalkit, tmp_path):
    given = [
        {"text": "发动机", "label": "汽车", "language": "zh", "split": "train"},
        {"text": "猫", "label": ["其他"]}, {"text": "猫", "label": "其他"},
        {"text": "x", "label": True},
    ]  # fmt: skip
    ran = imported(evalkit, tmp_path, "x.jsonl", "\n".join(map(json.dumps, given)))
    assert "1 text that stand there twice are taken once" in ran.lines
    rows = read_lines(tmp_path / "questions" / "mine.jsonl")
    assert [(row["turns"], row["label"]) for row in rows] == [
        (["发动机"], ["汽车"]), (["猫"], ["其他"]), (["x"], ["true"]),
    ]  # fmt: skip
    assert (rows[0]["language"], rows[0]["extra"]) == ("zh", {"split": "train"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("words,label\na,b\n", "x.csv:1: no column 'text'"),
        ("text,label\na,b\na,c\n", "x.csv:3: the same text stands at x.csv:2 with another label"),
        ("text,label\n,b\n", "x.csv:2: question"),
        ("id,text,label\n1,a,b\n1,c,b\n", "the id '1' stands at"),
        ("text,label\n", "x.csv: no texts"),
        ("", "x.csv: no texts"),
    ],
)
def test_what_is_no_text(evalkit, tmp_path, text, told):
    ran = imported(evalkit, tmp_path, "x.csv", text)
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "questions").exists()


def test_only_labels_take_their_columns(evalkit, tmp_path):
    ran = evalkit("import", "table", "x.csv", "--bank", "mine", "--text-column", "t")
    assert (ran.code, ran.lines[-1]) == (
        2,
        "table takes no --text-column. See: evalkit import --help",
    )
