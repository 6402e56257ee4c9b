"""answer -> judge -> report against a real model server, resumed, and paid for once.

Two models of random numbers and a third one as the judge, which llama.cpp holds to the schema: what
they say is noise, and every row of it must be readable.
"""

import json

import model_server
import pytest
from conftest import question, write_lines

STANZA = """\
  {name}:
    provider: openai_api
    url: {url}
    model: random-llama
    structured: {structured}
    context: 8192
    price: {{input: 10, output: 30, date: 2026-11-01}}
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with (
        model_server.model_server(folder / "a", seed=1) as a,
        model_server.model_server(folder / "b", seed=2) as b,
        model_server.model_server(folder / "judge", seed=3) as judge,
    ):
        yield {"alpha": a, "beta": b, "judge": judge}


def test_every_row_is_readable_both_orders_are_there_and_nothing_is_paid_for_twice(
    servers, evalkit, tmp_path
):
    number = 9
    rows = [
        question(f"q{n}", category=("generic", "math", "writing")[n % 3]) for n in range(number)
    ]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    stanzas = [
        STANZA.format(name=name, url=url, structured=str(name == "judge").lower())
        for name, url in servers.items()
    ]
    (tmp_path / "evalkit.yaml").write_text("catalog:\n" + "".join(stanzas))
    ask = ("answer", "--model", "alpha,beta", "--bank", "mine", "--max-tokens", 60)
    judge = ("judge", "--judge", "judge", "--bank", "mine", "--baseline", "alpha", "--json")

    assert evalkit(*ask).code == 0
    first = json.loads(evalkit(*judge, "--limit", 3).out)
    assert (first["done"], first["owed"]) == (3 * 2 + 8, 0)
    estimate = json.loads(evalkit(*judge, "--dry-run").out)["judges"][0]
    rest = json.loads(evalkit(*judge).out)
    assert (rest["done"], rest["owed"], rest["unreadable"]) == (number * 2 + 8, 0, 0)
    assert estimate["about_usd"] == pytest.approx(rest["usd"], rel=0.1)
    assert rest["usd"] <= estimate["at_most_usd"]

    path = tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl"
    reviews = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(review["rung"] == "structured" for review in reviews)
    assert all(1 <= score <= 10 for review in reviews for score in review["scores"])
    asked = {(r["question"], *r["shown"]) for r in reviews if "canary" not in r}
    assert {(q, b, a) for q, a, b in asked} == asked and len(asked) == number * 2

    before = path.read_bytes()
    again = json.loads(evalkit(*judge).out)
    assert (again["calls"], again["usd"]) == (0, 0)
    assert json.loads(evalkit(*ask, "--json").out)["calls"] == 0
    assert path.read_bytes() == before

    told = evalkit("report", "--bank", "mine", "--baseline", "alpha", "--json")
    (pair,) = json.loads(told.out)["pairs"]
    assert (pair["questions"], pair["questions_both_orders"]) == (number, number)
