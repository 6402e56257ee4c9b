"""Replies in the styles that judges really use: each is read right, or not at all."""

from collections import Counter

import pytest
import yaml
from conftest import ROOT

from evalkit.parsers import PARSERS

REPLIES = {
    name: yaml.safe_load((ROOT / "tests" / "replies" / f"{name}.yaml").read_text())
    for name in PARSERS
}
CASES = [(name, case) for name, cases in REPLIES.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{n}: {c['say'][:40]!r}" for n, c in CASES])
def test_a_reply_is_read_as_a_careful_person_reads_it(name, case):
    found = PARSERS[name](case["say"], case.get("shown", ()))
    assert found.scores == (None if case["read"] is None else tuple(case["read"]))
    assert bool(found.unreadable) == (found.scores is None)
    if "rung" in case:
        assert found.rung == case["rung"]
    if "flags" in case:
        assert list(found.flags) == case["flags"]
    if "why" in case:
        assert found.unreadable == case["why"]


def test_the_corpus_is_large_and_every_grammar_has_its_share():
    count = Counter(name for name, _ in CASES)
    assert sum(count.values()) >= 150
    assert min(count.values()) >= 20
    assert len({(name, str(case)) for name, case in CASES}) == len(CASES)
