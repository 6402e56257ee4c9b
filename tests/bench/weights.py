"""Base + delta of a whole model, in memory-backed storage and on disk: time and memory.

    python tests/bench/weights.py [BILLIONS] [FOLDER]

Makes an fp16 base and a delta of BILLIONS (default 1.1) parameters in FOLDER (default: a temporary
one in memory), merges them, and stands a plain copy of the same bytes (two reads, one write) and
the naive sum, which holds both, beside it. Needs three times the bytes of the model there.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BILLIONS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.1
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
WIDTH, LAYERS_OF = 2048, 11_000_000  # values of a row, and about so many in a tensor


def made(folder, seed):
    """A checkpoint of shards of some 400 MB."""
    folder.mkdir()
    dice = np.random.default_rng(seed)
    noise = dice.normal(0, 0.02, 4_000_000).astype("<f2")
    rows = LAYERS_OF // WIDTH
    number = round(BILLIONS * 1e9 / (rows * WIDTH))
    where, per = {}, 18
    for begin in range(0, number, per):
        names = [f"model.layers.{n}.weight" for n in range(begin, min(begin + per, number))]
        header, at = {}, 0
        for name in names:
            size = rows * WIDTH * 2
            header[name] = {"dtype": "F16", "shape": [rows, WIDTH], "data_offsets": [at, at + size]}
            at += size
        file = f"model-{begin // per:05}.safetensors"
        text = json.dumps(header).encode()
        with open(folder / file, "wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            left = at // 2
            while left:
                stream.write(noise[: min(left, len(noise))].tobytes())
                left -= min(left, len(noise))
        where |= dict.fromkeys(names, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))


def child(command):
    """Seconds and peak megabytes of another Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, (peak if peak > before else before) / 1024


NAIVE = """
import sys, pathlib, numpy as np
base, delta, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
sides = [[(f.name, np.fromfile(f, np.uint8)) for f in sorted(d.glob("*.safetensors"))]
         for d in (base, delta)]
for (name, one), (_, two) in zip(*sides):
    head = 8 + int.from_bytes(one[:8].tobytes(), "little")
    made = two[head:].view("<f2") + one[head:].view("<f2")
    (out / name).write_bytes(two[:head].tobytes() + made.tobytes())
"""

COPY = """
import sys, pathlib, os
base, delta, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
for file in sorted(base.glob("*.safetensors")):
    with open(file, "rb") as one, open(delta / file.name, "rb") as two:
        with open(out / file.name, "wb") as to:
            while some := one.read(8_000_000):
                two.read(8_000_000)
                to.write(some)
            os.fsync(to.fileno())
"""


def main():
    given = sys.argv[2] if len(sys.argv) > 2 else MEMORY
    with tempfile.TemporaryDirectory(dir=given) as folder:
        base, delta = Path(folder) / "base", Path(folder) / "delta"
        made(base, 1)
        made(delta, 2)
        out = Path(folder) / "out"
        sides = [str(base), str(delta), str(out)]
        merge = [sys.executable, "-m", "evalkit", "weights", "merge"]
        merge += ["--base", sides[0], "--delta", sides[1], "--out", sides[2]]
        os.sync()
        shutil.rmtree(out, ignore_errors=True)
        ours, peak = child(merge)
        kept = {file.name: file.read_bytes()[-1_000_000:] for file in out.glob("*.safetensors")}
        shutil.rmtree(out)
        copied, _ = child([sys.executable, "-c", COPY, *sides])
        shutil.rmtree(out)
        naive, whole = child([sys.executable, "-c", NAIVE, *sides])
        same = all((out / name).read_bytes()[-1_000_000:] == end for name, end in kept.items())
    print(f"{BILLIONS}B parameters in fp16, {given or 'a temporary folder'}")
    print(f"{'':28}{'seconds':>9}{'peak MB':>9}")
    print(f"{'evalkit weights merge':28}{ours:9.1f}{peak:9.0f}")
    print(f"{'a copy of the same bytes':28}{copied:9.1f}{'':9}   {ours / copied:.2f} x")
    print(f"{'the naive sum':28}{naive:9.1f}{whole:9.0f}   {ours / naive:.2f} x")
    print("the same bytes" if same else "NOT THE SAME BYTES")


main()
