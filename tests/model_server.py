"""A real model server for the tests: llama.cpp's, out of the wheel of xllamacpp.

It serves a checkpoint of random numbers, written on the spot: chat, several turns, `n`, streaming,
JSON by a schema, usage and finish reasons are llama.cpp's own, only what it says is noise. It runs
as a process of its own, so that a crash ends no test, and ends with the one that started it:

    python tests/model_server.py FOLDER [--name N] [--slots N] [--seed N] [--context N] [--key K]

It never downloads anything, and listens on loopback only.
"""

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDS = ("xllamacpp", "gguf")
START = 60  # seconds until it is given up; it takes about half of one

# What the model says is these words, in no order. A piece of text that is none of them is read as
# the beginnings of some, then as characters, then as bytes.
WORDS = """
the of and to in is that it for was on are as with his they at be this from have or by one had not
but what all were when we there can an your which their said if do will each about how up out them
then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over did down only way find use may water long little very
after words called just where most know get through back much before go good new write our me man
too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old
number answer question model better second both score assistant user correct
"""
LETTERS = [chr(code) for code in range(33, 127)]
ENDS = [".", ",", "?", ":"]

# Who speaks is one token each; the end of a reply is the end of a turn.
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def random_gguf(
    path: Path,
    seed: int = 0,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 8192,
) -> Path:
    """Write a checkpoint of the Llama architecture with random weights; returns the path.

    Another seed is another model. It says words, some letters and almost never a byte, and stops
    after 15 tokens or so; asked at temperature 0 it may also go round in circles.
    """
    import gguf
    import numpy as np

    kind = gguf.TokenType
    special = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    words = WORDS.split()
    whole = ["▁" + word for word in words] + ENDS
    begun = {"▁" + word[:end] for word in words for end in range(len(word))} - set(whole)
    single = set(LETTERS) - set(ENDS)
    # (token, its kind, how likely it is said)
    vocabulary = [(token, kind.CONTROL, -20.0) for token in special]
    vocabulary += [(f"<0x{byte:02X}>", kind.BYTE, -20.0) for byte in range(256)]
    vocabulary += [(token, kind.NORMAL, -2.0) for token in sorted(single)]
    vocabulary += [(token, kind.NORMAL, -2.0) for token in sorted(begun)]
    vocabulary += [(token, kind.NORMAL, 0.0) for token in whole]
    tokens, kinds, likely = map(list, zip(*vocabulary, strict=True))
    kinds[0] = kind.UNKNOWN
    likely[2] = 2.0
    likely[tokens.index("<0x0A>")] = -1.0

    random = np.random.default_rng(seed)

    def noise(rows: int, columns: int, gain: float = 1.0) -> "np.ndarray":
        return (random.standard_normal((rows, columns)) * gain / columns**0.5).astype("float32")

    # The first number of the residual is 8 everywhere, and only the output reads it: a constant in
    # each token's logit. The end of a reply is unlikely where the reply has just begun.
    embeddings = noise(len(tokens), width, width**0.5)
    embeddings[:, 0] = 8
    output = noise(len(tokens), width, 1.5)
    output[2] = embeddings[special.index("<|assistant|>")] * -1.5 / width**0.5
    output[:, 0] = np.array(likely) / 4
    blocks = {}
    for layer in range(layers):
        block = {
            "attn_q": noise(width, width, 1.5),
            "attn_k": noise(width // heads, width, 1.5),
            "attn_v": noise(width // heads, width),
            "attn_output": noise(width, width, 3),
            "ffn_gate": noise(2 * width, width),
            "ffn_up": noise(2 * width, width),
            "ffn_down": noise(width, 2 * width),
            "attn_norm": np.ones(width, "float32"),
            "ffn_norm": np.ones(width, "float32"),
        }
        for name in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"):
            block[name][:, 0] = 0
        block["attn_output"][0] = block["ffn_down"][0] = 0
        blocks |= {f"blk.{layer}.{name}": weights for name, weights in block.items()}

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_scores([float(len(token)) for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    weights = {"token_embd": embeddings, "output": output, "output_norm": np.ones(width, "float32")}
    for name, tensor in (weights | blocks).items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def serve(arguments: list[str]) -> None:
    """Serve until stdin ends. The address is the one line on stdout; llama.cpp's log is stderr."""
    import xllamacpp

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="random-llama")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--key")
    args = parser.parse_args(arguments)

    params = xllamacpp.CommonParams()
    params.model.path = str(
        random_gguf(args.folder / f"random-{args.seed}.gguf", args.seed, context=args.context)
    )
    params.model_alias = {args.name}
    params.api_keys = [args.key] if args.key else []
    params.port = 0  # one that is free
    params.n_parallel = args.slots
    params.n_ctx = args.slots * args.context  # llama.cpp shares it out among the slots
    params.n_predict = 1024
    # A connection kept open holds a thread: with few, the 17th client may wait 5 seconds for one.
    params.n_threads_http = 128
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # What was read is forgotten: a reply must not hang on what was asked before it.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.offline = True
    params.ui = params.warmup = params.fit_params = False
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)  # noqa: T201
    sys.stdin.read()
    os._exit(0)


@contextmanager
def model_server(
    folder: Path,
    *,
    name: str = "random-llama",
    slots: int = 4,
    seed: int = 0,
    context: int = 8192,
    key: str | None = None,
) -> Iterator[str]:
    """Start a server and yield its address, `http://127.0.0.1:PORT/v1`; at the end it is killed.

    `slots` are answered at a time, and a prompt with its reply has `context` tokens in each; where
    there is a `key`, what comes without it is refused. The log is `FOLDER/server.log`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"--name={name}", f"--slots={slots}", f"--seed={seed}", f"--context={context}"]
    options += [f"--key={key}"] if key else []
    log = folder / "server.log"
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            [sys.executable, __file__, folder, *options],
            stdin=subprocess.PIPE,  # it ends by itself where this process dies and closes this
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        late = threading.Timer(START, process.kill)
        try:
            late.start()
            url = process.stdout.readline().strip()
            late.cancel()
            if not url.startswith("http://127.0.0.1:"):
                process.kill()
                raise RuntimeError(f"no model server, {url!r}: {log.read_text()[-2000:]}")
            yield url
        finally:
            late.cancel()
            process.kill()


@pytest.fixture(scope="session")
def model_url(tmp_path_factory):
    """The address of a real model server, one for all tests of this worker."""
    missing = [package for package in NEEDS if find_spec(package) is None]
    if missing:
        pytest.skip(f"NO REAL MODEL SERVER: pip install {' '.join(missing)}")
    with model_server(tmp_path_factory.mktemp("model-server")) as url:
        yield url


if __name__ == "__main__":
    serve(sys.argv[1:])
