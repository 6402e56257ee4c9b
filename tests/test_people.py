"""People on the page: a vote is no judge's review, and many tell how far a judge can be trusted."""

import json
from dataclasses import replace

import pytest
from conftest import answer, question, review, write_lines

from evalkit.records import VOTE, Answer, Question, Review, human
from evalkit.report import people, words
from evalkit.report.caveats import caveats
from evalkit.report.comparison import comparison
from evalkit.report.page import page
from evalkit.report.results import evidence
from evalkit.report.summary import summary

N = 60
BANK = [question(f"q{n}", category=("math", "writing")[n % 2]) for n in range(N)]
OF_PEOPLE = {"calibration", "with_people", "voters"}
COMMAND = "evalkit vote --bank 'my bank'"
IN_TURN = [(0, 1), (1, 0), (0.5, 0.5)]
LIKE_THE_JUDGE = [(1, 0), (1, 0), (0.5, 0.5), (0, 1), (0, 1), (1, 0)]


def judged(b="b", judge="judge", by=1):
    """Reviews of a and b in both orders, of which the judge changes its mind on some."""
    for n, each in enumerate(BANK):
        for shown in (("a", b), (b, "a")):
            scores = (8, 5 + (n * by + (shown[0] == b)) % 6)
            yield review(each["id"], shown, scores if shown[0] == "a" else scores[::-1],
                         judge=judge)  # fmt: skip


def voted(n, name="ann", b="b", first=0, wins=IN_TURN, **more):
    """Votes on n questions."""
    for m, each in enumerate(BANK[first : first + n]):
        yield review(each["id"], ("a", b), wins[m % len(wins)], judge=human(name), prompt=VOTE,
                     text=f"note {m}", **more)  # fmt: skip


def found(*parts, said=None, bank="my bank"):
    """The evidence of reviews; `said`: what a model answers, by model, where it is not its own."""
    rows = [Review.model_validate(row) for part in parts for row in part]
    models = sorted({name for row in rows for name in row.shown})
    asked = [Question.model_validate(each) for each in BANK]
    answers = [
        Answer.model_validate(answer(q.id, m, (said or {}).get((q.id, m))))
        for q in asked
        for m in models
    ]
    return evidence(bank, asked, answers, rows, "a")


def told(made):
    """What is said of calibration below the verdict."""
    return [each for each in caveats(made.results) if "alibrated" in each]


# -- in no table of judges


def test_tables_of_judges_are_the_same_with_people_and_without():
    judges = [*judged(), *judged("c"), *judged(judge="other", by=5), *judged("c", "other", 3)]
    bare = found(judges).results.model_dump()
    votes = [*voted(30), *voted(10, "bob", "c"), *voted(20, "bob", first=20)]
    with_votes = found(judges, votes).results.model_dump()
    assert bare.keys() - {name for name in bare if bare[name] != with_votes[name]} == (
        bare.keys() - OF_PEOPLE
    )
    for name in ("pooled", "panel", "agreement", "leaderboard", "relative_score", "judge_card"):
        assert with_votes[name], f"{name} has something to leave people out of"
    assert with_votes["judges"] == ["judge", "other"]
    assert all(bare[name] == [] for name in OF_PEOPLE)
    assert with_votes["voters"] == [
        {"voter": "ann", "votes": 30, "stale": 0}, {"voter": "bob", "votes": 30, "stale": 0},
    ]  # fmt: skip
    assert {(row["judge"], row["people"]) for row in with_votes["with_people"]} == {
        ("judge", 2), ("other", 2), ("people", 2)
    }  # fmt: skip


def test_a_pair_without_a_label_has_no_row():
    made = found(judged(), judged("c"), voted(3))
    assert [(row.b, row.labels, row.enough) for row in made.results.calibration] == [
        ("b", 3, False)
    ]


def test_stale_votes_are_said():
    rows = list(voted(4))
    rows[0]["answers"] = ["f" * 16, rows[0]["answers"][1]]
    for judges in (list(judged()), []):
        made = found(judges, rows).results
        assert [(row.votes, row.stale) for row in made.voters] == [(3, 1)]
        assert any(each.startswith("1 reviews left out") for each in made.missing)
    gone = found(judged(), voted(2, answers=["f" * 16] * 2))
    assert [(row.votes, row.stale) for row in gone.results.voters] == [(0, 2)]
    assert words.strip(gone.results) == ["judge judge, 120 reviews"]
    taken_back = [row | {"scores": None} for row in voted(2, answers=["f" * 16] * 2)]
    assert not found(judged(), taken_back).results.voters  # none is there to be told
    assert "Who voted" not in page(gone)


# -- what is said


def test_without_votes_it_is_said_how_to_vote():
    assert told(found(judged())) == [
        f"The judge's win rates are not calibrated to people. To vote: {COMMAND}"
    ]


@pytest.mark.parametrize(("n", "labels"), [(1, "1 label"), (12, "12 labels")])
def test_too_few_labels_are_said(show, n, labels):
    made = found(judged(), voted(n))
    assert told(made) == [
        f"The judge's win rates are not calibrated to people: {labels} of 20 for a pair. "
        f"To vote: {COMMAND}"
    ]
    assert not any("human-calibrated" in each for each in words.verdicts(made.results))
    row = show(page(made)).locator("#judge tr.quiet").all_inner_texts()
    assert len(row) == 1 and f"\t{n}\t" in row[0] and "not enough labels" in row[0]


@pytest.mark.parametrize("graded", [True, False])
def test_with_enough_labels_the_verdict_says_what_people_would(graded):
    rows = [{**row, **({} if graded else {"soft": True, "scores": [0.75, 0.25]})}
            for row in judged()]  # fmt: skip
    made = found(rows, voted(25, wins=LIKE_THE_JUDGE))
    (row,) = made.results.calibration
    assert row.enough and row.labels == 25
    assert graded == (row.win_rate_b_calibrated_low != row.win_rate_b_people_low)
    assert told(made) == []
    digits = 0 if graded else 1
    value, *ends = (
        f"{100 * each:.{digits}f}"
        for each in (
            row.win_rate_b_calibrated, row.win_rate_b_calibrated_low,
            row.win_rate_b_calibrated_high,
        )
    )  # fmt: skip
    (verdict,) = words.verdicts(made.results)
    assert verdict.startswith("b reaches" if graded else "b has a win rate")
    assert (
        f"; human-calibrated, its win rate is {value}% [{', '.join(ends)}], from 25 labels by "
        "people. Judged by judge"
    ) in verdict
    assert verdict in summary(made.results).replace("\\", "")
    if graded:
        both = comparison(made.results, "a", "b")
        assert ["human-calibrated", f"{100 * row.win_rate_b_calibrated:.1f}"] in [
            line.split()[:2] for line in both.splitlines()
        ]
        assert "25 labels of people" in both
    agreement = 100 * made.results.with_people[0].agreement
    assert f"agrees with people {agreement:.0f} %" in words.table(made.results)


def test_a_pair_that_has_not_enough_is_named_where_another_has():
    made = found(judged("c"), judged(), judged("d"), voted(25), voted(3, b="d"))
    assert told(made) == [
        "Not calibrated to people: c against a (0 labels of 20); d against a (3 labels of 20)."
    ]
    others = [list(judged(name)) for name in "cdefg"]
    assert told(found(judged(), voted(25), *others))[0].endswith(
        "; e against a (0 labels of 20); and 2 more."
    )


def test_a_judge_is_named_where_another_has_enough_of_the_same_pair():
    few = [row for row in judged(judge="other") if row["question"] < "q2"]
    made = found(judged(), few, voted(25))
    labels = {row.judge: row.labels for row in made.results.calibration}
    assert labels["other"] < 20 <= labels["judge"]
    assert told(made) == [
        "Not calibrated to people: b against a, judged by other with pair-scores "
        f"({labels['other']} labels of 20)."
    ]


def test_what_a_label_is_worth(show):
    made = found(judged(), voted(25))
    (row,) = made.results.calibration
    first, *more = people.worth(made.results)
    assert f"correlate by {row.rho:.2f} inside a pair" in first
    assert f"worth up to {row.multiplier:.1f} labels alone" in first
    halved = [f"b against a: about {row.more_labels} more labels would halve the interval."]
    assert more == (halved if row.more_labels else [])
    assert first in " ".join(show(page(made)).locator("#judge .how").all_text_contents())


# -- people alone


def test_people_alone_are_one_judge(show):
    made = found(voted(4), voted(2, "bob", first=1))
    # ann: 1 0 .5 1; bob: - 1 0 -
    assert made.results.judges == ["people"]
    (pair,) = made.results.pairs
    assert (pair.judge, pair.prompt) == ("people", VOTE)
    assert (pair.wins_b, pair.ties, pair.wins_a, pair.questions) == (2, 1, 1, 4)
    assert pair.win_rate_b == pytest.approx((1 + 0.5 + 0.25 + 1) / 4)
    assert pair.ratio_b_to_a is None, "nobody gave a grade"
    assert [(row.judge, row.reviews) for row in made.results.reviews] == [("people", 6)]
    (card,) = made.results.judge_card
    assert (card.items, card.asked_again) == (0, 0), "two people are no two orders, nor two samples"
    assert [row.judge for row in made.results.with_people] == ["people"]
    assert "agree with each other 25 %" in words.in_short(made.results, card)
    assert made.results.calibration == made.results.agreement == made.results.pooled == []
    assert told(made) == []
    assert "a against b, judged by people: 56 of 60 questions have no vote." in made.results.missing
    (verdict,) = words.verdicts(made.results)
    assert verdict.startswith("b has a win rate of 68.8%") and verdict.endswith("by people.")
    tab = show(page(made))
    strip = tab.inner_text(".strip")
    assert "6 votes by 2 people" in strip and "judge" not in strip
    assert "Who voted: ann (4 votes), bob (2 votes)." in tab.inner_text("#method")
    assert "was not kept" not in tab.inner_text("#verdict")
    chinese = show(page(replace(made, language="zh")))
    assert "由 人 评判" in chinese.inner_text("#verdict")
    assert show.heard == []


def test_people_alone_from_the_command_line(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", BANK)
    for model in "ab":
        rows = [answer(each["id"], model) for each in BANK]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    write_lines(tmp_path / "reviews" / "mine" / "human-ann.vote.jsonl", list(voted(5)))
    ran = evalkit("report", "--baseline", "a", "--csv", "--md", "--png")
    assert ran.code == 0, ran.err
    assert "judged by people with vote, 5 reviews" in ran.out
    assert json.loads((tmp_path / "reports" / "mine.json").read_text())["judges"] == ["people"]


def test_the_same_answer_is_a_tie_to_people_alone_unless_they_said_otherwise():
    same = {(q, m): "the same" for q in ("q4", "q5") for m in "ab"}
    hashes = [Answer.model_validate(answer("q5", "a", "the same")).hash] * 2
    one = voted(1, "bob", first=5, answers=hashes)
    made = found(voted(4), one, said=same)
    (pair,) = made.results.pairs
    assert (pair.questions, pair.ties_by_rule, pair.wins_b) == (6, 1, 3)
    assert set(made.battles["question"]) == {f"q{n}" for n in range(6)}


def test_a_tie_by_rule_is_nobody_s_vote():
    same = {("q4", m): "the same" for m in "ab"}
    judges = [row for row in judged() if row["question"] != "q4"]
    table = found(judges, voted(4), said=same).battles
    assert set(table.loc[table["question"] == "q4", "judge"]) == {"judge"}


# -- among the reviews of a question


def test_a_vote_is_among_the_reviews_of_its_question(show):
    tab = show(page(found(judged(), voted(3))))
    tab.evaluate("location.hash = '#q=q1&a=a&b=b'")
    tab.wait_for_selector("#explorer.ready .reading h3")
    tab.wait_for_timeout(50)
    reviews = tab.locator(".review")
    assert reviews.count() == 3
    vote = reviews.nth(2)
    assert "a 1, b 0 ann, a vote, a shown first" in vote.inner_text()
    assert "note 1" in vote.inner_text()
    assert reviews.nth(0).locator("details").count() == 1
    assert vote.locator("details").count() == 0, "what a judge was told is told of judges"
    assert tab.locator(".score").first.inner_text() == "8 · 8", "a vote is no grade"
    judges = tab.locator("select[aria-label='Judge'] option").all_inner_texts()
    assert judges == ["every judge", "ann, a vote", "judge, pair-scores"]
    assert show.heard == []
