"""evalkit weights on checkpoints made on the spot: sums to the last bit, and whatever is wrong."""

import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np
import pytest
from conftest import tree

from evalkit import weights

KINDS = {"F16": "<f2", "F32": "<f4", "BF16": "<u2", "F64": "<f8"}


def bfloat16(values):
    """The nearest BF16 of 32-bit floats as 16 bits each, by way of the two neighbours."""
    values = np.asarray(values, np.float32)
    low = (values.view(np.uint32) >> 16).astype(np.uint32)
    near = [np.abs((n << 16).view(np.float32) - values.astype(float)) for n in (low, low + 1)]
    up = (near[1] < near[0]) | ((near[1] == near[0]) & (low % 2 == 1))
    return (low + up).astype("<u2")


def wide(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def shard(path, tensors, kind="F16", metadata=None):
    """Write a safetensors file by hand."""
    header, data = {"__metadata__": metadata or {"format": "pt"}}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values, KINDS[kind]).tobytes()
        ends = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": ends}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def loaded(folder):
    """All tensors of a folder, read by hand."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        raw = file.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, told in header.items():
            start, end = (8 + length + at for at in told["data_offsets"])
            values = np.frombuffer(raw[start:end], KINDS[told["dtype"]])
            found[name] = values.reshape(told["shape"])
    return found


def weights_of(seed, vocabulary=64, scale=0.05, layers=2):
    dice = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (vocabulary, 16), "lm_head.weight": (vocabulary, 16)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.mlp.weight": (16, 24),
            f"model.layers.{layer}.norm.weight": (16,),
        }
    return {name: dice.normal(0, scale, shape).astype("<f2") for name, shape in shapes.items()}


def checkpoint(folder, tensors, kind="F16", shards=2):
    folder.mkdir(parents=True)
    names = list(tensors)
    where = {}
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        own = {name: tensors[name] for name in names[n::shards]}
        shard(folder / file, own, kind)
        where |= dict.fromkeys(own, file)
    if shards > 1:
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"of": folder.name}))
    (folder / "tokenizer.model").write_bytes(folder.name.encode())
    return folder


@pytest.fixture
def both(tmp_path):
    one = checkpoint(tmp_path / "base", weights_of(1), shards=1)
    two = checkpoint(tmp_path / "delta", weights_of(2, scale=0.01))
    return one, two


def merge(evalkit, *more):
    return evalkit("weights", "merge", "--base", "base", "--delta", "delta", "--out", "sum", *more)


@pytest.mark.parametrize("chunk", [37, 1_000_000])
def test_the_sum_is_that_of_the_naive_way_to_the_last_bit(
    evalkit, both, tmp_path, monkeypatch, chunk
):
    monkeypatch.setattr(weights, "CHUNK", chunk)
    before = tree(tmp_path)
    ran = merge(evalkit)
    assert ran.code == 0, ran.err
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    base, delta, found = (loaded(tmp_path / name) for name in ("base", "delta", "sum"))
    assert set(found) == set(base)
    for name in found:
        naive = delta[name] + base[name]
        assert found[name].dtype == naive.dtype and found[name].tobytes() == naive.tobytes()
    assert json.loads((tmp_path / "sum" / "config.json").read_text()) == {"of": "delta"}
    assert (tmp_path / "sum" / "tokenizer.model").read_bytes() == b"delta"
    assert sorted(file.name for file in (tmp_path / "sum").glob("*.safetensors")) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    ]  # fmt: skip
    checked = evalkit("weights", "check", "sum", "--sums")
    assert checked.code == 0 and "all whole" in checked.out and "vocabulary 64" in checked.out
    for file in (tmp_path / "sum").glob("*.safetensors"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in checked.out


@pytest.mark.parametrize(
    ("vocabulary", "told"),
    [
        (32_000, "32,000: as LLaMA, or Vicuna v1.1 and later"),
        (32_001, "32,001: as Vicuna v0, or Alpaca"),
        (64, "64"),
    ],
)
def test_check_tells_the_version_and_how_it_is_spoken_to(evalkit, tmp_path, vocabulary, told):
    checkpoint(tmp_path / "m", weights_of(1, vocabulary=vocabulary))
    out = evalkit("weights", "check", "m").out
    assert f"vocabulary {told}\n" in out
    which = {32_000: "plain, or vicuna-v1.1", 32_001: "vicuna-v0, or alpaca", 64: "NAME"}
    with_none = f"chat template: none, so it is answered with --template {which[vocabulary]}\n"
    assert with_none in out
    (tmp_path / "m/chat_template.jinja").write_text("theirs")
    assert "chat template: its own\n" in evalkit("weights", "check", "m").out
    assert json.loads(evalkit("weights", "check", "m", "--json").out)["chat_template"] == "theirs"


def test_sixteen_bits_of_the_other_kind_are_rounded_to_the_nearest(evalkit, tmp_path):
    dice = np.random.default_rng(3)
    tie = np.array([1.0, 1.0, -1.0, 1.0, 0.0], np.float32)
    half = np.array([2.0**-8, 3 * 2.0**-8, -(2.0**-8), 1.0, -0.0], np.float32)
    one = np.concatenate([dice.normal(0, 1, 4000).astype(np.float32), tie])
    two = np.concatenate([dice.normal(0, 0.1, 4000).astype(np.float32), half])
    b, d = bfloat16(one), bfloat16(two)
    b[-2] = 0x7F80  # infinity
    b[0] = 0x7FFF  # no number, whose rounding would carry into the sign
    checkpoint(tmp_path / "base", {"w": b}, "BF16", shards=1)
    checkpoint(tmp_path / "delta", {"w": d}, "BF16", shards=1)
    assert merge(evalkit).code == 0
    finite = np.isfinite(wide(b))
    naive = bfloat16((wide(b) + wide(d))[finite])
    assert (loaded(tmp_path / "sum")["w"][finite] == naive).all()
    rest = wide(loaded(tmp_path / "sum")["w"])[~finite]
    assert np.isnan(rest[0]) and rest[1] == np.inf and len(rest) == 2


def test_the_sum_is_made_in_the_type_of_the_delta(evalkit, tmp_path):
    one, two = weights_of(1), weights_of(2)
    checkpoint(tmp_path / "base", {k: v.astype("<f4") * 1.0001 for k, v in one.items()}, "F32")
    checkpoint(tmp_path / "delta", two)
    assert merge(evalkit).code == 0
    for name, found in loaded(tmp_path / "sum").items():
        naive = two[name] + (one[name].astype("<f4") * np.float32(1.0001)).astype("<f2")
        assert found.tobytes() == naive.astype("<f2").tobytes()


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
def test_a_delta_gives_its_target_again(evalkit, tmp_path, kind):
    """Also where 16 bits cannot hold the difference: a large weight beside a tiny one."""
    one, two = weights_of(1), weights_of(2)
    one["lm_head.weight"][0, :4] = [1000, 0.001, -60, 6e-8]
    two["lm_head.weight"][0, :4] = [0.0012, 1000, 6e-8, -60]
    if kind == "BF16":
        one, two = ({k: bfloat16(v.astype("<f4")) for k, v in t.items()} for t in (one, two))
    if kind == "F32":
        more = np.float32(1.1)
        one, two = ({k: v.astype("<f4") * more for k, v in t.items()} for t in (one, two))
        one["lm_head.weight"][0, :4] = two["lm_head.weight"][0, :4] = 0
    checkpoint(tmp_path / "base", one, kind)
    checkpoint(tmp_path / "target", two, kind)
    made = ("--base", "base", "--target", "target", "--out", "delta")
    ran = evalkit("weights", "diff", *made)
    assert ran.code == 0, ran.err
    assert merge(evalkit).code == 0
    found = loaded(tmp_path / "sum")
    for name, values in two.items():
        assert found[name].dtype == values.dtype and (found[name] == values).all(), name
    kinds = json.loads(evalkit("weights", "check", "delta", "--json").out)["types"]
    assert kinds == (["F64"] if kind == "F32" else ["F32", "F64"])  # drawn apart, all are wider


def test_a_delta_of_what_was_trained_a_little_stays_as_narrow_as_it_is(evalkit, tmp_path):
    base = weights_of(1)
    target = {name: values * np.float16(1.25) for name, values in base.items()}
    checkpoint(tmp_path / "base", base)
    checkpoint(tmp_path / "target", target)
    made = ("--base", "base", "--target", "target", "--out", "delta")
    assert evalkit("weights", "diff", *made).code == 0
    kinds = json.loads(evalkit("weights", "check", "delta", "--json").out)["types"]
    assert kinds == ["F16"]
    assert merge(evalkit).code == 0
    assert all((v == target[name]).all() for name, v in loaded(tmp_path / "sum").items())


def damaged(folder, tensors, *, shards=2):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    checkpoint(folder, tensors, shards=shards)


def reshaped(tensors):
    return tensors | {"model.layers.0.norm.weight": np.zeros(17, "<f2")}


def fewer(tensors):
    return {name: values for name, values in tensors.items() if "layers.1.mlp" not in name}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (reshaped, "is (17,), the base's (16,)"),
        (fewer, "no tensor model.layers.1.mlp.weight"),
        (lambda t: t | {"model.extra": np.zeros(3, "<f2")}, "no tensor model.extra"),
        (lambda _: weights_of(2, vocabulary=65), "a vocabulary of 65, the base has 64"),
    ],
    ids=["shape", "missing", "extra", "vocabulary"],
)
def test_what_does_not_fit_is_told_before_the_first_byte(evalkit, both, tmp_path, change, told):
    damaged(both[1], change(weights_of(2)))
    before = tree(tmp_path)
    ran = merge(evalkit)
    assert (ran.code, ran.out, len(ran.lines)) == (2, "", 1), ran.err
    assert told in ran.err
    assert tree(tmp_path) == before


def cut(folder):
    file = min(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-10])


def headless(folder):
    min(folder.glob("*.safetensors")).write_bytes(b"PK\x03\x04" + bytes(40))


def lost(folder):
    min(folder.glob("*.safetensors")).unlink()


def listed_wrong(folder):
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("00001-of", "00002-of", 1))


def unlisted(folder):
    index = folder / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"].pop("lm_head.weight")
    index.write_text(json.dumps(told))


def overlapping(folder):
    file = min(folder.glob("*.safetensors"))
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    same = {header[name]["data_offsets"][1] - header[name]["data_offsets"][0] for name in names}
    assert len(names) == 3 and len(same) > 1
    first = header[names[0]]
    header[names[2]] |= {"shape": first["shape"], "data_offsets": first["data_offsets"]}
    text = json.dumps(header).encode().ljust(length)
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def outside(folder):
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))


class Storage:
    """Stands for one of torch's storages in a pickle: it is written by its name."""

    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


def torch_saved(path, tensors, kind="HalfStorage", shared=False, spoilt=None):
    """A file as torch.save writes it, by hand: a zip of raw numbers and a pickle of names."""
    fake = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    rebuild = types.FunctionType((lambda *_: None).__code__, {}, "_rebuild_tensor_v2")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    fake["torch._utils"]._rebuild_tensor_v2 = rebuild
    storage = type(kind, (), {"__module__": "torch"})
    setattr(fake["torch"], kind, storage)

    class Writer(pickle.Pickler):
        def persistent_id(self, each):
            if isinstance(each, Storage):
                return ("storage", storage, each.key, "cpu", each.numbers)
            return None

    class Saved:
        def __init__(self, values, key, start, numbers):
            self.told = (Storage(kind, key, numbers), start, values.shape)
            self.stride = tuple(s // values.itemsize for s in values.strides)

        def __reduce__(self):
            return rebuild, (*self.told, self.stride, False, OrderedDict())

    with mock.patch.dict(sys.modules, fake), zipfile.ZipFile(path, "w") as archive:
        said, whole, start = OrderedDict(), b"", 0
        total = sum(values.size for values in tensors.values())
        for number, (name, values) in enumerate(tensors.items()):
            if shared:
                said[name] = Saved(values, "0", start, total)
                whole += values.tobytes()
                start += values.size
            else:
                said[name] = Saved(values, str(number), 0, values.size)
                archive.writestr(f"archive/data/{number}", np.asarray(values).tobytes(order="A"))
        if shared:
            archive.writestr("archive/data/0", whole)
        stream = io.BytesIO()
        Writer(stream, protocol=2).dump(said if spoilt is None else spoilt)
        archive.writestr("archive/data.pkl", stream.getvalue())


def old(folder, tensors, **how):
    """A checkpoint of .bin shards."""
    folder.mkdir(parents=True)
    names, where = list(tensors), {}
    for n in range(2):
        file = f"pytorch_model-{n + 1:05}-of-00002.bin"
        torch_saved(folder / file, {name: tensors[name] for name in names[n::2]}, **how)
        where |= dict.fromkeys(names[n::2], file)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("shared", [False, True])
def test_old_files_give_the_same_sum(evalkit, tmp_path, shared):
    one, two = weights_of(1), weights_of(2)
    old(tmp_path / "base", one, shared=shared)
    old(tmp_path / "delta", two, shared=shared)
    assert "6 tensors" in evalkit("weights", "check", "delta").out
    ran = merge(evalkit)
    assert ran.code == 0, ran.err
    found = loaded(tmp_path / "sum")
    assert all((found[name] == two[name] + one[name]).all() for name in two)
    assert sorted(file.name for file in (tmp_path / "sum").iterdir()) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]  # fmt: skip


def test_old_files_of_a_real_torch_are_read(evalkit, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not here; files by hand cover the same")
    for name, seed in (("base", 1), ("delta", 2)):
        (tmp_path / name).mkdir()
        tensors = {k: torch.from_numpy(v.copy()) for k, v in weights_of(seed).items()}
        torch.save(tensors, tmp_path / name / "pytorch_model.bin")
    assert merge(evalkit).code == 0
    one, two = weights_of(1), weights_of(2)
    found = loaded(tmp_path / "sum")
    assert all((found[name] == two[name] + one[name]).all() for name in two)


class Trap:
    """What a stranger's pickle may hold."""

    def __reduce__(self):
        return os.system, ("touch trapped",)


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (Trap(), "posix.system"),
        ({"w": Trap()}, "posix.system"),
        ({"w": 3}, "something else than tensors"),
        ([1, 2], "something else than tensors"),
        ({1: 2}, "something else than tensors"),
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_and_not_run(evalkit, tmp_path, spoilt, told):
    for name in ("base", "delta"):
        (tmp_path / name).mkdir()
        torch_saved(tmp_path / name / "pytorch_model.bin", weights_of(1), spoilt=spoilt)
    ran = merge(evalkit)
    assert (ran.code, ran.out) == (2, "") and told in ran.err, ran.err
    assert not (tmp_path / "trapped").exists() and not (tmp_path / "sum").exists()


def cut_zip(file):
    file.write_bytes(file.read_bytes()[:-300])


def no_zip(file):
    file.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


def packed(file):
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def turned(file):
    torch_saved(file, {"w": np.ones((3, 5), "<f2").T})


@pytest.mark.parametrize("spoil", [cut_zip, no_zip, packed, turned])
def test_an_old_file_that_cannot_be_read_is_told(evalkit, tmp_path, spoil):
    (tmp_path / "delta").mkdir()
    file = tmp_path / "delta" / "pytorch_model.bin"
    torch_saved(file, weights_of(1))
    spoil(file)
    ran = evalkit("weights", "check", "delta")
    assert (ran.code, ran.out, len(ran.lines)) == (2, "", 1), ran.err
    assert "pytorch_model.bin: " in ran.err


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "cut?"),
        (headless, "cut?"),
        (lost, "no such file, but the index names it"),
        (listed_wrong, "lies elsewhere or nowhere"),
        (unlisted, "lm_head.weight lies elsewhere or nowhere"),
        (overlapping, "does not lie where the one before ends"),
        (outside, "not the index of a checkpoint"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_told(evalkit, both, tmp_path, damage, told):
    damage(both[1])
    before = tree(tmp_path)
    for ran in (merge(evalkit), evalkit("weights", "check", "delta")):
        assert (ran.code, ran.out) == (2, "") and told in ran.err, ran.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("out", ["base", "delta", "base/sum", "there", "none/sum", "."])
def test_a_target_that_cannot_be_leaves_all_as_it_was(evalkit, both, tmp_path, out):
    (tmp_path / "there").mkdir()
    before = tree(tmp_path)
    ran = evalkit("weights", "merge", "--base", "base", "--delta", "delta", "--out", out)
    assert ran.code == 2 and len(ran.lines) == 1, ran.err
    assert tree(tmp_path) == before


def test_a_table_that_no_training_made_may_be_on_one_side(evalkit, both, tmp_path):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    damaged(both[0], weights_of(1) | {name: np.ones(4, "<f2")})
    assert merge(evalkit).code == 0
    assert name not in loaded(tmp_path / "sum")


def test_no_room_is_told_before_the_first_byte(evalkit, both, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9))
    ran = merge(evalkit)
    assert ran.code == 1 and "GB are needed" in ran.err
    assert not (tmp_path / "sum").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts a full disk")
def test_a_disk_that_fills_up_leaves_no_half_target_and_goes_on(
    evalkit, both, tmp_path, monkeypatch
):
    import shutil

    small = tmp_path / "small"
    small.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)]
    if subprocess.run(how, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here, so none fills up")
    try:
        plenty = shutil._ntuple_diskusage(10**9, 0, 10**9)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: plenty)
        big = weights_of(2, vocabulary=400)
        damaged(both[0], weights_of(1, vocabulary=400))
        damaged(both[1], big)
        args = ("--base", "base", "--delta", "delta", "--out", "small/sum")
        ran = evalkit("weights", "merge", *args)
        assert ran.code == 1 and "no space left" in ran.err.lower(), ran.err
        assert not (small / "sum").exists()
        subprocess.run(["mount", "-o", "remount,size=1m", str(small)], check=True)
        assert evalkit("weights", "merge", *args).code == 0
        found = loaded(small / "sum")
        assert all((found[n] == v + loaded(both[0])[n]).all() for n, v in big.items())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_killed_at_any_moment_it_goes_on_and_no_half_target_appears(evalkit, tmp_path):
    tensors = {f"layer.{n}.weight": np.full((300, 1000), n + 1, "<f2") for n in range(16)}
    checkpoint(tmp_path / "base", tensors, shards=8)
    checkpoint(tmp_path / "delta", tensors, shards=8)
    run = [sys.executable, "-m", "evalkit", "weights", "merge", "--base", "base", "--delta"]
    run += ["delta", "--out", "sum"]
    partial = tmp_path / "sum.unfinished"
    before = {name: tree(tmp_path / name) for name in ("base", "delta")}
    kept = 0
    for wanted in (1, 3, 6):
        process = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(partial.glob("*.safetensors"))) < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "sum").exists():
            break
        whole = list(partial.glob("*.safetensors"))
        assert len(whole) >= kept
        kept = len(whole)
    stamps = {file.name: file.stat().st_mtime_ns for file in partial.glob("*.safetensors")}
    if not (tmp_path / "sum").exists():
        assert merge(evalkit).code == 0
    assert not partial.exists()
    for name, stamp in stamps.items():
        assert (tmp_path / "sum" / name).stat().st_mtime_ns == stamp  # not made again
    for name, values in loaded(tmp_path / "sum").items():
        assert (values == 2 * tensors[name]).all()
    assert {name: tree(tmp_path / name) for name in ("base", "delta")} == before
    assert (
        not list((tmp_path / "sum").glob("*.part")) and not (tmp_path / "sum/evalkit.json").exists()
    )


def test_what_was_begun_with_other_parts_is_begun_anew(evalkit, both, tmp_path):
    partial = tmp_path / "sum.unfinished"
    partial.mkdir()
    (partial / "evalkit.json").write_text(json.dumps({"way": "merge", "base": [], "other": []}))
    (partial / "model-00001-of-00002.safetensors").write_bytes(b"of something else")
    assert merge(evalkit).code == 0
    base, delta = loaded(both[0]), loaded(both[1])
    assert all((v == delta[n] + base[n]).all() for n, v in loaded(tmp_path / "sum").items())


def test_programs_get_one_object_each(evalkit, both):
    told = json.loads(merge(evalkit, "--json").out)
    assert (told["verb"], told["status"], told["folder"], told["tensors"]) == (
        "weights", "done", "sum", 6
    )  # fmt: skip
    assert told["bytes"] == sum(v.nbytes for v in weights_of(2).values())


def test_what_is_no_number_stays_none_where_it_is_made_narrower(evalkit, tmp_path):
    odd = np.array([0x7FFFFFFF, 0x3F800000], "<u4").view("<f4")  # rounded, it would be a zero
    checkpoint(tmp_path / "base", {"w": odd}, "F32", shards=1)
    checkpoint(tmp_path / "delta", {"w": np.zeros(2, "<u2")}, "BF16", shards=1)
    assert merge(evalkit).code == 0
    none, one = wide(loaded(tmp_path / "sum")["w"])
    assert np.isnan(none) and one == 1
