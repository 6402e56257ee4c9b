"""A checkpoint on disk: which tensors it has, of what shape and type, and where their bytes lie.

Reads the headers of safetensors files and of old .bin files and what stands beside them, never a
tensor, and runs nothing: a checkpoint is data from a stranger. Knows no model and no sum.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from evalkit import jsonl, torchfile
from evalkit.errors import BadFile, BadPath, Fault, Missing

WIDTHS = dict(torchfile.STORAGES.values())
"""Bytes of one value."""
INDEX = "model.safetensors.index.json"
OLD_INDEX = "pytorch_model.bin.index.json"
LARGEST_HEADER = 100_000_000  # bytes, as the format has it
COMPUTED = "rotary_emb.inv_freq"  # a table that old checkpoints hold, which no training made
RESULT = "evalkit.dtype."  # before a tensor's name in the metadata: the type that its sum has


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    """Of its first byte in the file."""
    result: str
    """The type of the sum that it is a part of; its own, but for a delta that had to be wider."""

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass
class Checkpoint:
    """The tensors of a folder, by name, and its files in their order."""

    folder: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.values for tensor in self.tensors.values())

    @property
    def vocabulary(self) -> int | None:
        """Rows of the embedding; None where there is none."""
        found = (t for name, t in self.tensors.items() if name.endswith("embed_tokens.weight"))
        return next((tensor.shape[0] for tensor in found if tensor.shape), None)

    def of(self, file: Path) -> list[Tensor]:
        """The tensors in one file, in the order of their bytes."""
        own = (tensor for tensor in self.tensors.values() if tensor.path == file)
        return sorted(own, key=lambda tensor: tensor.offset)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises BadPath for what is no folder, Missing where nothing in it can be read, BadFile with
    every fault of its files: cut or overlapping tensors, and names that the index has otherwise.
    """
    if not folder.is_dir():
        raise BadPath(f"{folder}: no such folder")
    index = next((each for each in (folder / INDEX, folder / OLD_INDEX) if each.exists()), None)
    listed = _listed(index) if index else None
    files = _files(folder, listed)
    lost = [file for file in files if not file.is_file()]
    faults = [Fault(str(file), "no such file, but the index names it") for file in lost]
    found = Checkpoint(folder, files=[file for file in files if file not in lost])
    for file in found.files:
        try:
            tensors = _old(file) if file.suffix == ".bin" else _header(file)
        except BadFile as error:
            faults += error.faults
            continue
        twice = [tensor.name for tensor in tensors if tensor.name in found.tensors]
        faults += [Fault(str(file), f"{name} is in another file too") for name in twice]
        found.tensors |= {tensor.name: tensor for tensor in tensors}
    if index is not None and listed is not None and not faults:
        astray = {name for name, file in listed.items() if _home(found, name) != file}
        astray |= set(found.tensors) - set(listed)
        faults = [Fault(str(index), f"{name} lies elsewhere or nowhere") for name in sorted(astray)]
    if faults:
        raise BadFile(faults)
    return found


def chat_template(folder: Path) -> str | None:
    """The chat template that came with the tokenizer, word for word; None where there is none.

    Raises BadFile for a file of the tokenizer that is no JSON.
    """
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        return jsonl.text(alone)
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _settings(folder / name).get("chat_template")
        if isinstance(found, list):  # several, each for a purpose of its own
            named = {each.get("name"): each for each in found if isinstance(each, dict)}
            found = named.get("default", {}).get("template")
        if isinstance(found, str):
            return found
    return None


def config(folder: Path) -> dict[str, Any]:
    """What config.json says of the language model; raises BadPath where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise BadPath(f"{path}: no such file, so {folder} is no checkpoint that can be loaded")
    told = _settings(path)
    inner = told.get("text_config")
    return told | inner if isinstance(inner, dict) else told


def _settings(path: Path) -> dict[str, Any]:
    """A file of settings; an empty one where there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadFile([Fault(str(path), "not JSON")]) from error
    return found if isinstance(found, dict) else {}


def _files(folder: Path, listed: Mapping[str, str] | None) -> list[Path]:
    if listed is not None:
        return [folder / name for name in sorted(set(listed.values()))]
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise Missing(f"{folder}: no safetensors or pytorch_model.bin file, so no checkpoint")


def _home(found: Checkpoint, name: str) -> str | None:
    tensor = found.tensors.get(name)
    return tensor.path.name if tensor else None


def _listed(index: Path) -> dict[str, str]:
    try:
        told = json.loads(index.read_bytes())["weight_map"]
        if all(isinstance(name, str) and Path(name).name == name for name in told.values()):
            return dict(told)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BadFile([Fault(str(index), "not the index of a checkpoint")])


def _old(file: Path) -> list[Tensor]:
    """The tensors of one .bin file."""
    return [
        Tensor(name, each.dtype, each.shape, file, each.offset, each.dtype)
        for name, each in torchfile.read(file).items()
    ]


def _header(file: Path) -> list[Tensor]:
    """The tensors of one safetensors file."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise _cut(file, size, 8 + length)
        try:
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__", {})
            begin = 8 + length
            found = [_tensor(file, begin, name, told, metadata) for name, told in header.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadFile([Fault(str(file), "not a safetensors file")]) from error
    found.sort(key=lambda tensor: tensor.offset)
    end = 8 + length
    for tensor in found:
        if tensor.offset != end:
            raise BadFile(
                [Fault(str(file), f"{tensor.name} does not lie where the one before ends")]
            )
        end += tensor.values * WIDTHS[tensor.dtype]
    if end != size:
        raise _cut(file, size, end)
    return found


def _tensor(file: Path, begin: int, name: str, told: Any, metadata: Any) -> Tensor:
    start, end = told["data_offsets"]
    dtype, shape = told["dtype"], tuple(told["shape"])
    if dtype not in WIDTHS or end - start != prod(shape) * WIDTHS[dtype] or start < 0:
        raise ValueError(name)
    result = metadata.get(RESULT + name, dtype)
    if result not in WIDTHS:
        raise ValueError(name)
    return Tensor(name, dtype, shape, file, begin + start, result)


def _cut(file: Path, size: int, wanted: int) -> BadFile:
    return BadFile([Fault(str(file), f"{size:,} bytes, but its header tells of {wanted:,}: cut?")])
