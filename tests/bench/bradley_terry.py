"""The leaderboard of a million battles, with 1,000 resamples of whole questions.

    python tests/bench/bradley_terry.py

100 models, 500 questions. The peer is evalica, which fits once; a bootstrap with it would fit 1,000
times. Prints seconds, ratios and memory of one run; nothing is asserted.
"""

import resource
import time

import evalica
import numpy as np
import pandas as pd

from evalkit.stats.bradley_terry import leaderboard

MODELS, QUESTIONS, BATTLES, RESAMPLES = 100, 500, 1_000_000, 1000


def drawn():
    dice = np.random.default_rng(0)
    strength = dice.normal(size=MODELS)
    a = dice.integers(0, MODELS, BATTLES)
    b = (a + dice.integers(1, MODELS, BATTLES)) % MODELS
    won = dice.random(BATTLES) < 1 / (1 + np.exp(strength[a] - strength[b]))
    outcome = np.where(dice.random(BATTLES) < 0.1, 0.5, won.astype(float))
    names = np.array([f"model-{n:03}" for n in range(MODELS)], dtype=object)
    asked = np.array([f"question-{n:03}" for n in range(QUESTIONS)], dtype=object)
    return pd.DataFrame(
        {
            "a": names[a],
            "b": names[b],
            "question": asked[dice.integers(0, QUESTIONS, BATTLES)],
            "order": "a first",
            "outcome": outcome,
        }
    )


def timed(work):
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


def main():
    battles = drawn()
    winners = {0.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.Y}
    peer = battles["a"].tolist(), battles["b"].tolist(), battles["outcome"].map(winners).tolist()
    _, fitted = timed(lambda: evalica.bradley_terry(*peer))
    found, plain = timed(lambda: leaderboard(battles))
    assert len(found) == MODELS
    _, boot = timed(lambda: leaderboard(battles, resamples=RESAMPLES))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'':34}{'seconds':>9}")
    print(f"{'evalica, one fit':34}{fitted:9.2f}")
    print(f"{'evalkit, clustered sandwich':34}{plain:9.2f}   {plain / fitted:5.2f} x")
    print(f"{'evalkit, 1,000 resamples':34}{boot:9.2f}   {boot / (RESAMPLES * fitted):5.4f} x")
    print(f"   (x: of one fit of evalica, of 1,000 fits); peak memory {memory:.0f} MB")


main()
