"""A million reviews: to the tables, to the page, and to the first call of a judge.

    python tests/bench/million.py [QUESTIONS MODELS SAMPLES]

Default: 10,000 questions, 11 models, each against the first in both orders, 5 samples: 1,000,000
reviews of one judge, 110,000 answers, as runs leave them but for random hashes of what was asked.
Each step is a process of its own, as a user starts it. Beside each figure stands json.loads of
every line of the same files in the same run, which checks nothing and keeps nothing. Prints
seconds, memory and sizes; nothing is asserted.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from evalkit.judge.judging import Judging
from evalkit.prompts import JudgePrompt
from evalkit.records import Question, short_hash
from evalkit.workspace import SHIPPED
from evalkit.yamlfile import load

SIZE = 10_000, 11, 5
WORDS = (
    "the", "of", "a", "model", "answer", "that", "question", "time", "water", "energy", "people",
)  # fmt: skip
CATEGORIES = ("fermi", "roleplay", "coding", "math", "writing", "knowledge")


def text(chance, words):
    return " ".join(chance.choice(WORDS) + str(chance.randrange(50)) for _ in range(words))


def line(file, row):
    file.write(json.dumps(row) + "\n")


def bought(chance, n):
    clock = f"2026-11-02T{n // 180_000 % 24:02}:{n // 3000 % 60:02}:{n // 50 % 60:02}+00:00"
    return {
        "served": "made up",
        "asked": f"{chance.getrandbits(64):016x}",
        "usage": {"input": 900, "output": 120},
        "dollars": 0.0342,
        "latency": 3.1415,
        "finish_reason": "stop",
        "time": clock,
        "sampling": {"temperature": 0.0, "max_tokens": 1024},
    }


def write(root, questions, models, samples):
    """A workspace with the bank `big`; returns how many reviews it has."""
    chance = random.Random(1)
    prompt = load(SHIPPED / "prompts/judge/pair-scores.yaml", JudgePrompt)
    judging = Judging("judge", "judge", "pair-scores", prompt, [], [])
    names = ["base", *(f"model-{n}" for n in range(1, models))]
    for folder in ("questions", "answers/big", "reviews/big"):
        (root / folder).mkdir(parents=True)
    bank = [
        Question(
            id=f"q{n:05}",
            category=CATEGORIES[n % len(CATEGORIES)],
            turns=(f"Question {n}: {text(chance, 12)}?",),
        )
        for n in range(questions)
    ]
    (root / "questions/big.jsonl").write_text("".join(each.line() + "\n" for each in bank))
    hashes = {}
    for model in names:
        with open(root / f"answers/big/{model}.jsonl", "w") as file:
            for n, question in enumerate(bank):
                said = text(chance, 90)
                hashes[question.id, model] = short_hash([said])
                own = {"question": question.id, "model": model, "turns": [said]}
                own["question_hash"] = short_hash(question.turns)
                line(file, bought(chance, n) | own)
    said, number = [text(chance, 60) for _ in range(2000)], 0
    with open(root / "reviews/big/judge.pair-scores.jsonl", "w") as file:
        for question in bank:
            told = judging._basis(question)
            for rank, model in enumerate(names[1:]):
                for shown in ((names[0], model), (model, names[0])):
                    for sample in range(samples):
                        number += 1
                        better = 0.1 * rank - 0.5
                        means = [7 + (better if each == model else 0) for each in shown]
                        scores = [max(1, min(10, round(chance.gauss(m, 1)))) for m in means]
                        row = bought(chance, number) | {
                            "question": question.id,
                            "judge": "judge",
                            "prompt": "pair-scores",
                            "shown": shown,
                            "answers": [hashes[question.id, each] for each in shown],
                            "text": f"{said[number % 2000]}\n{scores[0]} {scores[1]}",
                            "scores": scores,
                            "rung": "strict",
                            "prompt_hash": told,
                            "manner": judging._manner,
                        }
                        line(file, row | ({"sample": sample} if sample else {}))
    return number


class Judge(BaseHTTPRequestHandler):
    """Says 8 9, and when it was first asked."""

    first = None

    def do_POST(self):
        Judge.first = Judge.first or time.perf_counter()
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "8 9"}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(*words):
    """Seconds and gigabytes of a command."""
    code = (
        "import resource, sys; from evalkit.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    begun = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begun
    assert ended.returncode == 0, ended.stderr
    return begun, seconds, int(ended.stderr.split()[-1]) / 1e6


def naive(root):
    begun = time.perf_counter()
    for file in root.rglob("*.jsonl"):
        with open(file) as stream:
            for each in stream:
                json.loads(each)
    return time.perf_counter() - begun


def main():
    size = [int(each) for each in sys.argv[1:]] or SIZE
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        number = write(root, *size)
        os.environ["NO_PROXY"] = "*"
        ideal = naive(root)
        print(f"{number:,} reviews; json.loads of each line {ideal:.1f} s")
        for time_ in ("first", "second"):
            _, seconds, memory = run("compare", "base", "model-1", "--bank", "big", "-C", folder)
            how = f"{seconds:.1f} s ({seconds / ideal:.1f} x), {memory:.2f} GB"
            print(f"tables, read for the {time_} time: {how}")
        index = sum(file.stat().st_size for file in root.rglob(".*.index"))
        print(f"  index {index / 1e6:.0f} MB")
        _, seconds, memory = run("report", "--bank", "big", "--baseline", "base", "-C", folder)
        page = root / "reports/big.html"
        listed = re.search(r"(\d+) of (\d+) questions are listed", page.read_text("utf-8"))
        print(f"report: {seconds:.1f} s ({seconds / ideal:.1f} x), {memory:.2f} GB")
        print(f"  page {page.stat().st_size / 1e6:.1f} MB, {listed[0] if listed else 'all listed'}")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1#judge"
        words = ("judge", "--judge", url, "--bank", "big", "--baseline", "base", "-C", folder)
        begun, seconds, memory = run(*words, "--samples", str(size[2]))
        first = Judge.first - begun
        print(f"judge: first call after {first:.1f} s ({first / ideal:.1f} x), {memory:.2f} GB")


main()
