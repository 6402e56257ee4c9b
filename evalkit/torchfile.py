"""Old .bin files: where the tensors of a torch.save file lie, without running what is in it.

Such a file is a zip of raw numbers and a pickle that says what they are. A pickle can call
anything; here it can name the types of torch's storages and put tensors together from them, and
whatever else it asks for is refused. torch itself is not needed.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from evalkit.errors import BadFile, Fault

STORAGES = {
    "DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}  # fmt: skip
"""The name of a storage -> the type of its numbers, and their bytes."""
LARGEST_PICKLE = 100_000_000  # bytes
LOCAL_HEADER = 30  # bytes of a zip entry before its name


@dataclass(frozen=True)
class Lying:
    """A tensor, and where its first byte lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class _Storage:
    dtype: str
    width: int
    begin: int
    numbers: int


def read(file: Path) -> dict[str, Lying]:
    """The tensors of a .bin file, by name.

    Raises BadFile for what is no such file, is cut, holds more than tensors, or tensors whose
    numbers do not lie one after the other.
    """
    try:
        with zipfile.ZipFile(file) as archive, open(file, "rb") as stream:
            found = _Tensors(archive, stream).load()
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError) as error:
        what = "no file of tensors that torch 1.6 or later wrote"
        raise BadFile([Fault(str(file), f"{what} ({error}): cut, or older?")]) from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise BadFile([Fault(str(file), f"holds something else than tensors ({error})")]) from error
    named = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not named or not all(isinstance(each, Lying) for each in found.values()):
        raise BadFile([Fault(str(file), "holds something else than tensors by name")])
    return dict(found)


class _Tensors(pickle.Unpickler):
    """Reads the pickle of such a file; of its names only those below mean anything."""

    def __init__(self, archive: zipfile.ZipFile, stream: Any) -> None:
        self._archive = archive
        self._stream = stream
        (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        self._root = entry.removesuffix("data.pkl")
        if archive.getinfo(entry).file_size > LARGEST_PICKLE:
            raise ValueError("a list of tensors that long")
        super().__init__(archive.open(entry))

    def find_class(self, module: str, name: str) -> Any:
        """The few names that such a pickle may use."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise ValueError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Where the numbers of a storage lie."""
        _, (dtype, width), key, _, numbers = pid
        entry = self._archive.getinfo(f"{self._root}data/{key}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < numbers * width:
            raise ValueError("numbers that are packed or cut")
        self._stream.seek(entry.header_offset)
        local = self._stream.read(LOCAL_HEADER)
        name, extra = struct.unpack("<HH", local[26:30])
        begin = entry.header_offset + LOCAL_HEADER + name + extra
        return _Storage(dtype, width, begin, numbers)


def _tensor(storage: Any, start: int, shape: tuple[int, ...], stride: Any, *_: Any) -> Lying:
    after = [prod(shape[n + 1 :]) for n in range(len(shape))]
    if prod(shape) and any(
        s != a for s, a, size in zip(stride, after, shape, strict=True) if size > 1
    ):
        raise ValueError("a tensor whose numbers do not lie one after the other")
    if start < 0 or start + prod(shape) > storage.numbers:
        raise ValueError("a tensor beyond its numbers")
    return Lying(storage.dtype, tuple(shape), storage.begin + start * storage.width)


def _parameter(tensor: Lying, *_: Any) -> Lying:
    return tensor
