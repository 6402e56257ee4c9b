"""Rows of which every part of the page has something to say, but for the facts of the catalogue.

Every name and every text in them is Chinese: what is English on their page is the page's own.
"""

from conftest import answer, question, review

from evalkit.classify import Posed, posed, texts
from evalkit.prompts import ClassifyPrompt
from evalkit.records import VOTE, Answer, Question, Review, human
from evalkit.report.labelled import labelled
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


def every_label():
    """The page of texts that were labelled, which has nothing of judges: all that it may say."""
    names = ("红", "蓝", "绿")
    bank = [
        Question.model_validate(
            question(f"文{n:02}", turns=[f"第 {n} 条。"], label=[names[n % 3]] if n < 48 else [])
        )
        for n in range(56)
    ]
    parted = texts(bank, names, several=False, examples=True, seed=1)
    asked = []
    for name in ("直问", "推理"):
        prompt = ClassifyPrompt(description="", template="{{ text }}", task="")
        asked.append(Posed(name, prompt, name, tuple(posed(parted, prompt, None, 1))))
    odd = ("", "红，还是蓝？", "不是红", "黄", '{"label": "黄"}')

    def reply(place, n, p):
        """The fourth model errs most; of each way of being unreadable there is one."""
        right = names[n % 3]
        if place == 2 and p and n % 9 == 4:
            return odd[n % len(odd)]
        return f"线索：{n}\n标签：{names[(n + 1) % 3] if n % 7 < place else right}"

    answers = {
        each.bank: [
            Answer.model_validate(
                answer(
                    q.id,
                    model,
                    reply(place, int(q.id[1:]), p),
                    dollars=None if place == 0 and p else 0.001 * (place + 1) ** 3 * (p + 1),
                    sample=sample,
                    finish_reason="length" if n == 3 else "stop",
                    served="版本",
                    time="2026-01-02T03:04:05+00:00",
                )
            )
            for place, model in enumerate(("模型甲", "模型乙", "模型丙"))
            for n, q in enumerate(each.questions)
            for sample in range(2 if n == 5 else 1)
            if (n, place) != (7, 1)
        ]
        for p, each in enumerate(asked)
    }
    row = answers["直问"][0]
    answers["直问"][0] = row.model_copy(update={"turns": ("",), "refusal": "不能说"})
    models = ("模型甲", "模型乙", "模型丙")
    return labelled("题库", bank, parted, asked, answers, models, "模型甲", 0.02, per_hour=1.2)
