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


@pytest.mark.parametrize(
    "name",
    ["Qwen3-235B-A22B-Instruct-2507-FP8", "https://my-company-west-4.openai.azure.com/openai",
     "hf_vicuna_13b_finetuned", "AZURE_OPENAI_API_KEY_OF_MY_OWN_TEAM_2", "meta-llama/Llama-3.1-8B",
     "checkpoints/vicuna-13b-v1.5-16k-finetuned-2026"],
)  # fmt: skip
def test_a_long_name_is_no_key(name):
    assert not looks_like_a_key(name)


@pytest.mark.parametrize(
    "key",
    ["sk-abcdefghij0123456789", "hf_AbCdEfGhIjKlMnOpQr", "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6",
     "prefix-0123456789abcdef0123456789abcdef", "AIzaSyA0123456789abcdefghijk"],
)  # fmt: skip
def test_what_is_random_is_a_key(key):
    assert looks_like_a_key(key) and looks_like_a_key(f"see {key}!")


def test_a_key_that_appears_when_another_is_taken_out_is_taken_out_too():
    outer, inner = "abcdefgh12345678", "XYZabcdefgh"
    keys = Keys({"A_KEY": outer, "B_KEY": "X…5678abcd"})
    scrubbed = keys.scrub(f"X{outer}abcd")
    assert outer not in scrubbed and "X…5678abcd" not in scrubbed
    assert Keys({"A_KEY": inner}).scrub(inner * 3) == "…efgh" * 3
