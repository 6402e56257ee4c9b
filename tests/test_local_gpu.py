"""What only a GPU can show. Skipped, and said so, where there is none."""

import pytest
from checkpoints import checkpoint, needs_torch
from conftest import question, read_lines, write_lines

needs_torch()

import torch

if not torch.cuda.is_available():
    pytest.skip("NO GPU: a checkpoint on one is not tested here", allow_module_level=True)

from test_local import rows_of
from test_local_engine import KINDS, Engine, Row, alone, jobs, model_of, write

from evalkit.providers.hf_local import memory


@pytest.fixture
def bank(tmp_path):
    return write_lines(tmp_path / "questions/b.jsonl", [question(f"q{n}") for n in range(20)])


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_generate_says_one_at_a_time(kind):
    model = model_of(kind).cuda()

    rows = [Row(prompt, most) for prompt, most in jobs()]
    write(Engine(model, [], limit=5, tokens=10_000), rows[:15], late=rows[15:])
    assert [row.said for row in rows] == [alone(model, row.prompt, row.most) for row in rows]


def test_it_goes_on_when_the_memory_of_the_gpu_really_runs_out():
    shape = {"hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8}
    model = model_of(**shape, num_hidden_layers=8).cuda()
    rows = [Row([5 + n % 50, 6, 7], 200) for n in range(256)]
    torch.cuda.empty_cache()
    used = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((used + 600e6) / total)
    try:
        engine = Engine(model, [], limit=256, tokens=10**9)
        write(engine, rows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.limit < 256
    assert {len(row.said) for row in rows} == {200}


@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
def test_a_gpu_is_used_where_there_is_one(evalkit, tmp_path, bank, dtype):
    folder = checkpoint(tmp_path / "m", dtype="bfloat16")
    how = ["--template", "plain", "--max-tokens", "20", *(["--dtype", dtype] if dtype else [])]
    ran = evalkit("answer", "--model", folder, "--bank", "b", *how)
    used = dtype or "bfloat16"
    assert ran.code == 0 and f"parameters in {used} on cuda:0 need" in ran.err
    assert {row["served"] for row in rows_of(tmp_path, "m")} == {f"m ({used})"}
    assert len(read_lines(tmp_path / "answers/b/m.jsonl")) == 20


def test_what_does_not_fit_on_it_goes_to_the_main_memory_too(evalkit, tmp_path, bank, monkeypatch):
    found = memory.free()
    assert found.gpus[0] == torch.cuda.mem_get_info(0)[0]
    monkeypatch.setattr(memory, "free", lambda: memory.Free((100_000,), found.main))
    folder = checkpoint(tmp_path / "m")
    how = ["--template", "plain", "--max-tokens", "20"]
    ran = evalkit("answer", "--model", folder, "--bank", "b", *how)
    assert ran.code == 0 and "on the GPUs and in memory need" in ran.err
