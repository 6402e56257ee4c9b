"""Prices: what a call costs at most, what it did cost, and a budget that holds."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.chat import Message, Request, Sampling
from evalkit.price import (
    Budget,
    Price,
    dollars_at_most,
    dollars_of,
    estimate,
    tokens_about,
    tokens_at_most,
)
from evalkit.records import Usage

PRICE = Price(input=1.0, output=2.0, date=datetime.date(2026, 11, 1))


def asked(text, max_tokens=10):
    return Request((Message("user", text),), Sampling(max_tokens=max_tokens))


@given(st.text())
def test_no_text_has_more_tokens_than_bytes(text):
    request = asked(text)
    assert tokens_at_most(request) >= len(text.encode("utf-8", "replace"))
    assert 0 < tokens_about(request) <= tokens_at_most(request)


def test_a_call_costs_what_its_tokens_cost():
    assert dollars_of(Usage(input=1_000_000, output=500_000), PRICE) == 2.0
    assert dollars_of(None, PRICE) is None and dollars_of(Usage(input=1, output=1), None) is None
    assert dollars_at_most(asked("abcd"), PRICE) == pytest.approx((4 + 16 + 2 * 10) / 1e6)
    assert dollars_at_most(asked("abcd", None), PRICE) is None


def test_replies_that_are_still_to_come_are_counted_in_what_follows_them():
    once = estimate([(asked("abcd"), 0)], PRICE, usual=5).about
    twice = estimate([(asked("abcd"), 2)], PRICE, usual=5)
    about, most = twice.about, twice.most
    assert about - once == pytest.approx(2 * 5 / 1e6)
    assert most == pytest.approx((20 + 2 * 10 + 2 * 10) / 1e6)
    with pytest.raises(ValueError, match="any length"):
        estimate([(asked("abcd", None), 0)], PRICE, usual=5)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.booleans())))
def test_a_budget_holds(calls):
    budget, open_ = Budget(100), []
    for worst, share, ends in calls:
        if budget.holds(worst):
            assert budget.may_hold(worst)
            budget.start(worst)
            open_.append((worst, share * worst))
        if ends and open_:
            budget.end(*open_.pop(0))
        assert budget.spent + budget.aside <= 100 + 1e-6
