"""How fast training data are searched: against `grep -F -f` with the same n-grams, on one core.

    python tests/bench/contamination.py

The texts are Python's own standard library as it is, its words alone (as near to prose as there is
on every machine), these as HTML, and a Chinese text made of its bank's characters. grep finds a run
only as it is spelt; we find it in any case and punctuation, and say where and how much. Prints MB/s
and the ratio of one run; nothing is asserted.
"""

import json
import os
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from evalkit.questions.contamination import Search, counts
from evalkit.workspace import Workspace

SIZE = 30_000_000  # bytes


def runs(questions, n, pattern):
    """Every run of n words of a bank as it is spelt there, for grep."""
    found = set()
    for question in questions:
        for text in (*question.turns, *question.reference):
            for line in text.splitlines():
                places = [match.span() for match in re.finditer(pattern, line)]
                for first, last in zip(places, places[n - 1 :], strict=False):
                    found.add(line[first[0] : last[1]])
    return "\n".join(sorted(found)) + "\n"


def english():
    library = Path(sysconfig.get_path("stdlib"))
    text = "".join(
        file.read_text("utf-8", "replace")
        for file in sorted(library.rglob("*.py"))
        if "site-packages" not in file.parts
    )
    return (text * (SIZE // len(text) + 1))[:SIZE]


def chinese(questions):
    dice = random.Random(1)
    signs = [sign for question in questions for sign in question.turns[0]]
    line = "".join(dice.choices(signs, k=1_000_000))
    return (line * (SIZE // 3 // len(line) + 1))[: SIZE // 3]


def packed(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def main():
    workspace = Workspace(Path(tempfile.mkdtemp()))
    banks = {name: workspace.questions(name) for name in ("evalkit80", "evalkit80-zh")}
    grams = {
        "evalkit80": runs(banks["evalkit80"], 8, r"\w+"),
        "evalkit80-zh": runs(banks["evalkit80-zh"], 13, r"[\u4e00-\u9fff]"),
    }
    code = english()
    words = [word for word in code.split() if word.isalpha()]
    prose = " ".join(words)
    lines = [" ".join(words[at : at + 200]) for at in range(0, len(words), 200)]
    page = "".join(
        f"<p>{line[:600]} <b>bold</b> <a href='#'>{line[600:]}</a></p>\n" for line in lines
    )
    zh = chinese(banks["evalkit80-zh"])
    zh_lines = [zh[at : at + 500] for at in range(0, len(zh), 500)]
    files = {
        "prose": ("evalkit80", prose),
        "prose, JSON lines": ("evalkit80", packed(f"{line}\n{line}" for line in lines)),
        "prose, HTML": ("evalkit80", page),
        "source code": ("evalkit80", code),
        "source code, JSON lines": (
            "evalkit80",
            packed(code[at : at + 2000] for at in range(0, len(code), 2000)),
        ),
        "Chinese": ("evalkit80-zh", zh),
        "Chinese, JSON lines \\uXXXX": ("evalkit80-zh", packed(zh_lines)),
    }
    for name, (bank, text) in files.items():
        with tempfile.NamedTemporaryFile() as file, tempfile.NamedTemporaryFile() as patterns:
            file.write(text.encode())
            file.flush()
            patterns.write(grams[bank].encode())
            patterns.flush()
            size = len(text.encode()) / 1e6
            search = Search(banks[bank])
            start = time.process_time()
            with open(file.name, "rb") as stream:
                for _ in search.read(name, stream):
                    pass
            ours = time.process_time() - start
            start = time.perf_counter()
            subprocess.run(
                ["grep", "-c", "-F", "-f", patterns.name, file.name],
                stdout=subprocess.DEVNULL,
                env=os.environ | {"LC_ALL": "C"},
            )
            grep = time.perf_counter() - start
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts(search.results()).items())
        print(
            f"{name:27} {size:4.0f} MB   {size / ours:5.0f} MB/s   grep -F {size / grep:5.0f} MB/s"
            f"   {ours / grep:5.2f} x grep   ({verdicts})"
        )


sys.exit(main())
