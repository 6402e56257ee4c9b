"""evalkit run: one file says everything, and a second run pays for nothing."""

import json

import pytest
from chat_server import Behaviour, serving
from conftest import question, tree, write_lines
from test_judging import seen

from evalkit.errors import BadFile
from evalkit.evaluation import load

GOOD = """\
bank: mine
models:
  - name: base
    url: {url}
    model: base-1
    price: {{input: 1, output: 2, date: 2026-11-01}}
    sampling: {{temperature: 0.3, max_tokens: 50}}
  - name: m
    url: {url}
    price: {{input: 1, output: 2, date: 2026-11-01}}
baseline: base
judges:
  - {{model: j, prompt: pair-scores, orders: both, canaries: 2}}
budget_usd: 5
seed: 3
outputs: [csv]
"""
CATALOG = """\
catalog:
  j:
    provider: openai_api
    url: {url}
    model: judge-1
    price: {{input: 30, output: 60, date: 2026-11-01}}
"""


def says(body):
    if texts := seen(body):
        return "Read.\n" + " ".join("8" if "m says" in text else "5" for text in texts)
    name = "base" if body["model"] == "base-1" else "m"
    return f"{name} says " + body["messages"][-1]["content"]


@pytest.fixture
def folder(tmp_path, evalkit):
    rows = [question(f"q{n}", category=("generic", "math")[n % 2]) for n in range(4)]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    return tmp_path


def prepare(folder, server, text=GOOD):
    (folder / "evaluation.yaml").write_text(text.format(url=server.url))
    (folder / "evalkit.yaml").write_text(CATALOG.format(url=server.url))


def test_answers_reviews_and_page_come_from_one_file_and_are_paid_for_once(folder, evalkit):
    with serving(Behaviour(text=says)) as server:
        prepare(folder, server)
        ran = evalkit("run", "evaluation.yaml")
        assert ran.code == 0, ran.err
        assert len(server.calls) == 8 + 8 + 2
        bodies = [call.body for call in server.calls if call.model == "base-1"]
        assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.3, 50)}
        before = {k: v for k, v in tree(folder).items() if not k.startswith("reports")}
        assert evalkit("run", "evaluation.yaml").code == 0
        assert len(server.calls) == 18
        assert {k: v for k, v in tree(folder).items() if not k.startswith("reports")} == before
    assert sorted(path.suffix for path in (folder / "reports").iterdir()) == [
        ".csv",
        ".html",
        ".json",
    ]
    (pair,) = json.loads((folder / "reports" / "mine.json").read_text())["pairs"]
    assert (pair["a"], pair["b"], pair["wins_b"]) == ("base", "m", 4)


def test_a_dry_run_tells_each_setting_and_where_it_comes_from(folder, evalkit):
    with serving(Behaviour(text=says)) as server:
        prepare(folder, server)
        before = tree(folder)
        ran = evalkit("run", "evaluation.yaml", "--dry-run")
        assert (ran.code, server.calls) == (0, [])
        assert tree(folder) == before
        told = [line.split() for line in ran.lines]
        assert ["budget_usd", "5.0", "evaluation.yaml:14"] in told
        assert ["bank", "mine", "evaluation.yaml:1"] in told
        assert ["limit", "none", "default"] in told
        over = evalkit("run", "evaluation.yaml", "--dry-run", "--budget", 2)
    assert any(line.split()[:3] == ["budget_usd", "2", "--budget"] for line in over.lines)


def test_the_budget_is_of_answers_and_reviews_together(folder, evalkit):
    """Dear answers leave the judge less: with the whole budget it could ask everything."""
    dear = GOOD.replace("input: 1, output: 2", "input: 5000, output: 10000")
    dear = dear.replace("  - name: m\n", "  - name: m\n    sampling: {{max_tokens: 50}}\n")
    dear = dear.replace("canaries: 2", "canaries: 2, samples: 12")
    with serving(Behaviour(text=says)) as server:
        prepare(folder, server, dear.replace("budget_usd: 5", "budget_usd: 50"))
        whole = json.loads(evalkit("run", "evaluation.yaml", "--json").out)
        assert whole["status"] == "done" and whole["judge"]["usd"] > 1
        for path in (folder / "answers" / "mine").glob("*"):
            path.unlink()
        (folder / "reviews" / "mine" / "j.pair-scores.jsonl").unlink()
        budget = whole["answer"]["usd"] + 0.75
        ran = evalkit("run", "evaluation.yaml", "--json", "--budget", budget)
    told = json.loads(ran.out)
    assert ran.code == 1 and told["status"] == "owed"
    assert told["answer"]["owed"] == 0 and told["judge"]["owed"] > 0 < told["judge"]["done"]
    assert told["usd"] <= budget


def test_what_one_judge_leaves_of_the_budget_is_the_next_one_s(folder, evalkit):
    third = "  - {{model: j, prompt: grade, canaries: 0}}\n"
    three = third.replace("grade", "pair-verdict") + third
    with serving(Behaviour(text=lambda body: says(body) + "\n[[5]]\n[[A]]")) as server:
        prepare(folder, server, GOOD.replace("budget_usd", three + "budget_usd"))
        whole = json.loads(evalkit("run", "evaluation.yaml", "--json").out)
        assert [whole[f"judge {n}"]["owed"] for n in (1, 2, 3)] == [0, 0, 0]
    for kind in ("answers", "reviews"):
        for path in (folder / kind / "mine").glob("*.jsonl"):
            path.unlink()
    spent = sum(whole[name]["usd"] for name in ("answer", "judge 1", "judge 2", "judge 3"))
    assert spent == pytest.approx(whole["usd"])
    with serving(Behaviour(text=lambda body: says(body) + "\n[[5]]\n[[A]]")) as server:
        budget = whole["usd"] + 2.0  # the worst case of a call under way is set aside too
        text = GOOD.replace("budget_usd: 5", f"{three}budget_usd: {budget}")
        prepare(folder, server, text)
        again = json.loads(evalkit("run", "evaluation.yaml", "--json").out)
        assert again["status"] == "done" and again["usd"] <= budget


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("budget_usd: 5", "budget: 5", "evaluation.yaml:14: unknown field 'budget'. Did you mean"),
        ("orders: both", "orders: twice", "evaluation.yaml:13: 'judges.0.orders'"),
        ("models:", "modelz:", "unknown field 'modelz'. Did you mean 'models'?"),
        ("  - name: m\n", "  - name: base\n", "'base' stands twice"),
        ("    model: base-1\n", "    key_env: sk-abcdefghij0123456789abcdef\n", "key_env"),
        ("bank: mine", "bank: 1.10", "evaluation.yaml:1"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line_and_nothing_is_asked(
    folder, evalkit, old, new, told
):
    with serving() as server:
        prepare(folder, server, GOOD.replace(old, new))
        before = tree(folder)
        ran = evalkit("run", "evaluation.yaml")
        assert (ran.code, server.calls) == (2, [])
    assert told in ran.err
    assert tree(folder) == before


def test_a_name_alone_is_a_model_or_a_judge(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("models: [chatgpt, openai/gpt-4o]\njudges: [gpt-4]\n")
    found = load(file)
    assert [model.name for model in found.models] == ["chatgpt", "openai/gpt-4o"]
    assert found.judges[0].model == "gpt-4" and found.models[0].stanza is None


def test_a_file_that_is_not_there_is_told(tmp_path, evalkit):
    ran = evalkit("run", "nothing.yaml")
    assert (ran.code, ran.lines) == (2, ["nothing.yaml: no such file"])
    with pytest.raises(BadFile):
        load(tmp_path / "nothing.yaml")


def test_the_key_of_a_service_goes_to_no_address_of_a_file(folder, evalkit, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdefx9Qd")
    with serving() as server:
        text = GOOD.replace("    model: base-1\n", "    model: b\n    key_env: OPENAI_API_KEY\n")
        prepare(folder, server, text)
        before = tree(folder)
        ran = evalkit("run", "evaluation.yaml")
        assert (ran.code, server.calls) == (2, [])
    assert "OPENAI_API_KEY goes only to" in ran.err and "x9Qd" not in ran.err
    assert tree(folder) == before
