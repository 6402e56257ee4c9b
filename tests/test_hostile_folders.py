"""Folders of other tools as they should not be: one line each, and nothing half-written."""

import gzip
import json
import subprocess
import sys

import pytest
import test_alpaca_import as alpaca
import test_arena_hard_import as arena
import test_faireval_import as faireval
import test_llmbar_import as llmbar
import test_mt_bench_import as mt_bench
from conftest import read_lines, vicuna_folder


def alpaca_folder(folder):
    return alpaca.lay_out(folder, [alpaca.output(0)], [alpaca.annotation(0, 1.5)])


def llmbar_folder(folder):
    return llmbar.lay_out(folder, [llmbar.item(0)], [llmbar.judged(0, "12")])


# A tool: how its folder is made, a file of it, and the field that names a model there.
TOOLS = {
    "vicuna": (vicuna_folder, "answer/answer_a_v1.jsonl", "model_id"),
    "alpaca_eval": (alpaca_folder, "results/open/weighted/annotations.json", "generator_1"),
    "mt_bench": (mt_bench.lay_out, f"model_answer/{mt_bench.A}.jsonl", "model_id"),
    "arena_hard": (arena.new, f"model_answer/{arena.MODEL}.jsonl", "model"),
    "llmbar": (llmbar_folder, "GPT/result.json", None),
    "faireval": (faireval.lay_out, faireval.JUDGED, None),
}


# A small process in between: a child's peak is never told as less than what its parent held.
MEASURED = """
import json, resource, subprocess, sys
ran = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([ran.returncode, ran.stderr.splitlines(), peak]))
"""


@pytest.fixture(params=sorted(TOOLS))
def theirs(request, tmp_path_factory):
    """A tool, its folder, and a file of it."""
    make, file, _ = TOOLS[request.param]
    folder = make(tmp_path_factory.mktemp("theirs") / "folder")
    return request.param, folder, folder / file


def refused(evalkit, tmp_path, tool, folder):
    """The line that an import ends with; nothing was written."""
    ran = evalkit("import", tool, folder, "--bank", "new")
    assert ran.code == 2, ran.out
    assert list(tmp_path.iterdir()) == []
    return ran.lines[-1]


def test_all_of_them_are_read_and_told_apart(evalkit, theirs):
    tool, folder, _ = theirs
    ran = evalkit("import", folder, "--bank", "new")
    assert ran.code == 0, ran.err
    assert ran.lines[0] == f"these are files of {tool}"


def test_latin_1(evalkit, theirs, tmp_path):
    tool, folder, file = theirs
    text = file.read_text().replace("did", "d\u00e9d").replace("says", "s\u00e9ys")
    text = text.replace("wrote", "wr\u00f4te")
    file.write_bytes(text.encode("latin-1"))
    line = refused(evalkit, tmp_path, tool, folder)
    assert str(file) in line
    assert "not UTF-8 (byte 0xe9" in line or "not UTF-8 (byte 0xf4" in line


def test_utf_16(evalkit, theirs, tmp_path):
    tool, folder, file = theirs
    file.write_bytes(file.read_text().encode("utf-16"))
    assert "is UTF-16, expected UTF-8" in refused(evalkit, tmp_path, tool, folder)


def test_gz(evalkit, theirs, tmp_path):
    tool, folder, file = theirs
    file.write_bytes(gzip.compress(file.read_bytes()))
    line = refused(evalkit, tmp_path, tool, folder)
    assert str(file) in line
    assert "is packed by gzip: unpack it first" in line


def test_a_byte_order_mark_and_crlf_change_nothing(evalkit, theirs, tmp_path):
    tool, folder, file = theirs
    plain = evalkit("import", tool, folder, "--bank", "plain").out
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    ran = evalkit("import", tool, folder, "--bank", "windows")
    assert (ran.code, ran.out) == (0, plain.replace("plain", "windows"))
    one, other = (tmp_path / "questions" / f"{bank}.jsonl" for bank in ("plain", "windows"))
    assert one.read_bytes() == other.read_bytes()


def test_a_row_of_11_megabytes(evalkit, theirs, tmp_path):
    tool, folder, file = theirs
    rows = json.loads(file.read_text()) if file.suffix == ".json" else None
    row = rows[0] if rows else json.loads(file.read_text().splitlines()[0])
    text = json.dumps(row | {"long": "x" * 11_000_000})
    file.write_text(f"[{text}]" if rows else text)
    assert "a row of more than 10 MB" in refused(evalkit, tmp_path, tool, folder)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does it")
def test_a_line_of_200_megabytes_is_never_held(theirs, tmp_path, tmp_path_factory):
    """Where a file is one JSON array, all of it may be one line; there an item is as long."""
    tool, folder, file = theirs

    def measured(workspace):
        ran = [sys.executable, "-m", "evalkit", "import", tool, folder, "--bank", "new"]
        command = [sys.executable, "-c", MEASURED, *ran]
        done = subprocess.run(command, cwd=workspace, capture_output=True, timeout=60, check=True)
        return json.loads(done.stdout)

    code, _, usual = measured(tmp_path_factory.mktemp("usual"))
    assert code == 0
    before, after = ("[", "]") if file.suffix == ".json" else ("", "")
    row = json.dumps(json.loads(file.read_text())[0] if before else read_lines(file)[0])
    try:
        with file.open("w") as stream:
            stream.write(f'{before}{row[:-1]}, "long": "')
            for _ in range(200):
                stream.write("x" * 1_000_000)
            stream.write(f'"}}{after}')
        code, (line,), peak = measured(tmp_path)
    finally:
        file.unlink()
    assert code == 2
    assert str(file) in line
    assert line.endswith("a row of more than 10 MB")
    assert list(tmp_path.iterdir()) == []
    assert peak - usual < 60, (usual, peak)


@pytest.mark.parametrize("tool", [name for name, made in TOOLS.items() if made[2]])
@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\0b", "-x", "CON" * 60])
def test_a_name_that_leads_out_of_its_folder(evalkit, tmp_path, tmp_path_factory, tool, name):
    make, file, field = TOOLS[tool]
    folder = make(tmp_path_factory.mktemp("theirs") / "folder")
    path = folder / file
    if path.suffix == ".json":
        rows = [row | {field: name} for row in json.loads(path.read_text())]
        path.write_text(json.dumps(rows))
    else:
        rows = [json.loads(line) | {field: name} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for other in folder.rglob("review*.jsonl"):
        other.unlink()
    assert "cannot be a name" in refused(evalkit, tmp_path, tool, folder)


@pytest.mark.parametrize("value", [5, None, [], {"a": 1}, True])
def test_wrong_types(evalkit, theirs, tmp_path, value):
    tool, folder, file = theirs
    field = {"llmbar": "input", "faireval": "question"}.get(tool, TOOLS[tool][2])
    if file.suffix == ".json":
        rows = [row | {field: value} for row in json.loads(file.read_text())]
        file.write_text(json.dumps(rows[:1]))
    else:
        row = json.loads(file.read_text().splitlines()[0]) | {field: value}
        file.write_text(json.dumps(row) + "\n")
    line = refused(evalkit, tmp_path, tool, folder)
    assert str(file) in line


def test_a_file_of_another_version_in_between(evalkit, theirs, tmp_path):
    """What has the fields of no version that is known is named, with its line."""
    tool, folder, file = theirs
    strange = json.dumps({"version": 3, "who": "m", "said": "x"})
    if file.suffix == ".json":
        rows = json.loads(file.read_text())
        file.write_text(f"[{json.dumps(rows[0])}, {strange}]")
    else:
        with file.open("a") as stream:
            stream.write(strange + "\n")
    ran = evalkit("import", tool, folder, "--bank", "new")
    assert ran.code == 2
    assert list(tmp_path.iterdir()) == []
    assert all(str(file) in line for line in ran.lines)
