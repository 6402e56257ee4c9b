"""Keys: where each is found, and that none is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import BadKey, Missing
from evalkit.keys import Keys, check_home, looks_like_a_key, tail

ONE, TWO = "sk-0123456789abcdefx9Qd", "sk-0123456789abcdefx9Qd-longer"


def test_a_key_comes_from_its_variable():
    assert Keys({"MY": ONE}, ["MY"]).get("MY", "mine") == ONE
    with pytest.raises(Missing, match=r"no key for mine: set MY \(export MY=...\)"):
        Keys({}).get("MY", "mine")


@pytest.mark.parametrize(
    "odd", [f"{ONE}\n", f"\t{ONE}", f"{ONE} {ONE}", f"'{ONE}'", f"{ONE}\u200b"]
)
def test_what_cannot_be_sent_is_told_without_being_shown(odd):
    with pytest.raises(BadKey, match=r"^MY has ") as raised:
        Keys({"MY": odd}, ["MY"]).get("MY", "mine")
    assert ONE not in str(raised.value)


@given(st.text(), st.text(), st.sampled_from([ONE, TWO]))
def test_no_known_key_is_left_in_a_text(before, after, key):
    keys = Keys({"MY": ONE, "OTHER_API_KEY": TWO, "SHORT_KEY": "of"}, ["MY"])
    scrubbed = keys.scrub(f"{before}{key}{after}")
    assert ONE not in scrubbed and tail(key) in scrubbed
    assert keys.scrub("out of it") == "out of it"


@pytest.mark.parametrize(
    "name",
    ["gpt-4o-mini-2024-07-18", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "MY_FINE_TUNE_API_KEY"],
)
def test_a_name_is_not_taken_for_a_key(name):
    assert not looks_like_a_key(name)
    assert looks_like_a_key(ONE)


def test_a_key_that_would_leave_home_is_refused():
    check_home("K", "https://a:443", {"https://a:443"}, None)
    with pytest.raises(BadKey, match=r"^K goes only to https://a:443 or the address in WAY, not"):
        check_home("K", "https://b:443", {"https://a:443"}, "WAY")
