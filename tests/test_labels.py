"""Labelling against scikit-learn, by hand, and by whether its intervals hold."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn import metrics

from evalkit.errors import Missing
from evalkit.records import place
from evalkit.stats import labels as stats
from evalkit.stats.intervals import wilson

ABC = ["a", "b", "c"]
NAMES = [f"l{n}" for n in range(5)]


def table(truth, **said):
    """Predictions; a label is one letter, so that `ab` is two; `?`: unreadable, or no truth."""
    rows = [
        (model, "p", f"q{n}", *(None if each == "?" else tuple(each) for each in (right, given)))
        for model, all_ in said.items()
        for n, (right, given) in enumerate(zip(truth, all_, strict=True))
    ]
    return pd.DataFrame(rows, columns=["model", "prompt", "question", "truth", "said"])


def one(frame):
    (row,) = frame.to_dict("records")
    return row


def drawn(seed, n=200, several=False, unreadable=0.1):
    """(truth, said) of random labels, right about half of the time; None: unreadable."""
    dice = np.random.default_rng(seed)
    if several:
        truth = [tuple(np.array(NAMES)[dice.random(5) < 0.3]) for _ in range(n)]
        other = [tuple(np.array(NAMES)[dice.random(5) < 0.4]) for _ in range(n)]
    else:
        truth, other = (
            [(NAMES[at],) for at in dice.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])]
            for _ in range(2)
        )
    said = [t if dice.random() < 0.5 else o for t, o in zip(truth, other, strict=True)]
    return truth, [None if dice.random() < unreadable else each for each in said]


def predictions(truth, said):
    return pd.DataFrame(
        {
            "model": "m",
            "prompt": "p",
            "question": [f"q{n}" for n in range(len(truth))],
            "truth": pd.Series(truth, dtype=object),
            "said": pd.Series(said, dtype=object),
        }
    )


# a: 2 right, 1 said b, 1 unreadable; b: 2 right; c: 1 right, 1 said a.
SMALL = table("aaaabbcc", m="aab?bbca")


# -- one model


def test_scores_by_hand():
    row = one(stats.scores(SMALL, [*ABC, "never"]))
    assert (row["model"], row["prompt"], row["texts"], row["unreadable"]) == ("m", "p", 8, 1)
    assert row["accuracy"] == 5 / 8 and row["accuracy_readable"] == 5 / 7
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson(5, 8))
    ends = row["accuracy_readable_low"], row["accuracy_readable_high"]
    assert ends == pytest.approx(wilson(5, 7))
    precision, recall = np.array([2 / 3, 2 / 3, 1]), np.array([2 / 4, 2 / 2, 1 / 2])
    f1 = 2 * precision * recall / (precision + recall)
    for name, each in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert row[f"macro_{name}"] == pytest.approx(each.mean())
        assert row[f"weighted_{name}"] == pytest.approx(each @ [4, 2, 2] / 8)
    assert row["labels"] == 3
    assert row["macro_f1_low"] < row["macro_f1"] < row["macro_f1_high"]
    # The 7 that it read: truth 3 2 2, said 3 3 1
    assert row["kappa"] == pytest.approx((5 / 7 - 17 / 49) / (1 - 17 / 49))
    assert list(stats.scores(SMALL, ABC).columns) == stats.SCORES


def test_each_label_by_hand():
    found = stats.by_label(SMALL, [*ABC, "never"]).set_index("label")
    assert found["support"].to_dict() == {"a": 4, "b": 2, "c": 2, "never": 0}
    assert found["predicted"].to_dict() == {"a": 3, "b": 3, "c": 1, "never": 0}
    assert found.loc["a", ["precision", "recall", "f1"]].tolist() == pytest.approx(
        [2 / 3, 0.5, 4 / 7]
    )
    assert found.loc["a", ["precision_low", "precision_high"]].tolist() == list(wilson(2, 3))
    assert found.loc["a", ["recall_low", "recall_high"]].tolist() == list(wilson(2, 4))
    assert found.loc["never", "precision":"f1"].isna().all()


def test_a_label_never_said_has_a_precision_of_0_and_no_interval():
    row = stats.by_label(table("ab", m="aa"), ABC).set_index("label").loc["b"]
    assert (row["precision"], row["recall"], row["f1"]) == (0, 0, 0)
    assert np.isnan(row["precision_low"]) and row["recall_high"] == wilson(0, 1)[1]


def test_confusion_by_hand():
    (found,) = stats.confusion(SMALL, ABC).values()
    assert found.matrix.tolist() == [[2, 1, 0, 1], [0, 2, 0, 0], [1, 0, 1, 0]]
    assert found.each[0].tolist() == [[3, 1], [2, 2]]
    assert found.each.shape == (3, 2, 2)


def test_several_labels_by_hand():
    frame = table(["ab", "a", "", "c", "bc"], m=["ba", "ab", "", "?", "c"])
    row = one(stats.scores(frame, ABC))
    assert row["accuracy"] == 2 / 5 and row["accuracy_readable"] == 2 / 4
    # a: 2 hits, 2 had, 2 said; b: 1, 2, 2; c: 1, 2, 1
    assert row["macro_precision"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert row["macro_recall"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    # read: ab-ab, a-ab, none-none, bc-c: chance 1 * 2 + 1 * 0 + 1 * 1 + 1 * 0 of 16
    assert row["kappa"] == pytest.approx((2 / 4 - 3 / 16) / (1 - 3 / 16))
    (found,) = stats.confusion(frame, ABC).values()
    assert found.matrix is None
    assert found.each.tolist() == [[[3, 0], [0, 2]], [[2, 1], [1, 1]], [[3, 0], [1, 1]]]


@pytest.mark.parametrize("seed", range(5))
def test_single_labels_are_scikit_learns(seed):
    truth, said = drawn(seed)
    frame = predictions(truth, said)
    flat = [t for (t,) in truth]
    given = ["unreadable" if each is None else each[0] for each in said]
    row = one(stats.scores(frame, NAMES))
    assert row["accuracy"] == pytest.approx(metrics.accuracy_score(flat, given))
    for kind in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            flat, given, labels=NAMES, average=kind, zero_division=0
        )[:3]
        found = [row[f"{kind}_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected)
    read = [at for at, each in enumerate(said) if each is not None]
    assert row["kappa"] == pytest.approx(
        metrics.cohen_kappa_score([flat[at] for at in read], [given[at] for at in read])
    )
    (found,) = stats.confusion(frame, NAMES).values()
    expected = metrics.confusion_matrix(flat, given, labels=[*NAMES, "unreadable"])
    assert (found.matrix == expected[:5]).all()
    expected = metrics.precision_recall_fscore_support(flat, given, labels=NAMES, zero_division=0)
    each = stats.by_label(frame, NAMES)
    assert (np.array(expected) == each[["precision", "recall", "f1", "support"]].to_numpy().T).all()


@pytest.mark.parametrize("seed", range(5))
def test_several_labels_are_scikit_learns(seed):
    truth, said = drawn(seed, several=True)
    hot = [[[name in (each or ()) for name in NAMES] for each in all_] for all_ in (truth, said)]
    hot = np.array(hot, int)
    frame = predictions([frozenset(each) for each in truth], said)
    row = one(stats.scores(frame, NAMES))
    both = [t == s for t, s in zip(truth, said, strict=True)]
    assert row["accuracy"] == pytest.approx(np.mean(both))
    for kind in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(*hot, average=kind, zero_division=0)[:3]
        found = [row[f"{kind}_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected)
    (found,) = stats.confusion(frame, NAMES).values()
    assert found.matrix is None
    assert (found.each == metrics.multilabel_confusion_matrix(*hot)).all()


def test_unreadable_is_never_a_class():
    truth, said = drawn(1, unreadable=0)
    half = [each if at % 2 else None for at, each in enumerate(said)]
    row, read = (one(stats.scores(predictions(truth, each), NAMES)) for each in (half, said))
    assert (row["labels"], row["unreadable"]) == (5, 100) and read["unreadable"] == 0
    assert row["macro_recall"] < 0.75 * read["macro_recall"]
    assert row["macro_precision"] == pytest.approx(read["macro_precision"], abs=0.1)
    # Two that read nothing agree on nothing, and a label of that name is a label like others.
    both = table("ab", m="??", n="??")
    assert np.isnan(one(stats.between(both))["agreement"])
    assert one(stats.between(both))["both_read"] == 0
    none = one(stats.scores(table("ab", m="??"), ABC))
    assert (none["accuracy"], none["macro_f1"]) == (0, 0)
    assert np.isnan(none["accuracy_readable"]) and np.isnan(none["kappa"])


def test_labels_that_do_not_occur_cost_a_perfect_model_nothing():
    row = one(stats.scores(table("aabb", m="aabb"), ABC))
    assert (row["labels"], row["macro_f1"], row["weighted_f1"], row["kappa"]) == (2, 1, 1, 1)
    assert np.isnan(row["macro_f1_low"])  # no resample differs
    wrong = one(stats.scores(table("aabb", m="aabc"), ABC))
    assert wrong["labels"] == 3 and wrong["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_one_class_only():
    row = one(stats.scores(table("aaa", m="aaa"), ["a"]))
    assert (row["accuracy"], row["macro_f1"], row["labels"]) == (1, 1, 1)
    assert np.isnan(row["kappa"])
    row = one(stats.scores(table("aaa", m="a??"), ["a"]))
    assert row["macro_recall"] == pytest.approx(1 / 3) and row["macro_precision"] == 1
    (found,) = stats.confusion(table("aaa", m="a??"), ["a"]).values()
    assert found.matrix.tolist() == [[1, 2]]


def test_where_no_text_has_a_label_there_is_no_f1():
    frame = table(["", ""], m=["", "?"])
    assert stats.by_label(frame, ABC)["f1"].isna().all()
    row = one(stats.scores(frame, ABC))
    assert row["accuracy"] == 0.5 and row["labels"] == 0
    assert np.isnan(row["macro_f1"]) and np.isnan(row["weighted_f1"])


def test_the_interval_of_macro_f1_is_scipys():
    truth, said = drawn(3, n=150)
    row = one(stats.scores(predictions(truth, said), NAMES))
    names = {(name,): at for at, name in enumerate(NAMES)}
    t = np.array([names[each] for each in truth])
    s = np.array([5 if each is None else names[each] for each in said])

    def macro(t, s, axis=-1):
        hits = np.array([((t == k) & (s == k)).sum(axis) for k in range(5)])
        either = np.array([(t == k).sum(axis) + (s == k).sum(axis) for k in range(5)])
        return (2 * hits / np.maximum(either, 1)).sum(0) / (either > 0).sum(0)

    theirs = scipy_bootstrap(
        (t, s), macro, paired=True, vectorized=True, n_resamples=5000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert row["macro_f1"] == pytest.approx(macro(t, s))
    ends = [row["macro_f1_low"], row["macro_f1_high"]]
    assert ends == pytest.approx([theirs.low, theirs.high], abs=0.012)


def test_many_texts_are_drawn_in_blocks_without_their_order_mattering():
    """A bank that is sorted by label must not look surer than it is."""
    truth = [(NAMES[at // 2000],) for at in range(4000)]
    row = one(stats.scores(predictions(truth, [("l0",)] * 4000), NAMES))
    right = np.random.default_rng(5).binomial(4000, 0.5, 20_000)
    f1 = (2 * right / (right + 4000) + 0) / 2
    ends = [row["macro_f1_low"], row["macro_f1_high"]]
    assert row["macro_f1"] == pytest.approx(1 / 3)
    assert ends == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.001)
    assert ends[1] - ends[0] > 0.01


def test_a_label_that_is_not_one_is_told():
    with pytest.raises(KeyError, match="z"):
        stats.scores(table("ab", m="az"), ABC)


# -- two models


def test_two_models_by_hand():
    frame = table("aaaabbbb??", m="aaaabb?aab", n="aabbbb?bb?")
    row = one(stats.between(frame))
    assert (row["a"], row["prompt_a"], row["b"], row["prompt_b"]) == ("m", "p", "n", "p")
    assert (row["texts"], row["both_read"], row["labelled"]) == (10, 8, 8)
    # read by both: aaaabbaa aabbbbbb; m says a 6 times, n 2
    assert row["agreement"] == 4 / 8
    by_chance = (6 * 2 + 2 * 6) / 64
    assert row["kappa"] == pytest.approx((1 / 2 - by_chance) / (1 - by_chance))
    assert (row["only_a"], row["only_b"]) == (2, 1)
    assert row["p"] == pytest.approx(1) and row["difference"] == -1 / 8
    ends = row["difference_low"], row["difference_high"]
    assert ends == stats.tango(2, 1, 8)
    assert (row["verdict_a"], row["verdict_b"]) == ("open", "open")


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 6), (3, 9), (9, 3), (5, 5), (1, 0)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(only_a, only_b):
    truth = "a" * (only_a + only_b + 4)
    frame = table(
        truth, m="a" * only_a + "?" * only_b + "aabb", n="b" * only_a + "a" * only_b + "aabb"
    )
    row = one(stats.between(frame))
    assert (row["only_a"], row["only_b"]) == (only_a, only_b)
    n, k = only_a + only_b, min(only_a, only_b)
    by_hand = min(1.0, 2 * sum(binom.pmf(i, n, 0.5) for i in range(k + 1)))
    assert row["p"] == pytest.approx(by_hand)
    assert row["p"] == pytest.approx(binomtest(k, n, 0.5).pvalue if n else 1)


def test_each_two_are_compared_and_a_model_with_two_prompts_is_two():
    frame = table("ab", m="ab", n="aa")
    frame = pd.concat([frame, frame[frame["model"] == "m"].assign(prompt="r")])
    found = stats.between(frame)
    pairs = found[["a", "prompt_a", "b", "prompt_b"]].to_numpy().tolist()
    assert pairs == [["m", "p", "m", "r"], ["m", "p", "n", "p"], ["m", "r", "n", "p"]]
    assert found["agreement"].tolist() == [1, 0.5, 0.5]
    assert list(found.columns) == stats.BETWEEN


def test_the_order_of_the_rows_does_not_matter():
    truth, said = drawn(4)
    frame = pd.concat([predictions(truth, said), predictions(truth, truth).assign(model="n")])
    mixed = frame.sample(frac=1, random_state=1)
    assert stats.between(frame).equals(stats.between(mixed))
    assert stats.by_label(frame, NAMES).equals(stats.by_label(mixed, NAMES))


# -- the interval of a difference


def score_test(only_a, only_b, n, d):
    """Tango's statistic, its q found by trying: the likelihood of all shares on a fine grid."""
    q = np.linspace(max(0.0, -d), min(1.0, (1 - d) / 1), 400_001)[1:-1]
    q = q[(q + d > 0) & (2 * q + d < 1)]
    likely = only_a * np.log(q) + only_b * np.log(q + d)
    likely += (n - only_a - only_b) * np.log(1 - 2 * q - d)
    q = q[np.argmax(likely)]
    return (only_b - only_a - n * d) / np.sqrt(n * (2 * q + d * (1 - d)))


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(1, 5, 20), (12, 9, 44), (7, 25, 200)])
def test_the_ends_are_where_the_score_test_refuses(only_a, only_b, n):
    low, high = stats.tango(only_a, only_b, n)
    assert score_test(only_a, only_b, n, low) == pytest.approx(1.95996, abs=1e-3)
    assert score_test(only_a, only_b, n, high) == pytest.approx(-1.95996, abs=1e-3)


def test_the_figures_of_a_textbook():
    """Of complete responses before and after a therapy: 6 of 161 only before, 16 only after.

    Fagerland, Lydersen and Laake 2017, Statistical Analysis of Contingency Tables, ch. 8; the
    figures are those of its R package, contingencytables.
    """
    assert stats.tango(16, 6, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    frame = table("a" * 161, m="a" * 75 + "b" * 86, n="a" * 59 + "b" * 16 + "a" * 6 + "b" * 80)
    row = one(stats.between(frame))
    assert (row["only_a"], row["only_b"]) == (16, 6)
    assert row["p"] == pytest.approx(0.052479, abs=1e-6)
    assert row["difference"] == pytest.approx(-0.0621, abs=5e-5)


def test_the_interval_turns_with_the_models_and_stays_inside():
    for only_a, only_b, n in [(1, 5, 20), (0, 3, 3), (0, 0, 10), (1, 1, 2), (0, 1, 1), (3, 0, 50)]:
        low, high = stats.tango(only_a, only_b, n)
        assert -1 <= low <= (only_b - only_a) / n <= high <= 1 and low < high
        assert stats.tango(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-9)
    z2 = 1.959964**2
    assert stats.tango(0, 0, 10) == pytest.approx((-z2 / (10 + z2), z2 / (10 + z2)), abs=1e-6)
    assert stats.tango(0, 3, 3)[1] == 1 and stats.tango(3, 0, 3)[0] == -1


@pytest.mark.parametrize(
    ("n", "only_a", "only_b"),
    [(30, 0.1, 0.1), (50, 0.05, 0.15), (100, 0.1, 0.12), (200, 0.03, 0.05), (500, 0.1, 0.08)],
)
def test_coverage_of_a_difference(n, only_a, only_b):
    draws = np.random.default_rng(7).multinomial(n, [only_a, only_b, 1 - only_a - only_b], 3000)
    kinds, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    ends = np.array([stats.tango(*map(int, kind), n) for kind in kinds])
    held = (ends[:, 0] <= only_b - only_a) & (only_b - only_a <= ends[:, 1])
    assert 0.93 <= times @ held / 3000 <= 0.97


# -- the verdict


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.1, "better"),
        (0.0, 0.1, "not worse"),
        (-0.0199, 0.01, "not worse"),
        (-0.0199, -0.001, "not worse"),
        (-0.02, 0.01, "open"),
        (-0.0201, 0.5, "open"),
        (-0.1, -0.02, "open"),
        (-0.1, -0.0199, "open"),
        (-0.1, -0.0201, "worse"),
    ],
)
def test_the_verdict_at_both_sides_of_the_margin(low, high, said):
    assert stats.verdict(low, high) == said


def test_the_verdict_of_two_models_at_both_sides_of_the_margin():
    """100 texts, n wrong on 10 that m has right: the ends of the interval decide, both ways."""
    frame = table("a" * 100, m="a" * 100, n="b" * 10 + "a" * 90)
    low, high = stats.tango(10, 0, 100)
    assert high < 0
    for margin, said in [(-low + 1e-6, "not worse"), (-low - 1e-6, "open")]:
        row = one(stats.between(frame, margin))
        assert (row["verdict_b"], row["verdict_a"]) == (said, "better")
    for margin, said in [(-high + 1e-6, "open"), (-high - 1e-6, "worse")]:
        assert one(stats.between(frame, margin))["verdict_b"] == said


# -- without truth


def test_a_model_as_the_reference():
    frame = table("?????", m="aab?b", n="aabb?", o="bbb?a")
    found = stats.against(frame, "m", "p")
    assert sorted(set(found["model"])) == ["n", "o"]
    assert found[found["model"] == "n"]["truth"].tolist() == [("a",), ("a",), ("b",), None, ("b",)]
    rows = stats.scores(found, ABC).set_index("model")
    assert rows.loc["n", "texts"] == 4 and rows.loc["n", "unreadable"] == 1
    assert rows["accuracy"].tolist() == [3 / 4, 1 / 4]
    assert stats.against(frame, "nobody", "p")["truth"].isna().all()


def test_without_truth_there_is_agreement_and_nothing_else():
    frame = table("??", m="ab", n="aa")
    assert stats.scores(frame, ABC).empty and stats.by_label(frame, ABC).empty
    assert stats.confusion(frame, ABC) == {}
    row = one(stats.between(frame))
    assert (row["agreement"], row["labelled"], row["only_a"]) == (0.5, 0, 0)
    for name in ("p", "difference", "difference_low", "verdict_a", "verdict_b"):
        assert pd.isna(row[name])


def test_those_come_first_on_which_the_models_disagree():
    frame = table("?????a", m="aaaa?a", n="aabb?b", o="abbc?c", r="abba?b")
    found = stats.to_label_first(frame, 10)
    # q3 a b c a; q1 and q2 two and two or three; q0 all the same; q4 nobody read; q5 has a truth.
    assert list(found.columns) == stats.TO_LABEL
    votes = dict(
        zip(found["question"], zip(found["votes"], found["entropy"], strict=True), strict=True)
    )
    assert "q5" not in votes
    assert votes["q3"] == (4, pytest.approx(1.5)) and votes["q1"] == (4, pytest.approx(1))
    assert votes["q2"][1] == pytest.approx(-(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)))
    assert votes["q0"] == (4, 0) and votes["q4"] == (0, 0)
    ties = sorted(["q0", "q4"], key=place)
    assert found["question"].tolist() == ["q3", "q1", "q2", *ties]
    assert stats.to_label_first(frame, 2)["question"].tolist() == ["q3", "q1"]


def test_ties_are_in_the_order_that_nobody_chose():
    frame = table("?" * 30, m="a" * 30, n="b" * 30)
    found = stats.to_label_first(frame, 12)["question"].tolist()
    assert found == sorted((f"q{n}" for n in range(30)), key=place)[:12]


def test_labels_in_another_order_are_the_same_vote():
    frame = table(["?"], m=["ab"], n=["ba"])
    assert stats.to_label_first(frame, 1)["entropy"].tolist() == [0]
    assert one(stats.between(frame))["agreement"] == 1


# -- what it costs


def test_what_a_thousand_texts_cost():
    assert stats.cost_per_thousand(0.5, 250) == 2
    assert stats.cost_per_thousand(0.5, 0) is None


def test_where_a_machine_of_ones_own_is_no_dearer():
    # 2 dollars an hour against half a dollar for 1,000: from 4,000 texts an hour on.
    assert stats.break_even(0.5, 2) == 4000
    assert stats.break_even(0, 2) is None
    assert stats.break_even(0.5, 0) == 0


# -- nothing, and nothing to do it with


def test_nothing_gives_nothing():
    empty = table("")
    for found, columns in (
        (stats.scores(empty, ABC), stats.SCORES),
        (stats.by_label(empty, ABC), stats.BY_LABEL),
        (stats.between(empty), stats.BETWEEN),
        (stats.to_label_first(empty, 3), stats.TO_LABEL),
    ):
        assert found.empty and list(found.columns) == columns
    assert stats.confusion(empty, ABC) == {} and stats.against(empty, "m", "p").empty
    alone = table("a", m="a")
    assert stats.between(alone).empty
    assert one(stats.scores(alone, ABC))["macro_f1"] == 1
    apart = pd.concat([alone, alone.assign(model="n", question="other")])
    assert stats.between(apart).empty


def test_without_scikit_learn_it_is_told_what_to_install(monkeypatch):
    for name in ("sklearn", "sklearn.metrics"):
        monkeypatch.setitem(sys.modules, name, None)
    for function in (stats.scores, stats.by_label):
        with pytest.raises(Missing, match=r"pip install 'evalkit\[classify\]'"):
            function(SMALL, ABC)
    assert len(stats.between(table("ab", m="ab", n="aa"))) == 1
    assert len(stats.confusion(SMALL, ABC)) == 1


def test_importing_it_does_not_import_scikit_learn():
    code = "import sys, evalkit.stats.labels; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
