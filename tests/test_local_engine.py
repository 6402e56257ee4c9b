"""The engine against `generate` of transformers: the same words, whoever is beside them."""

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import needs_torch

needs_torch()

import torch
import transformers

from evalkit.providers.hf_local.engine import Engine, Row

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "vocab_size": 97,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
KINDS = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 4}),
    "mistral, looking back 12 tokens": (
        "MistralConfig",
        {"sliding_window": 12, "num_key_value_heads": 2},
    ),
    "gemma2, every other layer 12": ("Gemma2Config", {"sliding_window": 12, "head_dim": 8}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "opt, with places that are learnt": (
        "OPTConfig",
        {"ffn_dim": 64, "word_embed_proj_dim": 32, "activation_function": "relu"},
    ),
}


def model_of(kind="llama", **more):
    name, own = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, name)(**{**SHAPE, **own, **more})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def jobs(number=23, seed=0):
    chance = random.Random(seed)
    return [
        ([chance.randrange(3, 97) for _ in range(chance.randint(1, 60))], chance.randint(1, 60))
        for _ in range(number)
    ]


def alone(model, prompt, most, end=None):
    """What `generate` says, one prompt at a time, up to the token that ends a reply."""
    ids = torch.tensor([prompt], device=model.device)
    said = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False
    )
    said = said[0, len(prompt) :].tolist()
    return said[: said.index(end) + 1] if end in said else said


def write(engine, rows, late=()):
    """Until all rows have ended; `late`: rows that come in one by one while others are written."""
    engine.waiting += rows
    late, left = list(late), len(rows) + len(late)
    for _ in range(10_000):
        left -= len(engine.step())
        if late:
            engine.waiting.append(late.pop(0))
        if not left:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_generate_says_one_at_a_time(kind):
    model = model_of(kind)
    rows = [Row(prompt, most) for prompt, most in jobs()]
    end = alone(model, rows[0].prompt, 9)[4]
    write(Engine(model, [end], limit=5, tokens=10_000), rows[:15], late=rows[15:])
    for row in rows:
        assert row.said == alone(model, row.prompt, row.most, end)
        assert row.finish == ("stop" if row.said[-1] == end else "length")
    assert {row.finish for row in rows} == {"stop", "length"}
    assert len({tuple(row.said) for row in rows}) > len(rows) / 2


@pytest.mark.parametrize(("limit", "tokens"), [(1, 10_000), (3, 10_000), (64, 10_000), (64, 250)])
def test_neither_limit_nor_memory_changes_a_word(limit, tokens):
    model = model_of()
    rows = [Row(prompt, most) for prompt, most in jobs(24)]
    engine = Engine(model, [], limit=limit, tokens=tokens)
    engine.waiting += rows
    most = 0
    while any(row.finish is None for row in rows):
        engine.step()
        live = engine.live
        most = max(most, len(live))
        longest = max((row.longest for row in live), default=0)
        assert len(live) <= 1 or len(live) * longest <= tokens
    assert most <= limit and (tokens == 250 or most > min(limit, 24) * 0.8)
    assert [row.said for row in rows] == [alone(model, row.prompt, row.most) for row in rows]


def test_chance_hangs_on_the_seed_and_not_on_the_rows_beside():
    model = model_of()

    def drawn(beside, limit):
        row = Row([5, 6, 7], 50, 1.0, random.Random(7))
        more = [Row(prompt, most, 1.0) for prompt, most in jobs(beside, seed=beside)]
        write(Engine(model, [], limit=limit, tokens=10_000), [row, *more])
        return row.said

    assert drawn(0, 1) == drawn(9, 4) == drawn(20, 30)
    other = Row([5, 6, 7], 50, 1.0, random.Random(8))
    write(Engine(model, [], limit=1, tokens=10_000), [other])
    assert other.said != drawn(0, 1)


def test_what_is_drawn_follows_the_model():
    """The shares of 4,000 first tokens are those of the softmax, at two temperatures."""
    model = model_of()
    with torch.inference_mode():
        logits = model(torch.tensor([[5, 6, 7]])).logits[0, -1]
    for heat in (0.5, 1.5):
        rows = [Row([5, 6, 7], 1, heat, random.Random(seed)) for seed in range(4000)]
        write(Engine(model, [], limit=500, tokens=10**6), rows)
        share = torch.bincount(torch.tensor([row.said[0] for row in rows]), minlength=97) / 4000
        expected = (logits / heat).softmax(-1)
        assert (share - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5
        assert expected.max() < 0.9


def test_a_row_that_nobody_waits_for_makes_room():
    model = model_of()
    rows = [Row(prompt, 60) for prompt, _ in jobs(6)]
    engine = Engine(model, [], limit=3, tokens=10_000)
    engine.waiting += rows
    engine.step()
    gone = [engine.live[0], engine.waiting[0]]
    for row in gone:
        row.dropped = True
    assert engine.step()[:2] == [gone[1], gone[0]]
    while any(row.finish is None for row in rows):
        engine.step()
    assert [row.finish for row in gone] == ["dropped", "dropped"]
    for row in rows:
        if row not in gone:
            assert row.said == alone(model, row.prompt, 60)


def test_a_row_ends_where_it_says_so():
    row = Row([5, 6, 7], 60, ended=lambda said: len(said) == 4)
    write(Engine(model_of(), [], limit=1, tokens=1000), [row])
    assert (len(row.said), row.finish) == (4, "stop")


def test_when_memory_runs_out_half_as_many_go_on_and_lose_nothing():
    model = model_of()
    rows = [Row(prompt, most) for prompt, most in jobs(24)]
    engine = Engine(model, [], limit=16, tokens=10_000)
    forward, seen = model.forward, []

    def narrow(*args, **given):
        seen.append(len(given["input_ids"]))
        if seen[-1] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **given)

    model.forward = narrow
    write(engine, rows)
    del model.forward
    assert engine.limit == 4 and max(seen) == 16
    assert [row.said for row in rows] == [alone(model, row.prompt, row.most) for row in rows]


def test_what_was_said_when_memory_ran_out_is_gone_on_with():
    model = model_of()
    rows = [Row(prompt, 60) for prompt, _ in jobs(8)]
    engine = Engine(model, [], limit=8, tokens=10_000)
    forward, said = model.forward, []

    def narrow(*args, **given):
        if not said and all(len(row.said) > 20 for row in rows):
            said.extend(len(row.said) for row in rows)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **given)

    model.forward = narrow
    write(engine, rows)
    del model.forward
    assert (engine.limit, min(said)) == (4, 21)
    assert [row.said for row in rows] == [alone(model, row.prompt, 60) for row in rows]


def test_a_row_that_does_not_fit_even_alone_ends_and_the_others_go_on():
    model = model_of()
    rows = [Row(prompt, most) for prompt, most in jobs(6)]
    rows[3].prompt = [5] * 200
    engine = Engine(model, [], limit=4, tokens=10_000)
    forward = model.forward

    def narrow(*args, **given):
        if given["attention_mask"].shape[1] > 150:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(*args, **given)

    model.forward = narrow
    write(engine, rows)
    del model.forward
    assert rows[3].finish == "memory"
    for row in rows[:3] + rows[4:]:
        assert row.said == alone(model, row.prompt, row.most)


def test_another_error_is_no_lack_of_memory():
    model = model_of()
    engine = Engine(model, [2], limit=4, tokens=10_000)
    engine.waiting += [Row([200], 5)]  # a token that it does not have
    with pytest.raises(IndexError):
        engine.step()


FULL = """
import resource, sys
sys.path.insert(0, {tests!r})
import test_local_engine as t
model = t.model_of(hidden_size=512, num_attention_heads=8, num_key_value_heads=8,
                   intermediate_size=64, num_hidden_layers=2)
rows = [t.Row([5 + n, 6, 7], 200) for n in range(64)]
engine = t.Engine(model, [], limit=64, tokens=10**9)
t.write(t.Engine(model, [], limit=1, tokens=10**9), [t.Row([5], 3)])  # threads and their buffers
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, ((used + {spare}) * 1024, resource.RLIM_INFINITY))
t.write(engine, rows)
print(engine.limit, sum(len(row.said) for row in rows))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_it_goes_on_in_a_process_that_really_runs_out_of_memory():
    """64 rows want more than 100 MB of keys and values; 60 are given."""
    assert resource.RLIMIT_AS is not None
    code = FULL.format(tests=str(Path(__file__).parent), spare=60_000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    limit, said = map(int, done.stdout.split())
    assert (1 <= limit < 64, said) == (True, 64 * 200)
