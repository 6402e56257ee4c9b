"""How fast the replies of a checkpoint are written, beside plain transformers in the same run.

    python tests/bench/local.py            a LLaMA of 58 M random weights on the CPU, two loads
    python tests/bench/local.py 7b         a LLaMA-7B of random weights in bfloat16 on the first GPU

Of 80 prompts: all of 64 tokens with replies of 128, then prompts and replies of 16 to 240. Beside
the engine stand `generate` one prompt at a time (a few of them) and in batches of 16, as they
come; on a GPU also what its memory allows, were each step to read the weights once and the keys
and values of all rows once, at the speed of a large copy.
"""

import random
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evalkit.providers.hf_local.engine import Engine, Row
from evalkit.providers.hf_local.provider import ROWS

SMALL = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8}
LARGE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
HEADS = {512: 8, 4096: 32}
STATIC = 16


def model_of(shape, device, dtype):
    torch.manual_seed(0)
    heads = HEADS[shape["hidden_size"]]
    config = LlamaConfig(**shape, num_attention_heads=heads, eos_token_id=None, pad_token_id=0)
    with torch.device(device):
        torch.set_default_dtype(dtype)
        made = LlamaForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
    return made


def load_of(kind):
    chance = random.Random(1)

    def tokens(number):
        return [chance.randrange(3, 32000) for _ in range(number)]

    if kind == "even":
        return [(tokens(64), 128) for _ in range(80)]
    return [(tokens(chance.randint(16, 240)), chance.randint(16, 240)) for _ in range(80)]


def generated(model, prompts, most):
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long, device=model.device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    said = model.generate(ids, attention_mask=mask, max_new_tokens=most, do_sample=False)
    return said[:, width:].tolist()


def one_at_a_time(model, load, number):
    return [generated(model, [prompt], most)[0] for prompt, most in load[:number]]


def static(model, load):
    said = []
    for begin in range(0, len(load), STATIC):
        group = load[begin : begin + STATIC]
        prompts, mosts = zip(*group, strict=True)
        rows = generated(model, prompts, max(mosts))
        said += [row[:most] for row, most in zip(rows, mosts, strict=True)]
    return said


def engine(model, load, limit):
    rows = [Row(prompt, most) for prompt, most in load]
    made = Engine(model, [], limit=limit, tokens=10**9)
    made.waiting += rows
    left = len(rows)
    while left:
        left -= len(made.step())
    return [row.said for row in rows]


def rate(work, *args):
    """What was said, and tokens of it a second."""
    begun = time.perf_counter()
    said = work(*args)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return said, sum(map(len, said)) / (time.perf_counter() - begun)


def bandwidth():
    """Bytes a second, read and written, of a large copy on the GPU."""
    source = torch.empty(4 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 10 * 2 * len(source) / (time.perf_counter() - begun)


def bound(model, load, speed):
    """Tokens a second that the memory allows, were all rows written at once."""
    config = model.config
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    state = 2 * config.num_hidden_layers * config.hidden_size * 2
    steps = max(most for _, most in load)
    read = sum((len(prompt) + done) * state for prompt, most in load for done in range(most))
    return sum(most for _, most in load) / ((steps * weights + read) / speed)


def main():
    large = sys.argv[1:] == ["7b"]
    device, dtype = ("cuda", torch.bfloat16) if large else ("cpu", torch.float32)
    limit, few = (ROWS["cuda"], 2) if large else (ROWS["cpu"], 6)
    model = model_of(LARGE if large else SMALL, device, dtype)
    where = torch.cuda.get_device_name() if large else f"{torch.get_num_threads()} threads"
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:,.0f} M weights, {dtype}, {where}")
    with torch.inference_mode():
        engine(model, load_of("even")[:8], limit)  # what is done once
        for kind in ("even", "mixed"):
            load = load_of(kind)
            single, one = rate(one_at_a_time, model, load, few)
            batch, sixteen = rate(static, model, load)
            said, ours = rate(engine, model, load, limit)
            same = sum(a == b for a, b in zip(said, batch, strict=True))
            alone = sum(a == b for a, b in zip(said, single, strict=False))
            print(
                f"{kind}: {ours:,.0f} tokens/s, {ours / one:.1f} x one at a time ({one:,.0f}), "
                f"{ours / sixteen:.2f} x batches of 16 ({sixteen:,.0f}); the same words as these "
                f"in {same} of 80, as one at a time in {alone} of {few}"
            )
            if large:
                most = bound(model, load, bandwidth())
                print(f"  {ours / most:.2f} of what the memory allows ({most:,.0f})")


if __name__ == "__main__":
    main()
