"""What people would have said: a judge's win rates corrected by people's votes on some questions.

A vote is a battle too: its judge is a person, its prompt `vote`. People vote on questions drawn at
random, so that where both spoke tells how far the judge is off where only it did.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit, stdtrit

from evalkit.records import VOTE
from evalkit.stats.agreement import ac1, agreement, crossed, kappa, of_counts, verdicts
from evalkit.stats.battles import BY_RULE, PAIR, UNKNOWN, by_question, groups
from evalkit.stats.intervals import LEVEL, NO_SPREAD, Estimate, Floats, mean, mean_outcome

LABELS_A_PAIR = 20
LABELS_POOLED = 40
"""Labels of a pair, or of all pairs of a judge: below both a win rate is the judge's, not people's.

A label is a question of a pair with a vote."""

PEOPLE = "people"
"""The judge that people are together: with each other, and where no model judged."""

COLUMNS = [
    *PAIR, "questions", "labels", "win_rate_b",
    "win_rate_b_calibrated", "win_rate_b_calibrated_se", "win_rate_b_calibrated_low",
    "win_rate_b_calibrated_high", "win_rate_b_people", "win_rate_b_people_low",
    "win_rate_b_people_high", "bias", "bias_low", "bias_high", "lam", "rho", "multiplier",
    "more_labels", "enough",
]  # fmt: skip
WITH_PEOPLE = [
    "judge", "prompt", "people", "items", "questions",
    "agreement", "agreement_low", "agreement_high",
    "kappa", "kappa_low", "kappa_high", "ac1", "ac1_low", "ac1_high",
]  # fmt: skip

ITEM = ["a", "b", "question"]


class Labelled(NamedTuple):
    """Outcomes of b in [0, 1] on the questions of one pair that a judge has read."""

    people: Floats
    """(n,) of people, on the questions with a label."""
    judge: Floats
    """(n,) of the judge, on the same."""
    rest: Floats
    """(u,) of the judge, on the questions without a label."""


class Calibrated(NamedTuple):
    """A win rate, and how much the judge weighs in it: 0 where people's labels stand alone."""

    rate: Estimate
    lam: float


def of_judges(battles: pd.DataFrame) -> pd.DataFrame:
    """The battles of the models that judged; where none did, of people as the one judge `PEOPLE`.

    Then a battle is an item: the mean over its voters, who grade nothing, without the order, which
    need not be the same for all of them. A tie by rule stands where none of them voted.
    """
    judged = battles[battles["prompt"] != VOTE]
    if len(judged) or battles.empty:
        return judged
    items = by_question(battles)
    ruled = items["order"] == BY_RULE
    voted = items[~ruled].groupby([*ITEM, "category"], as_index=False)["outcome"].mean()
    voted["order"] = UNKNOWN
    together = pd.concat([voted, items[ruled]]).drop_duplicates(ITEM).sort_values(ITEM)
    together = together.assign(judge=PEOPLE, prompt=VOTE, score_a=np.nan, score_b=np.nan)
    return together[battles.columns].reset_index(drop=True)


def calibration(battles: pd.DataFrame) -> pd.DataFrame:
    """One row for each judge, prompt and pair; `COLUMNS`. Rates and biases are fractions.

    `win_rate_b`: the judge's, on `questions`; `_calibrated`: as `calibrated` corrects it by
    `labels` of people; `_people`: of these labels alone. `bias`: the judge's win rate of b less
    people's, on the labelled questions (t). `lam`: the weight of the judge; `rho`: its correlation
    with people inside a pair, over all its pairs; `multiplier`: how many times as many labels
    people alone need; `more_labels` would halve the calibrated interval. `enough`: there is an
    interval, and `LABELS_A_PAIR` or `LABELS_POOLED` are reached.
    A label is the mean over the voters. Votes on what the judge has not read are left out, and
    votes and labels where no judge was asked: both gave the same answer, which is a tie for sure,
    and the rates and biases of the others are drawn towards it by its share.
    """
    judged = by_question(battles)
    votes = judged[(judged["prompt"] == VOTE) & (judged["order"] != BY_RULE)]
    people = votes.groupby(ITEM)["outcome"].mean().rename("people")
    judged = judged[judged["prompt"] != VOTE].join(people, on=ITEM)
    rows: list[tuple[object, ...]] = []
    for _, own in groups(judged, ["judge", "prompt"]):
        pairs = dict(groups(own, PAIR))
        labelled = {key: _labelled(pair) for key, pair in pairs.items()}
        pooled = sum(len(pair.people) for pair in labelled.values())
        by, rho = slope(labelled.values()), correlation(labelled.values())
        for key, pair in pairs.items():
            rows.append((*key, *_row(pair, labelled[key], by, rho, pooled)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = dict.fromkeys(COLUMNS[6:-2], float)
    return table.astype(numbers | {"more_labels": "Int64", "enough": bool})


def with_people(battles: pd.DataFrame) -> pd.DataFrame:
    """How far a judge agrees with one person, a row a judge and prompt; `WITH_PEOPLE`.

    Where two or more voted on an item, a row `people` says how far one person agrees with another.
    Every vote counts, so an item with three counts three times; `people` is how many voted. Ties
    by rule do not count. Intervals: BCa, by question.
    """
    items = by_question(battles[battles["order"] != BY_RULE])
    items["verdict"] = verdicts(items["outcome"].to_numpy(np.float64))
    votes = items.loc[items["prompt"] == VOTE, [*ITEM, "judge", "verdict"]]
    both = items.merge(votes, on=ITEM, suffixes=("", "_of_person"))
    human = both["prompt"] == VOTE
    both = both.assign(judge=both["judge"].astype("str").mask(human, PEOPLE))[
        ~human | (both["judge"] != both["judge_of_person"])
    ]
    rows = []
    for key, part in groups(both, ["judge", "prompt"]):
        said = part["verdict"].to_numpy(np.float64), part["verdict_of_person"].to_numpy(np.float64)
        counts = crossed(*said, part["question"].to_numpy(str))
        values: list[float | None] = []
        for statistic in (agreement, kappa, ac1):
            found = of_counts(statistic, counts)
            values += [found.value, found.low, found.high]
        people, shared = part["judge_of_person"].nunique(), len(part[ITEM].drop_duplicates())
        rows.append((*key, people, shared, len(counts), *values))
    return pd.DataFrame(rows, columns=WITH_PEOPLE).astype(dict.fromkeys(WITH_PEOPLE[5:], float))


def calibrated(pair: Labelled, by: float, level: float = LEVEL) -> Calibrated:
    """People's win rate of b on all questions, from their labels and the judge's outcomes: PPI++.

    theta = lam mean(rest) + mean(people - lam judge), lam as `weight` gives it from the slope `by`,
    SE^2 = lam^2 var(rest) / u + var(people - lam judge) / n (ddof 1) (Angelopoulos, Duchi and
    Zrnic 2023, arXiv:2311.01453). The two terms are independent since no question is in both: with
    the labelled questions in the first too, as if they were others, the SE leaves out what they
    share, and 40 labels on 80 questions cover .92 instead of .95 at a correlation of .8. The
    value is the same as mean(people) - by (mean(judge) - the judge's mean on all n + u).
    The interval is that of `intervals.mean_outcome`, t with n - 1 on the log-odds, and the same one
    where lam is 0: the plain one covers .89 at a win rate of .8 and 20 labels. People's labels
    stand alone, lam 0, where fewer than two questions have none, where the labels are all the same
    and tell of no spread, and where theta is not inside (0, 1).
    """
    people, judge, rest = pair
    alone = Calibrated(mean_outcome(people, level), 0.0)
    n, lam = len(people), weight(by, pair)
    if n < 2 or len(rest) < 2 or np.ptp(people) < NO_SPREAD:
        return alone
    value = lam * float(np.mean(rest)) + float(np.mean(people - lam * judge))
    of_rest, of_labels = np.var(rest, ddof=1), np.var(people - lam * judge, ddof=1)
    se = float(lam**2 * of_rest / len(rest) + of_labels / n) ** 0.5
    if not 0 < value < 1 or se < NO_SPREAD:
        return alone
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * se / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-half, half]))
    return Calibrated(Estimate(value, se, float(low), float(high)), lam)


def weight(by: float, pair: Labelled) -> float:
    """The lam with the smallest SE: by / (1 + n / u), from 0 to 1; 0 where all have a label."""
    n, u = len(pair.people), len(pair.rest)
    return float(np.clip(by * u / max(n + u, 1), 0, 1))


def slope(pairs: Iterable[Labelled]) -> float:
    """cov(people, judge) / var(judge), one for all pairs of a judge; 0 where it cannot be told.

    The covariance is of a pair's labels, the variance of all its questions (ddof 1), and both are
    averaged over the pairs with n - 1, so that a pair of few labels borrows from the others.
    """
    together = of_all = 0.0
    for people, judge, rest in pairs:
        if len(people) > 1:
            together += _products(people, judge)
            of_all += (len(people) - 1) * float(np.var(np.append(judge, rest), ddof=1))
    return together / of_all if of_all > NO_SPREAD else 0.0


def correlation(pairs: Iterable[Labelled]) -> float | None:
    """corr(people, judge) inside a pair, over all pairs of a judge; None where one never varies."""
    together = of_people = of_judge = 0.0
    for people, judge, _ in pairs:
        if len(people) > 1:
            together += _products(people, judge)
            of_people += _products(people, people)
            of_judge += _products(judge, judge)
    if min(of_people, of_judge) < NO_SPREAD:
        return None
    return float(np.clip(together / (of_people * of_judge) ** 0.5, -1, 1))


def multiplier(rho: float | None) -> float | None:
    """1 / (1 - rho^2): how many labels alone are worth one beside a judge asked without end.

    1 for a judge that contradicts people, since lam is never below 0; None where there is no rho,
    or one of 1.
    """
    if rho is None or 1 - rho < NO_SPREAD:
        return None
    return 1 / (1 - max(rho, 0.0) ** 2)


def more_labels(pair: Labelled, by: float) -> int | None:
    """How many labels more would halve the SE of `calibrated`, all other things equal.

    m is the smallest number of labels with SE(m) <= SE(n) / 2, the variances, the covariance, and
    the number of questions being those that are found now, and lam being tuned to m; the answer is
    m - n. None where labels on all questions would not do it. By the 1/sqrt(n) law of labels alone
    it is 3 n.
    """
    people, judge, rest = pair
    n, u = len(people), len(rest)
    if n < 2 or u < 2:
        return None
    of_rest, of_people, of_judge = (float(np.var(each, ddof=1)) for each in (rest, people, judge))
    together = _products(people, judge) / (n - 1)
    labels = np.arange(n, n + u + 1)
    left = n + u - labels
    lam = np.clip(by * left / (n + u), 0, 1)
    of_labels = of_people - 2 * lam * together + lam**2 * of_judge
    squared = lam**2 * of_rest / np.maximum(left, 1) + of_labels / labels
    halved = squared <= squared[0] / 4
    if squared[0] < NO_SPREAD**2 or not halved.any():
        return None
    return int(np.argmax(halved))


def _row(
    questions: pd.DataFrame, pair: Labelled, by: float, rho: float | None, pooled: int
) -> tuple[object, ...]:
    """The columns of one pair after its names; `questions`: a row each, as the judge saw them."""
    labels, asked = len(pair.people), len(pair.people) + len(pair.rest)
    share = asked / len(questions)
    found = calibrated(pair, by)
    rate = _drawn(found.rate, share, 0.5)
    people = _drawn(mean_outcome(pair.people), share, 0.5)
    bias = _drawn(mean(pair.judge - pair.people), share, 0.0)
    return (
        len(questions),
        labels,
        float(questions["outcome"].mean()),
        *rate,
        *(people.value, people.low, people.high),
        *(bias.value, bias.low, bias.high),
        found.lam if labels else None,
        rho,
        multiplier(rho),
        more_labels(pair, by if found.lam else 0.0),
        rate.low is not None and (labels >= LABELS_A_PAIR or pooled >= LABELS_POOLED),
    )


def _labelled(pair: pd.DataFrame) -> Labelled:
    asked = pair[pair["order"] != BY_RULE]
    voted = asked["people"].notna()
    people, judge = (asked.loc[voted, name].to_numpy(np.float64) for name in ("people", "outcome"))
    return Labelled(people, judge, asked.loc[~voted, "outcome"].to_numpy(np.float64))


def _drawn(found: Estimate, share: float, to: float) -> Estimate:
    """Of the questions asked, told for all: the others are `to` for sure."""
    value, se, *ends = found
    low, high = (None if end is None else to + share * (end - to) for end in ends)
    return Estimate(
        None if value is None else to + share * (value - to),
        None if se is None else share * se,
        low,
        high,
    )


def _products(one: Floats, other: Floats) -> float:
    """(n,), (n,) -> the sum of products of what is off their means."""
    return float((one - one.mean()) @ (other - other.mean()))
