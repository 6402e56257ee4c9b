"""Texts as words: what does not count, scripts without blanks, and JSON's escapes."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evalkit.questions.ngrams import grams, words


def hashes(text, *more):
    return words(text, *more).hashes.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("well-known (twice)", "well known twice"),
        ("Don't, it’s", "dont its"),
        ("résumé", "re\u0301sume"),
        ("ＡＢＣ　１２", "abc 12"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("你好，世界！", "你 好 世 界"),
        ("约有 ３０ 个", "约有30个"),
        ("a\u2028b\u0085c\u000bd", "a b c d"),
        ("Straße, ﬁne eﬃcient", "STRASSE fine efficient"),
        ("ｱｲ", "アイ"),
        ("\u2f24\u5b66", "大学"),  # a radical for an ideograph, as PDF has it
        ("a''b c'd", "ab cd"),
    ],
)
def test_case_accents_and_punctuation_do_not_count(one, other):
    assert hashes(one) == hashes(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("one two", "two one"),
        ("onetwo", "one two"),
        ("你好", "好你"),
        ("12", "1 2"),
        ("a", "b"),
        ("ab", "ba"),
    ],
)
def test_letters_and_their_order_count(one, other):
    assert hashes(one) != hashes(other)


def test_a_character_is_a_word_where_no_blanks_are():
    found = words("用 Python 写一个函数 parse(x)")
    expected = ["用", "python", "写", "一", "个", "函", "数", "parse", "x"]
    assert found.hashes.tolist() == [hashes(word)[0] for word in expected]
    assert found.unspaced.tolist() == [len(word) == 1 and word != "x" for word in expected]


def test_a_vowel_sign_is_no_end_of_a_word():
    assert len(words("हिन्दी की किताब")) == 3


def test_every_word_knows_where_it_begins():
    text = "  One, t\u00adwo 三四! ﬁne Straße x"
    begins = [text[start] for start in words(text).starts]
    assert begins == ["O", "t", "三", "四", "ﬁ", "S", "x"]


@pytest.mark.parametrize("text", ["", " \n\t", "...!?", "\u200b", "😀"])
def test_a_text_without_words(text):
    assert len(words(text)) == 0
    assert grams(words(text).hashes, 3).shape == (0,)


def test_grams_are_the_runs_of_n_words():
    text = words("to be or not to be").hashes
    pairs = grams(text, 2).tolist()
    assert len(pairs) == 5
    assert pairs[0] == pairs[4] and len(set(pairs)) == 4
    assert grams(words("be to").hashes, 2).tolist() != pairs[:1]
    assert grams(text, 6).shape == (1,) and grams(text, 7).shape == (0,)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(texts, st.booleans())
@example('a\\nb \\\\n \\u0041 C:\\new "quoted" tab\there', False)
@example("中文\U00020000字 é ñ 😀 x", True)
def test_json_means_what_it_says(text, ascii_only):
    raw = json.dumps(text, ensure_ascii=ascii_only)
    assert hashes(raw, "json") == hashes(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), max_size=40))
@example("中文\U00020000字\té 😀\nx")
def test_json_inside_json(text):
    raw = json.dumps(text)
    for _ in range(3):
        raw = json.dumps(raw)
        assert hashes(raw, "nested") == hashes(text)


@pytest.mark.parametrize(
    ("raw", "means"),
    [
        (r"\ud840 x \udc00", "x"),
        (r"\ud840\udc00", "\U00020000"),
        (r"\u004g1", "u004g1"),
        (r"\u00", "u00"),
        (r"one\ntwo\bthree\ffour", "one two three four"),
        (r"one\\ntwo", "one ntwo"),
    ],
)
def test_escapes_that_are_none_stay_text(raw, means):
    assert hashes(raw, "json") == hashes(means)


@given(st.text(alphabet='\\u0dnrt4e2 "中x', max_size=30))
def test_what_is_not_json_does_no_harm(text):
    for escapes in ("json", "nested"):
        found = words(text, escapes)
        assert list(found.starts) == sorted(found.starts)
    assert all(0 <= start < len(text) for start in found.starts)


@given(texts)
def test_text_that_is_not_escaped_keeps_its_backslashes(text):
    assert hashes("\\n" + text) == hashes("n" + text)
