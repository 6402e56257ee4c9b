"""The bank through a real `transformers serve`, as any server that speaks OpenAI's API."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from checkpoints import checkpoint, needs_torch
from conftest import question, read_lines, write_lines

needs_torch()

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def served(tmp_path):
    """The address of `transformers serve` and the checkpoint that it serves."""
    folder = checkpoint(tmp_path / "tiny", TEMPLATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    arguments = ["serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([command, *arguments], stdout=log, stderr=log, env=os.environ)
    try:
        end = time.monotonic() + 90
        while True:
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.kill()
        process.wait()


def test_a_bank_is_answered_through_it(evalkit, tmp_path, served):
    url, folder = served
    questions = [question(f"q{n}", turns=[f"What is {n}?"] * (1 + n % 2)) for n in range(6)]
    write_lines(tmp_path / "questions/b.jsonl", questions)
    (tmp_path / "evalkit.yaml").write_text(
        f"catalog:\n  served:\n    provider: openai_api\n    url: {url}\n    model: {folder}\n"
    )
    how = ["--bank", "b", "--max-tokens", 12]
    ran = evalkit("answer", "--model", "served", *how)
    assert ran.code == 0, ran.err
    assert evalkit("answer", "--model", folder, *how).code == 0
    rows = {name: read_lines(tmp_path / f"answers/b/{name}.jsonl") for name in ("served", "tiny")}
    assert len(rows["served"]) == len(rows["tiny"]) == 9

    def said(name):
        return {(row["question"], len(row["turns"])): row["turns"][-1] for row in rows[name]}

    # the same weights, the same template, temperature 0
    assert [each.strip() for each in said("served").values()] != [""] * 9
    same = sum(said("served")[key].strip() == said("tiny")[key].strip() for key in said("tiny"))
    assert same == 9
