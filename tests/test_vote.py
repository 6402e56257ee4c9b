"""A person as the judge: blind, drawn by chance, and no vote lost or counted twice."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import httpx
import pytest
from conftest import answer, question, read_lines, review, write_lines
from hostile import BEACON, TEXTS

from evalkit.judge.standing import standing
from evalkit.records import VOTE, Answer, Question, Review, human
from evalkit.vote.ballot import Choice, Session, ballot, place

MODELS = ("zebra-7b", "quagga-13b")
CLOCK = "2026-01-02T03:04:05+00:00"


def bank_of(n):
    return [Question.model_validate(question(f"q{k}")) for k in range(n)]


def answers_of(bank, models=MODELS):
    return [
        Answer.model_validate(answer(each.id, model, turns=[f"{model[0]} says {each.id}"]))
        for each in bank for model in models
    ]  # fmt: skip


def drawn(voter="ann", n=40, models=MODELS, pairs=(MODELS,), judged=None, **choice):
    bank = bank_of(n)
    return ballot(voter, bank, answers_of(bank, models), pairs, judged or {}, Choice(40, **choice))


def ids(showings):
    return [showing.question.id for showing in showings]


# -- what is shown


def test_the_order_is_drawn_and_the_same_again():
    first = drawn()
    assert sorted(ids(first)) == sorted(each.id for each in bank_of(40))
    assert ids(first) != sorted(ids(first)) and ids(first) != [q.id for q in bank_of(40)]
    assert drawn() == first
    assert ids(drawn(seed=1)) != ids(first)


def test_more_questions_do_not_change_the_order_of_those_there_were():
    old = set(ids(drawn(n=40)))
    assert [each for each in ids(drawn(n=60)) if each in old] == ids(drawn(n=40))


def test_each_person_gets_others_and_with_shared_the_same():
    assert ids(drawn("ann")) != ids(drawn("bob"))
    ann, bob = drawn("ann", shared=True), drawn("bob", shared=True)
    assert ids(ann) == ids(bob)
    assert [each.shown for each in ann] != [each.shown for each in bob]


def test_every_question_comes_first_as_often_and_so_does_every_model():
    firsts = Counter(drawn(f"v{n}", n=8)[0].question.id for n in range(800))
    assert len(firsts) == 8 and all(60 < count < 140 for count in firsts.values())
    on_the_left = [each.shown[0] for n in range(40) for each in drawn(f"v{n}", n=10)]
    assert 150 < on_the_left.count(MODELS[0]) < 250


def test_only_what_a_judge_has_read_is_drawn_where_there_is_any():
    judged = {frozenset(MODELS): {"q1", "q7"}}
    assert sorted(ids(drawn(judged=judged))) == ["q1", "q7"]
    third = (MODELS[0], "okapi")
    shown = drawn(n=4, models=(*MODELS, "okapi"), pairs=(MODELS, third), judged=judged)
    assert Counter(frozenset(each.shown) for each in shown) == {
        frozenset(MODELS): 1, frozenset(third): 4,
    }  # fmt: skip


def test_pairs_take_turns():
    pairs = (MODELS, (MODELS[0], "okapi"))
    shown = drawn(n=6, models=(*MODELS, "okapi"), pairs=pairs)
    assert [frozenset(each.shown) for each in shown] == [*map(frozenset, pairs)] * 6


def test_the_same_answer_from_both_is_no_question_to_anybody():
    bank = bank_of(3)
    said = [
        Answer.model_validate(answer(each.id, m, turns=["same"])) for each in bank for m in MODELS
    ]
    assert ballot("ann", bank, said, [MODELS], {}, Choice(9)) == []


# -- a session


def session(n=5, most=3, votes=(), rows=0):
    kept = []
    made = Session("ann", drawn(n=n), votes, rows, Choice(most), kept.append, lambda: CLOCK)
    return made, kept


def counted(kept, n=5):
    bank = bank_of(n)
    return standing(bank, answers_of(bank), kept, {})[0]


def test_a_vote_is_a_review_of_what_was_shown():
    made, kept = session()
    shown = made.next
    made.vote("2", "clearer")
    assert kept == [Review(
        question=shown.question.id, judge=human("ann"), prompt=VOTE, shown=shown.shown,
        answers=kept[0].answers, text="clearer", scores=(0, 1), rung="strict", time=CLOCK,
        asked=kept[0].asked,
    )]  # fmt: skip
    assert counted(kept) == kept  # of the answers that stand
    assert (made.votes, made.wanted) == (1, 3)
    assert made.next.question.id != shown.question.id
    for winner, scores in (("1", (1, 0)), ("0", (0.5, 0.5))):
        made.vote(winner, "")
        assert kept[-1].scores == scores
    assert made.next is None
    made.vote("1", "")  # nothing is shown
    assert len(kept) == 3


def test_undo_shows_the_last_one_again_and_the_rows_stay():
    made, kept = session()
    made.vote("1", "")
    second = made.next
    made.vote("1", "no")
    made.undo()
    assert made.next == second and made.votes == 1
    assert [row.scores for row in counted(kept)] == [(1, 0)]
    made.vote("1", "no")  # the very same again
    assert len({row.asked for row in kept}) == len(kept) == 4
    assert len(counted(kept)) == 2
    made.undo(), made.undo(), made.undo()
    assert made.votes == 0 and counted(kept) == [] and len(kept) == 6
    assert not made.can_undo


def test_what_was_left_for_later_comes_again_at_the_end():
    made, _ = session(n=3)
    order = [made.next.question.id]
    made.skip()
    order.append(made.next.question.id)
    made.skip()
    assert made.put_off == 2
    made.vote("1", "")
    assert [made.next.question.id] == order[:1]
    made.skip()
    assert [made.next.question.id] == order[1:]
    made.vote("1", "")
    made.vote("1", "")
    assert (made.next, made.put_off) == (None, 0)


def test_votes_of_before_count_and_their_questions_do_not_come_again():
    _, kept = session(most=5)
    first, kept = session(most=5)
    first.vote("1", ""), first.vote("2", "")
    done = {place(row) for row in kept}
    again, more = session(most=3, votes=kept, rows=len(kept))
    assert (again.votes, again.wanted) == (2, 3)
    assert place(again.next) not in done
    again.vote("0", "")
    assert again.next is None
    assert more[0].asked not in {row.asked for row in kept}
    again.undo(), again.undo()
    assert again.next.question.id == kept[1].question  # what an earlier page left


def test_what_cannot_be_kept_is_no_vote():
    def full(row):
        raise OSError("full")

    made = Session("ann", drawn(n=5), (), 0, Choice(3), full, lambda: CLOCK)
    before = made.next
    with pytest.raises(OSError, match="full"):
        made.vote("1", "")
    assert (made.next, made.votes, made.turn) == (before, 0, 0)


# -- the page on this machine


@pytest.fixture
def bank(tmp_path):
    """Twelve questions, one of two turns, judged by a model."""
    asked = [question(f"q{n}") for n in range(11)] + [question("long", turns=["One?", "And two?"])]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    for model in MODELS:
        said = [f"**{model[0]}** says", f"and {model[0]}"]
        rows = [answer(q["id"], model, turns=said[: len(q["turns"])]) for q in asked]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    said = {
        (row["question"], model): Answer.model_validate(row).hash
        for model in MODELS
        for row in read_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl")
    }
    judged = [
        review(q["id"], MODELS, (9, 3)) | {"answers": [said[q["id"], m] for m in MODELS]}
        for q in asked
    ]
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", judged)
    return tmp_path


@contextmanager
def voting(folder, *args):
    """The process, and the address of each voter."""
    command = [sys.executable, "-m", "evalkit", "vote", *map(str, args)]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        links = {}
        for line in process.stderr:
            if found := re.fullmatch(r"evalkit: (\S+), .* votes: (http\S+)\n", line):
                links[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError(process.wait())
        yield process, links
    finally:
        process.kill()
        process.communicate()


def votes(folder, voter="ann"):
    return read_lines(folder / "reviews" / "mine" / f"human-{voter}.vote.jsonl")


def turn(text):
    return re.search(r'name="turn" value="(\d+)"', text)[1]


def press(link, text, **fields):
    return httpx.post(link, data={"turn": turn(text), **fields}, follow_redirects=True).text


def test_a_vote_by_its_buttons_alone(bank):
    with voting(bank, "--voter", "ann", "--n", 3) as (process, links):
        link = links["ann"]
        text = httpx.get(link).text
        assert "0 of 3 votes" in text
        text = press(link, text, vote="2", note="clearer")
        assert "1 of 3 votes" in text
        (row,) = votes(bank)
        assert (row["text"], row["scores"], row["judge"]) == ("clearer", [0, 1], "human-ann")
        text = press(link, press(link, text, vote="1"), vote="0")
        assert "That is all: 3 votes" in text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "ann: 3 of 3 votes\n"), err
    assert "Next: evalkit report --bank mine --open" in err


def test_an_older_page_is_not_heard(bank):
    """A double click, a second tab, the back button: the same page answers twice."""
    with voting(bank, "--voter", "ann", "--n", 3) as (_, links):
        old = httpx.get(links["ann"]).text
        press(links["ann"], old, vote="1")
        assert "1 of 3 votes" in press(links["ann"], old, vote="2")
        assert "1 of 3 votes" in press(links["ann"], old, do="undo")
        assert [row["scores"] for row in votes(bank)] == [[1, 0]]
        now = press(links["ann"], old, vote="1")
        press(links["ann"], now, do="skip")
        assert "1 of 3 votes" in press(links["ann"], now, vote="1")


def test_killed_and_begun_again_nothing_is_lost(bank):
    with voting(bank, "--voter", "ann", "--n", 4) as (process, links):
        text = press(links["ann"], httpx.get(links["ann"]).text, vote="1")
        press(links["ann"], press(links["ann"], text, vote="2"), do="undo")
        process.kill()
        process.wait()
    before = votes(bank)
    assert len(before) == 3
    with voting(bank, "--voter", "ann", "--n", 4) as (_, links):
        text = httpx.get(links["ann"]).text
        assert "1 of 4 votes" in text
        press(links["ann"], text, vote="1")
    assert votes(bank)[:3] == before and len(votes(bank)) == 4


def test_one_voter_one_evalkit(bank, evalkit):
    with voting(bank, "--voter", "ann"):
        ran = evalkit("vote", "--voter", "ann")
        assert ran.code == 2
        assert "another evalkit" in ran.err and "is writing" in ran.err


NOT_ITS_OWN = [
    ({"headers": {"Origin": "http://evil.example"}}, 403),
    ({"headers": {"Origin": "null"}}, 403),
    ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ({"headers": {"Sec-Fetch-Site": "same-site"}}, 403),
    ({"headers": {"Host": "evil.example"}}, 421),
    ({"data": {"turn": "0", "vote": "3"}}, 400),
    ({"data": {"turn": "0", "do": "all"}}, 400),
    ({"data": {"turn": "0", "vote": "1", "note": "x" * 100_000}}, 413),
    ({"content": b"turn=\xff\x00&vote=1", "data": None}, 303),  # of no turn: not heard
    ({"data": {"vote": "1"}}, 303),
]


def test_requests_that_are_not_the_pages_own(bank):
    with voting(bank, "--voter", "ann") as (_, links):
        for how, code in NOT_ITS_OWN:
            reply = httpx.post(links["ann"], **{"data": {"turn": "0", "vote": "1"}, **how})
            assert reply.status_code == code, how
            assert MODELS[0] not in reply.text
            assert not (bank / "reviews" / "mine" / "human-ann.vote.jsonl").exists(), how
        its_own = {"Sec-Fetch-Site": "same-origin", "Origin": links["ann"].rpartition("/")[0]}
        httpx.post(links["ann"], data={"turn": "0", "vote": "1"}, headers=its_own)
    assert len(votes(bank)) == 1


def test_nobody_guesses_an_address(bank):
    with voting(bank, "--voter", "ann", "--voter", "bob") as (_, links):
        root = links["ann"].rpartition("/")[0]
        for path in ("/", "/ann", "/x" * 10, "/" + links["ann"].rpartition("/")[2][:-1]):
            reply = httpx.get(root + path)
            assert reply.status_code == 404
            assert MODELS[0] not in reply.text
        assert len({*links.values()}) == 2
        assert all(len(link.rpartition("/")[2]) > 20 for link in links.values())
        assert httpx.put(links["ann"]).status_code == 405


def test_every_reply_says_what_it_may(bank):
    with voting(bank, "--voter", "ann") as (_, links):
        head = httpx.get(links["ann"]).headers
    assert head["cache-control"] == "no-store"
    assert head["referrer-policy"] == "same-origin"
    assert head["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in head["content-security-policy"]
    assert "frame-ancestors 'none'" in head["content-security-policy"]
    assert not {"access-control-allow-origin", "server"} & set(head)


def test_other_machines_only_when_it_is_meant(bank, evalkit):
    ran = evalkit("vote", "--host", "0.0.0.0")
    assert ran.code == 2
    assert "--host 0.0.0.0 lets other machines reach the page" in ran.err
    with voting(bank, "--voter", "ann", "--host", "0.0.0.0", "--yes") as (_, links):
        name, rest = re.fullmatch(r"http://(.+)(:\d+/.+)", links["ann"]).groups()
        assert name == socket.gethostname()
        near = f"http://127.0.0.1{rest}"
        assert httpx.get(near).status_code == 200
        other = {"Origin": "http://elsewhere:1"}
        assert httpx.post(near, headers=other, data={"vote": "1"}).status_code == 403


def test_a_port_that_is_taken(bank, evalkit):
    with voting(bank, "--voter", "ann") as (_, links):
        port = re.search(r":(\d+)/", links["ann"])[1]
        ran = evalkit("vote", "--voter", "bob", "--port", port)
    assert (ran.code, ran.lines[-1]) == (
        2, f"cannot listen at 127.0.0.1:{port}: address already in use"
    )  # fmt: skip


def test_what_there_is_nothing_to_vote_on(tmp_path, evalkit):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question("q1")])
    for model in MODELS:
        write_lines(
            tmp_path / "answers" / "mine" / f"{model}.jsonl", [answer("q1", model, turns=["same"])]
        )
    ran = evalkit("vote", "--bank", "mine", "--baseline", MODELS[0])
    assert (ran.code, ran.lines[-1]) == (
        2,
        "there is no pair of different answers to vote on",
    )


def test_answers_that_name_their_model_are_told(bank):
    rows = read_lines(bank / "answers" / "mine" / f"{MODELS[0]}.jsonl")
    rows[0]["turns"] = [f"I am {MODELS[0].upper()}."]
    write_lines(bank / "answers" / "mine" / f"{MODELS[0]}.jsonl", rows)
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", "vote", "--voter", "ann"], cwd=bank,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    process.kill()
    process.communicate()
    assert line == "evalkit: 1 answer may say by name who wrote it; shown as it is\n"


def test_the_report_counts_the_votes_that_stand(bank, evalkit):
    with voting(bank, "--voter", "ann", "--n", 4) as (_, links):
        text = httpx.get(links["ann"]).text
        for _ in range(4):
            text = press(links["ann"], text, vote="0")
        press(links["ann"], text, do="undo")
    found = json.loads(evalkit("report", "--json", "--baseline", MODELS[0]).out)
    (row,) = found["calibration"]
    assert (row["labels"], row["win_rate_b_people"]) == (3, 0.5)


# -- in a browser


def listened(tab):
    """All that a tab receives: addresses, heads and bodies."""
    heard = []

    def keep(reply):
        body = "" if reply.status in (301, 302, 303) else reply.text()
        heard.append(f"{reply.url} {reply.all_headers()} {body}")

    tab.on("response", keep)
    return heard


def wait_for(tab, count):
    tab.locator("header", has_text=re.compile(rf"(^|\D){count} votes")).wait_for()


def test_ten_votes_by_keyboard_undo_reload_and_two_voters(bank, browser):
    with voting(bank, "--voter", "ann", "--voter", "bob", "--shared", "--n", 10) as (_, links):
        for voter, link in links.items():
            tab = browser.new_page()
            heard = listened(tab)
            errors = []
            tab.on("console", lambda message, errors=errors: errors.append(message.text))
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            tab.goto(link)
            for n in range(5):
                tab.keyboard.press("102"[n % 3])
                wait_for(tab, f"{n + 1} of 10")
            tab.keyboard.press("u")
            wait_for(tab, "4 of 10")
            asked = tab.locator("main").inner_text()
            tab.reload()
            assert tab.locator("main").inner_text() == asked
            tab.keyboard.press("s")
            tab.wait_for_selector("text=1 left for later")
            tab.keyboard.press("n")
            tab.keyboard.type("120us note")
            tab.keyboard.press("Enter")  # no vote
            tab.wait_for_timeout(200)
            assert tab.get_by_label("Note").input_value() == "120us note"
            tab.keyboard.press("Escape")
            for n in range(4, 10):
                tab.keyboard.press("1")
                wait_for(tab, f"{n + 1} of 10")
            assert "That is all: 10 votes" in tab.locator("main").inner_text()
            assert errors == []
            assert len(heard) > 20
            for model in MODELS:
                assert not [each for each in heard if model in each]
            kept = votes(bank, voter)
            assert len(kept) == 12  # ten, and one that was taken back
            assert [row["text"] for row in kept if row["text"]] == ["120us note"]
            tab.close()
    stands = {
        voter: {row["question"] for row in votes(bank, voter) if row["scores"]} for voter in links
    }
    assert stands["ann"] == stands["bob"] and len(stands["ann"]) == 10


def test_a_button_that_is_pressed_three_times_is_one_vote(bank, browser):
    with voting(bank, "--voter", "ann") as (_, links):
        tab = browser.new_page()
        tab.goto(links["ann"])
        thrice = "for (let n = 0; n < 3; n++) document.querySelector('[data-key=\"1\"]').click()"
        tab.evaluate(thrice)
        wait_for(tab, "1 of 12")
        tab.wait_for_timeout(300)
        assert len(votes(bank)) == 1
        tab.close()


def test_nothing_in_an_answer_runs_or_leaves(tmp_path, browser):
    texts = [list(TEXTS.values())[first : first + 9] for first in range(0, len(TEXTS), 9)]
    asked = [question(f"q{n}", turns=["What?"] * len(some)) for n, some in enumerate(texts)]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    for model in MODELS:
        rows = [
            answer(f"q{n}", model, turns=some if model == MODELS[0] else ["plain"] * len(some))
            for n, some in enumerate(texts)
        ]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    options = ("--voter", "ann", "--bank", "mine", "--baseline", MODELS[0], "--n", 200)
    with voting(tmp_path, *options) as (_, links):
        tab = browser.new_page()
        requests, odd = set(), []
        tab.on("request", lambda request: requests.add(request.url))
        tab.on("console", lambda message: odd.append(message.text))
        tab.on("dialog", lambda box: (odd.append("dialog"), box.dismiss()))
        tab.goto(links["ann"])
        wanted = int(tab.title().split()[2].rstrip(":"))
        assert wanted == len(texts) > 9
        for n in range(wanted):
            assert tab.evaluate("document.documentElement.dataset.ran") is None
            assert tab.locator("main :is(script, img, iframe, style, svg, form)").count() == 0
            tab.keyboard.press("1")
            wait_for(tab, f"{n + 1} of {wanted}")
        assert requests == {links["ann"]} and BEACON not in str(requests)
        assert odd == []
        tab.close()


def test_in_chinese(bank):
    with voting(bank, "--voter", "ann", "--lang", "zh", "--n", 1) as (_, links):
        text = httpx.get(links["ann"]).text
        done = press(links["ann"], text, vote="1")
    for html in (text, done):
        assert '<html lang="zh">' in html
        said = re.sub(r"<(style|script).*?</\1>|<[^>]+>|zebra|quagga", "", html, flags=re.DOTALL)
        data = {"evalkit", "vote", "report", "ann", "What", "One", "And", "two", "says", "and"}
        assert set(re.findall(r"[A-Za-z]{3,}", said)) <= data
    assert "第一个更好" in text and "谢谢" in done


def test_it_can_be_read_by_everybody(bank, browser):
    from axe_playwright_python.sync_playwright import Axe

    with voting(bank, "--voter", "ann") as (_, links):
        for scheme in ("light", "dark"):
            tab = browser.new_page(color_scheme=scheme)
            tab.goto(links["ann"])
            found = Axe().run(tab).response["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
            tab.close()
