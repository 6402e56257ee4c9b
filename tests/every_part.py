"""Rows of which every part of the page has something to say, but for the facts of the catalogue.

Every name and every text in them is Chinese: what is English on their page is the page's own.
"""

from conftest import answer, question, review

from evalkit.records import VOTE, Answer, Question, Review, human
from evalkit.report.results import evidence


def every_part(judges=("裁判甲", "裁判乙")):
    """Rows, and the numbers from them; `judges`: their names."""
    models = ("基准", "模型甲", "模型乙", "模型丙", "模型丁")
    asked = [
        Question.model_validate(
            question(f"题{n}", category=("写作", "数学")[n % 2], turns=["问？"])
        )
        for n in range(60)
    ]
    said = {
        (q.id, model): Answer.model_validate(answer(q.id, model, f"答{'很' * (m * n % 7)}长。"))
        for n, q in enumerate(asked)
        for m, model in enumerate(models)
    }
    said["题0", "基准"] = Answer.model_validate(answer("题0", "基准", ""))
    said["题1", "基准"] = Answer.model_validate(
        answer("题1", "基准", "短", finish_reason="length", served="版本")
    )

    def judged_by(judge, q, shown, scores, **more):
        hashes = [said[q, model].hash for model in shown]
        given = {"judge": judge, "prompt": "提示", "text": "判语", "answers": hashes, **more}
        return Review.model_validate(review(q, shown, scores, **given))

    pairs = [("基准", "模型甲"), ("基准", "模型乙"), ("模型甲", "模型丁")]
    reviews = [
        judged_by(judge, q.id, pair, (9 - n % 3, 5 + (n + p + j) % 5), served="版本")
        for j, judge in enumerate(judges)
        for n, q in enumerate(asked[1:])
        for p, pair in enumerate(pairs)
    ]
    reviews += [
        judged_by("裁判甲", "题0", pairs[0], None, unreadable="读不出"),
        judged_by("裁判甲", "题2", pairs[0][::-1], (0, 9), flags=["偏离"], asked="1" * 16),
        judged_by("裁判甲", "题2", pairs[0][::-1], (9, 5), sample=1, asked="2" * 16),
    ]
    reviews += [
        judged_by("裁判甲", f"题{n}", pairs[0], (3, 9), canary=canary, asked=f"{n:016}")
        for n, canary in enumerate(("order", "foreign", "empty", "twins"), 3)
    ]
    wins = [(1, 0), (0, 1), (0.5, 0.5)]
    reviews += [
        judged_by(human(name), f"题{n}", pair, wins[n % k % 3], prompt=VOTE, text="备注")
        for name, pair, first, last, k in (
            ("甲", pairs[0], 5, 30, 4),  # enough for this pair
            ("乙", pairs[0], 20, 35, 5),  # with ten of the questions of 甲
            ("乙", pairs[1], 5, 12, 4),  # not enough, also not together
        )
        for n in range(first, last)
    ]
    del said["题9", "模型丙"]
    return evidence("题库", asked, list(said.values()), reviews, "基准")
