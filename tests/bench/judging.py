"""What judging costs beside the calls: planning 20,000 reviews, reading as many replies.

    python tests/bench/judging.py

Planning fills a prompt, fences it and hashes it; the ideal is to write and hash the very messages
as JSON. Reading goes through the whole ladder; the naive way takes the first two numbers. Prints
seconds and ratios of one run; nothing is asserted.
"""

import hashlib
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import ROOT, answer, question

from evalkit.judge.judging import Judging
from evalkit.judge.showings import plan
from evalkit.parsers import pair_scores
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question
from evalkit.workspace import Workspace
from evalkit.yamlfile import load

QUESTIONS, WORDS = 10_000, 200
REPLIES = (
    "Answer 1 is complete; answer 2 leaves out the units. {}\n8 9",
    "**Answer 1:** 8/10\n{}\n\n**Answer 2:** 9/10",
    '{{"evidence": "{}", "first": 8, "second": 9}}',
    "| | Answer 1 | Answer 2 |\n|---|---|---|\n| {} | 1 | 2 |\n| Overall | 8 | 9 |",
)


def timed(work):
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def main():
    prompt = load(Workspace(ROOT).prompts("judge")["pair-scores"], JudgePrompt)
    bank = [Question.model_validate(question(f"q{n}")) for n in range(QUESTIONS)]
    said = {model: f"{model} said " + "so many words " * (WORDS // 3) for model in "ab"}
    rows = [
        Answer.model_validate(answer(q.id, model, f"{q.id}: {text}"))
        for q in bank
        for model, text in said.items()
    ]
    showings = plan(bank, rows, [("a", "b")]).showings
    judging, planned = timed(lambda: Judging("j", "j", "pair-scores", prompt, showings, []))
    requests = [[m.text for m in request.messages] for request in judging.requests()]
    assert len(requests) == 2 * QUESTIONS
    _, ideal = timed(lambda: [hashlib.sha256(json.dumps(r).encode()).hexdigest() for r in requests])
    texts = [reply.format("evidence " * 60) for reply in REPLIES] * (QUESTIONS // 2)
    read, ladder = timed(lambda: [pair_scores(text, said.values()) for text in texts])
    assert {reading.scores for reading in read} == {(8.0, 9.0)}
    _, naive = timed(lambda: [re.findall(r"\d+", text)[:2] for text in texts])
    count = len(requests)
    for name, seconds, other, what in (
        ("planning", planned, ideal, "writing and hashing the messages"),
        ("reading", ladder, naive, "the first two numbers"),
    ):
        each = 1000 * seconds / count
        print(f"{name:10} {seconds:6.2f} s   {each:5.2f} ms each   {seconds / other:5.1f} x {what}")


main()
