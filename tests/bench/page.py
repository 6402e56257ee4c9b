"""How large the page is, how soon it is seen, how fast a filter answers, in a real Chromium.

    python tests/bench/page.py [QUESTIONS MODELS]

Default: 80 questions with 10 models, then 1,000 with 10: answers of 1,200 characters in markdown,
each model against the first, in both orders. Beside each figure stands its ideal in the same run:
of the size, the rows themselves as JSON; of the first paint, an empty page; of a filter, setting
`hidden` on as many lines. Prints sizes, times and ratios; nothing is asserted.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from chromium import ARGUMENTS, CHROMIUM
from conftest import answer, question, review
from playwright.sync_api import sync_playwright

from evalkit.records import Answer, Question, Review
from evalkit.report.page import page
from evalkit.report.results import evidence

WORDS = (
    "the", "of", "a", "model", "answer", "that", "question", "time", "water", "energy", "people",
)  # fmt: skip
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FILTER = """
() => {
  const begun = performance.now();
  document.querySelector("[data-f=lost]").click();
  document.body.offsetHeight;
  const lost = performance.now();
  document.querySelector("[data-f=all]").click();
  document.body.offsetHeight;
  return Math.max(lost - begun, performance.now() - lost);
}
"""
HIDE = """
() => {
  const lines = [...document.querySelectorAll(".questions li")];
  const begun = performance.now();
  lines.forEach((line, n) => { line.hidden = n % 2; });
  document.body.offsetHeight;
  const took = performance.now() - begun;
  lines.forEach(line => { line.hidden = false; });
  return took;
}
"""


def text(chance):
    """About 1,200 characters as chatbots write them: paragraphs, a list, some code."""
    words = [chance.choice(WORDS) + str(chance.randrange(50)) for _ in range(170)]
    lines = [" ".join(words[n : n + 17]) for n in range(0, 170, 17)]
    return "\n\n".join([lines[0], "- " + "\n- ".join(lines[1:6]), f"**{lines[6]}**", *lines[7:]])


def made(questions, models):
    chance = random.Random(1)
    names = [f"model-{n}" for n in range(models)]
    bank = [
        Question.model_validate(question(f"q{n}", category=f"c{n % 8}")) for n in range(questions)
    ]
    answers = [Answer.model_validate(answer(q.id, m, text(chance))) for q in bank for m in names]
    hashes = {(each.question, each.model): each.hash for each in answers}
    reviews = []
    for q in bank:
        for other in names[1:]:
            for shown in ((names[0], other), (other, names[0])):
                scores = tuple(chance.randint(4, 10) for _ in shown)
                row = review(q.id, shown, scores, text=f"{text(chance)[:400]}\n{scores}")
                row["answers"] = [hashes[q.id, model] for model in shown]
                reviews.append(Review.model_validate(row))
    return bank, answers, reviews


def measure(browser, questions, models):
    bank, answers, reviews = made(questions, models)
    rows = sum(len(row.line().encode()) for own in (bank, answers, reviews) for row in own)
    begun = time.perf_counter()
    found = evidence("bank", bank, answers, reviews, "model-0")
    computed = time.perf_counter()
    html = page(found)
    written = time.perf_counter()
    print(f"{questions} questions x {models} models, {len(reviews)} reviews")
    print(f"  numbers {computed - begun:.1f} s, page {written - computed:.1f} s")
    size = len(html.encode())
    print(
        f"  size {size / 1e6:.2f} MB; the rows are {rows / 1e6:.2f} MB: {size / rows:.2f} of them"
    )
    with tempfile.TemporaryDirectory() as folder:
        file, empty = Path(folder, "page.html"), Path(folder, "empty.html")
        file.write_text(html)
        empty.write_text("<!doctype html><title>x</title><p>x")
        paints = {}
        for each in (empty, file):
            tab = browser.new_context().new_page()
            tab.goto(each.as_uri())
            tab.wait_for_timeout(500)
            paints[each] = tab.evaluate(PAINT)
        tab.wait_for_selector(".ready .reading h3", timeout=60_000)
        print(f"  first paint {paints[file]:.0f} ms; of an empty page {paints[empty]:.0f} ms")
        ready = tab.evaluate("performance.now()")
        took = max(tab.evaluate(FILTER) for _ in range(5))
        ideal = max(tab.evaluate(HIDE), 0.1)
        print(f"  a filter {took:.0f} ms; hiding lines alone {ideal:.1f} ms")
        print(f"  ready after at most {ready:.0f} ms")


def main():
    sizes = [tuple(map(int, sys.argv[1:3]))] if len(sys.argv) > 2 else [(80, 10), (1000, 10)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for questions, models in sizes:
            measure(browser, questions, models)
        browser.close()


if __name__ == "__main__":
    main()
