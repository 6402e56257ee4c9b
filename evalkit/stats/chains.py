"""The "% of ChatGPT" chart: each model's total score in percent of the baseline's.

A model that met the baseline is compared with it directly; another goes by way of models that
connect the two. The battles themselves come from `stats.battles`; nothing here knows a win.
"""

import heapq
import math
from itertools import pairwise

import pandas as pd

from evalkit.stats.battles import by_question, groups
from evalkit.stats.intervals import Estimate, product, ratio

Chain = tuple[str, ...]
"""Models from the baseline to another, each compared with the next."""

Links = dict[tuple[str, str], pd.DataFrame]
"""(x, y) -> the scores of x (column 0) and y (column 1) on the questions where they met."""

COLUMNS = ["judge", "prompt", "model", "percent", "se", "low", "high", "via", "questions"]


def relative_scores(battles: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """One row for each judge, prompt and model, the best first; `COLUMNS` in percent.

    `via` holds the bridges from the baseline on: the fewest, and among chains of equal length
    those with the smallest variance. `questions` is the number on the chain's thinnest link. A
    model that nothing connects with the baseline has no percent, nor has any model where the
    baseline scored 0, or where the judge graded nothing.
    """
    rows: list[tuple[object, ...]] = []
    for (judge, prompt), group in groups(by_question(battles), ["judge", "prompt"]):
        links = _links(group)
        chains = _best_chains(links, baseline)
        for model in sorted({*group["a"], *group["b"]}):
            if model == baseline:
                rows.append((judge, prompt, model, 100.0, None, None, None, (), None))
                continue
            chain = chains.get(model)
            found, questions = _along(links, chain) if chain else (Estimate(None), 0)
            percent = [None if value is None else 100 * value for value in found]
            rows.append((judge, prompt, model, *percent, tuple(chain or ())[1:-1], questions))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"percent": float})
    return table.sort_values(
        ["judge", "prompt", "percent"], ascending=[True, True, False], kind="stable"
    ).reset_index(drop=True)


def _links(questions: pd.DataFrame) -> Links:
    links = {}
    scored = questions.dropna(subset=["score_a"])
    for (a, b), table in groups(scored, ["a", "b"]):
        scores = table.set_index("question")[["score_a", "score_b"]]
        links[a, b] = scores.set_axis([0, 1], axis=1)
        links[b, a] = scores.set_axis([1, 0], axis=1)[[0, 1]]
    return links


def _best_chains(links: Links, baseline: str) -> dict[str, Chain]:
    """The best chain from the baseline to each model that one reaches (Dijkstra).

    A link's cost is its relative variance (SE / ratio)^2, infinite where one question gives none.
    A model that scored 0 ends a chain: nothing can be multiplied on.
    """
    onward: dict[str, list[tuple[str, float, bool]]] = {}
    for (x, y), scores in links.items():
        found = ratio(scores[0].to_numpy(), scores[1].to_numpy())
        if found.value is not None:
            cost = math.inf
            if found.se is not None and found.value > 0:
                cost = (found.se / found.value) ** 2
            onward.setdefault(x, []).append((y, cost, found.value == 0))
    best: dict[str, Chain] = {}
    heap: list[tuple[int, float, Chain, bool]] = [(0, 0.0, (baseline,), False)]
    while heap:
        length, variance, chain, ends = heapq.heappop(heap)
        if chain[-1] in best:
            continue
        best[chain[-1]] = chain
        for model, cost, zero in () if ends else onward.get(chain[-1], ()):
            heapq.heappush(heap, (length + 1, variance + cost, (*chain, model), zero))
    return best


def _along(links: Links, chain: Chain) -> tuple[Estimate, int]:
    along = [links[pair] for pair in pairwise(chain)]
    thinnest = min(map(len, along))
    if len(along) == 1:
        return ratio(along[0][0].to_numpy(), along[0][1].to_numpy()), thinnest
    aligned = pd.concat(along, axis=1, keys=range(len(along)))
    sides = [(aligned[k, 0].to_numpy(), aligned[k, 1].to_numpy()) for k in range(len(along))]
    return product(sides), thinnest
