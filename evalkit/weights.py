"""Base + delta = checkpoint, and back, tensor by tensor: memory does not grow with the model.

The target is written beside its place, shard by shard, and appears only when it is whole; a merge
that was ended goes on at the shard where it was. Base and delta are only ever read.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evalkit.checkpoint import COMPUTED, INDEX, OLD_INDEX, RESULT, WIDTHS, Checkpoint, Tensor
from evalkit.errors import BadFile, BadPath, DiskFull, Fault, Missing

CHUNK = 1_000_000  # numbers at a time
THREADS = max(2, min(4, os.cpu_count() or 2))
WAITING = 2 * THREADS  # pieces in memory
WIDER = {"F16": "F32", "BF16": "F32", "F32": "F64"}
FLOATS: dict[str, npt.DTypeLike] = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
TAKEN_OVER = ("*.json", "*.model", "*.txt", "*.jinja")  # tokenizer, configuration
JOURNAL = "evalkit.json"  # in the unfinished folder: what is being made of what

Way = Literal["merge", "diff"]
Bits = npt.NDArray[Any]
Told = Callable[[int], None]
"""Hears how many bytes of the target have been written."""


def check_fit(base: Checkpoint, other: Checkpoint) -> None:
    """Raises BadFile with every way in which two checkpoints do not fit each other.

    Tables that no training made (`COMPUTED`) may be on one side only.
    """
    faults = []
    both = base.vocabulary, other.vocabulary
    if both[0] != both[1]:
        faults.append(
            Fault(
                str(other.folder),
                f"a vocabulary of {both[1]:,}, the base has {both[0]:,}: another version "
                "(Vicuna v0 has 32,001, v1.1 and LLaMA 32,000)",
            )
        )
    names = {name for name in {*base.tensors, *other.tensors} if not name.endswith(COMPUTED)}
    for name in sorted(names):
        one, two = base.tensors.get(name), other.tensors.get(name)
        if one is None or two is None:
            where = other.folder if two is None else base.folder
            faults.append(Fault(str(where), f"no tensor {name}, which the other side has"))
        elif one.shape != two.shape and not (both[0] != both[1] and _of_vocabulary(name)):
            what = f"{name} is {two.shape}, the base's {one.shape}"
            faults.append(Fault(str(other.folder), what))
        elif not {one.dtype, two.dtype} <= {*FLOATS, "BF16"}:
            faults.append(Fault(str(other.folder), f"{name} holds {two.dtype}, which has no sum"))
    if faults:
        raise BadFile(faults)


def _of_vocabulary(name: str) -> bool:
    return name.endswith(("embed_tokens.weight", "lm_head.weight"))


def combine(
    way: Way, base: Checkpoint, other: Checkpoint, target: Path, told: Told = lambda _: None
) -> None:
    """Write base + delta (`merge`), or the other less the base (`diff`), into a new folder.

    The sum is made in the delta's type; a difference too, unless base + delta would not give the
    same numbers again: then that tensor is kept wider, and says what its sum becomes.
    Tokenizer and configuration are those of the delta, or of the other. Raises BadPath where the
    target stands already, Missing where nothing can hold it, DiskFull before the first byte where
    there is no room.
    """
    _check_target(target, base, other)
    check_fit(base, other)
    shards = [_planned(way, base, other, file) for file in other.files]
    partial = target.with_name(f"{target.name}.unfinished")
    _begin(partial, way, base, other)
    left = [shard for shard in shards if not (partial / shard[0]).exists()]
    need = sum(_size(outs) for _, outs in left)
    free = shutil.disk_usage(partial).free
    if need > free:
        raise DiskFull(f"{target}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    told(sum(_size(outs) for _, outs in shards) - need)
    try:
        for name, outs in left:
            _write_shard(way, base, other, partial / name, outs, told)
        _finish(partial, target, other, shards)
    except OSError as error:
        raise DiskFull(
            f"{partial}: {error.strerror or error}. Shards that are whole stay; run it again"
        ) from error


def size(way: Way, base: Checkpoint, other: Checkpoint) -> int:
    """Bytes of the tensors that `combine` writes, where no difference has to be wider."""
    return sum(
        tensor.values * WIDTHS[tensor.result if way == "merge" else tensor.dtype]
        for name, tensor in other.tensors.items()
        if name in base.tensors
    )


# -- before the first byte


def _check_target(target: Path, base: Checkpoint, other: Checkpoint) -> None:
    here = target.resolve()
    for side in (base.folder.resolve(), other.folder.resolve()):
        if here == side or side in here.parents or here in side.parents:
            raise BadPath(f"{target}: that is where a part of the sum lies; name a new folder")
    if not target.parent.is_dir():
        raise Missing(f"{target.parent}: no such folder for {target.name}")
    if target.exists():
        raise BadPath(f"{target} is there already; name a new folder, or remove it")


def _planned(way: Way, base: Checkpoint, other: Checkpoint, file: Path) -> tuple[str, list[Tensor]]:
    """The name of a shard of the target, and its tensors with the types that they will have."""
    outs = []
    for tensor in other.of(file):
        if tensor.name not in base.tensors:
            continue
        kept = tensor.result
        if way == "diff":
            kept = _exact(base.tensors[tensor.name], tensor)
        outs.append(replace(tensor, dtype=kept, result=tensor.result))
    return file.name.replace("pytorch_model", "model").replace(".bin", ".safetensors"), outs


def _exact(base: Tensor, other: Tensor) -> str:
    """The narrowest type in which base + (other - base) gives the same numbers again."""
    kept = other.dtype
    for start, number in _pieces(other):
        b, o = _values(base, start, number), _values(other, start, number)
        while not _gives_back(b, base.dtype, o, other.dtype, kept):
            if kept not in WIDER:
                raise BadFile(
                    [Fault(str(other.path), f"{other.name}: no difference gives it back")]
                )
            kept = WIDER[kept]
    return kept


def _gives_back(b: Bits, b_type: str, o: Bits, o_type: str, kept: str) -> bool:
    delta = _difference(b, b_type, o, o_type, kept)
    again = _cast(_sum(b, b_type, delta, kept, o_type), o_type, "F64")
    return bool(np.array_equal(again, _cast(o, o_type, "F64"), equal_nan=True))


def _begin(partial: Path, way: Way, base: Checkpoint, other: Checkpoint) -> None:
    """Take up an unfinished target where it is one of the same parts, else begin anew."""
    told = {"way": way, "base": _identity(base), "other": _identity(other)}
    journal = partial / JOURNAL
    try:
        if json.loads(journal.read_bytes()) == told:
            return
    except (OSError, ValueError):
        pass
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        journal.write_text(json.dumps(told))
    except OSError as error:
        raise BadPath(f"{partial}: {error.strerror}") from error


def _identity(checkpoint: Checkpoint) -> list[list[Any]]:
    stats = [(file, file.stat()) for file in checkpoint.files]
    return [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in stats]


# -- one shard


def _size(outs: list[Tensor]) -> int:
    return sum(out.values * WIDTHS[out.dtype] for out in outs)


def _write_shard(
    way: Way, base: Checkpoint, other: Checkpoint, path: Path, outs: list[Tensor], told: Told
) -> None:
    head, begins = _head(outs)
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as stream, ThreadPoolExecutor(THREADS) as pool:
        where = stream.fileno()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(where, 0, len(head) + _size(outs))
        os.pwrite(where, head, 0)
        works = (
            (base.tensors[out.name], other.tensors[out.name], out, begins[out.name], start, number)
            for out in outs
            for start, number in _pieces(out)
        )
        started = (pool.submit(_write_piece, way, where, *work) for work in works)
        waiting = deque(islice(started, WAITING))
        while waiting:
            told(waiting.popleft().result())
            waiting.extend(islice(started, 1))
        os.fsync(where)
    os.replace(unfinished, path)


def _head(outs: list[Tensor]) -> tuple[bytes, dict[str, int]]:
    """The header of a safetensors file, and where in the file each tensor begins."""
    metadata = {"format": "pt"}
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    begins = {}
    for out in outs:
        length = out.values * WIDTHS[out.dtype]
        header[out.name] = {
            "dtype": out.dtype, "shape": list(out.shape), "data_offsets": [at, at + length]
        }  # fmt: skip
        if out.result != out.dtype:
            metadata[RESULT + out.name] = out.result
        begins[out.name] = at
        at += length
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + begin for name, begin in begins.items()}


def _pieces(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """Where the pieces of a tensor begin, and how many numbers each has."""
    for start in range(0, tensor.values, CHUNK):
        yield start, min(CHUNK, tensor.values - start)


def _write_piece(
    way: Way, where: int, base: Tensor, other: Tensor, out: Tensor, begin: int, start: int, n: int
) -> int:
    b, o = _values(base, start, n), _values(other, start, n)
    if way == "merge":
        made = _sum(b, base.dtype, o, other.dtype, out.dtype)
    else:
        made = _difference(b, base.dtype, o, other.dtype, out.dtype)
    view = np.ascontiguousarray(made).data.cast("B")
    at = begin + start * WIDTHS[out.dtype]
    written = 0
    while written < len(view):
        written += os.pwrite(where, view[written:], at + written)
    return written


def _values(tensor: Tensor, start: int, number: int) -> Bits:
    """Numbers of a tensor as they lie on disk; those of BF16 as 16 bits each."""
    dtype = np.dtype(FLOATS.get(tensor.dtype, "<u2"))
    at = tensor.offset + start * dtype.itemsize
    found: Bits = np.fromfile(tensor.path, dtype, number, offset=at)
    return found


# -- the arithmetic of each type


def _sum(b: Bits, b_type: str, d: Bits, d_type: str, result: str) -> Bits:
    with np.errstate(over="ignore", invalid="ignore"):
        return _cast(_add(_cast(b, b_type, d_type), d, d_type), d_type, result)


def _difference(b: Bits, b_type: str, o: Bits, o_type: str, kept: str) -> Bits:
    with np.errstate(over="ignore", invalid="ignore"):
        return _add(_cast(o, o_type, kept), _negative(_cast(b, b_type, kept), kept), kept)


def _add(one: Bits, two: Bits, dtype: str) -> Bits:
    if dtype == "BF16":
        return _narrowed(_widened(one) + _widened(two))
    return one + two


def _negative(values: Bits, dtype: str) -> Bits:
    return values ^ np.uint16(0x8000) if dtype == "BF16" else -values


def _cast(values: Bits, given: str, wanted: str) -> Bits:
    if given == wanted:
        return values
    wide = _widened(values) if given == "BF16" else values
    if wanted == "BF16":
        return _narrowed(wide.astype(np.float32))
    cast: Bits = wide.astype(FLOATS[wanted])
    return cast


def _widened(bits: Bits) -> npt.NDArray[np.float32]:
    """BF16 is the upper half of a 32-bit float."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _narrowed(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """To the nearest, ties to even; what is no number stays none."""
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    found = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    found[np.isnan(values)] = 0x7FC0
    return found


# -- after the last


def _finish(
    partial: Path, target: Path, other: Checkpoint, shards: list[tuple[str, list[Tensor]]]
) -> None:
    if len(shards) > 1:
        total = sum(_size(outs) for _, outs in shards)
        where = {out.name: name for name, outs in shards for out in outs}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (partial / INDEX).write_text(json.dumps(index, indent=1))
    for pattern in TAKEN_OVER:
        for file in other.folder.glob(pattern):
            if file.name not in (INDEX, OLD_INDEX):
                shutil.copyfile(file, partial / file.name)
    (partial / JOURNAL).unlink()
    partial.rename(target)
