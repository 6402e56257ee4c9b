"""What a checkpoint needs of memory against what is free, before a byte of it is loaded.

Weights by the headers of its files; beside them the keys and values of one reply of full length.
Pure, but for `free`, which asks the machine. Knows no request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.catalog import Dtype
from evalkit.checkpoint import Checkpoint

GB = 1_000_000_000
WIDTHS: Mapping[str, float] = {
    "float32": 4, "float16": 2, "bfloat16": 2, "8bit": 1, "4bit": 0.5625,
}  # fmt: skip
"""Bytes of one weight; with 4 bits also a scale of 32 for each 64 (Dettmers et al. 2023)."""
OWN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float32"}
KEPT_WHOLE = ("embed_tokens", "lm_head", "norm")  # not quantised: of 16 bits
SPARE = 0.9  # of what is free: the rest is for what comes and goes in between
ROOM = 2048  # tokens of a reply and its prompt, where the checkpoint does not say or takes more


@dataclass(frozen=True)
class Free:
    """Memory that can be had now, in bytes."""

    gpus: tuple[int, ...]
    """Of each GPU."""
    main: int


@dataclass(frozen=True)
class Placement:
    """How a checkpoint is loaded, where, and what that takes."""

    dtype: Dtype
    where: str
    """`cuda:0`, `cpu`, or `auto`: over all GPUs and, where these do not do, the main memory."""
    needs: int
    """Bytes: the weights, and one reply."""
    per_token: int
    """Bytes of keys and values."""
    free: int
    """Bytes there."""

    @property
    def fits(self) -> bool:
        """Whether it can be loaded so."""
        return self.needs <= self.free

    @property
    def tokens(self) -> int:
        """Tokens of all replies and prompts together that there is room for at once."""
        left = self.free * SPARE - self.needs
        return max(ROOM, int(left / max(1, self.per_token)))

    @property
    def place(self) -> str:
        """Where it is loaded, in words."""
        return {"cpu": "in memory", "auto": "on the GPUs and in memory"}.get(
            self.where, f"on {self.where}"
        )


def free() -> Free:
    """What this machine has: as its GPUs, its system and its container say."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = tuple(torch.cuda.mem_get_info(number)[0] for number in range(count))
    return Free(gpus, main_memory())


def main_memory() -> int:
    """Bytes of main memory that can be had now."""
    import psutil

    return min(int(psutil.virtual_memory().available), _container_left())


def _container_left() -> int:
    """Bytes that a container (cgroup v2) leaves; more than any machine has where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        return max(0, most - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # none, or no limit: "max"
        return 1 << 60


def placed(
    found: Checkpoint, config: Mapping[str, Any], wanted: Dtype | None, free: Free
) -> Placement:
    """How a checkpoint is loaded: as wanted; else its own type on a GPU, float32 without one.

    `config`: what `checkpoint.config` says. The result may not fit: see `Placement.fits`.
    """
    dtype = wanted or (own_dtype(found, config) if free.gpus else "float32")
    ways = [_on(found, config, dtype, where, room) for where, room in _places(free).items()]
    return next((way for way in ways if way.fits), ways[-1])


def fitting(found: Checkpoint, config: Mapping[str, Any], free: Free) -> list[Placement]:
    """Every way in which it would fit, the truest numbers first."""
    dtypes: list[Dtype] = ["float32", own_dtype(found, config)]
    if dtypes[1] == "float32":
        dtypes[1] = "bfloat16"
    if find_spec("bitsandbytes"):
        dtypes += ["8bit", "4bit"]
    places = _places(free).items()
    ways = [_on(found, config, dtype, where, room) for dtype in dtypes for where, room in places]
    return [way for way in ways if way.fits]


def refusal(name: str, found: Checkpoint, wanted: Placement, ways: Sequence[Placement]) -> str:
    """That it does not fit, by how much, and what would."""
    told = f"{told_of(name, found, wanted)}. "
    if ways:
        way = ways[0]
        return f"{told}It fits with --dtype {way.dtype}: {size(way.needs)} {way.place}"
    more = "" if find_spec("bitsandbytes") else "with bitsandbytes --dtype 4bit may fit; or "
    return f"{told}Nothing that is here does: {more}take a smaller model, or a server's"


def told_of(name: str, found: Checkpoint, way: Placement) -> str:
    """What is loaded and what it needs, in one line."""
    return (
        f"{name}: {_amount(found.parameters)} parameters in {way.dtype} {way.place} need "
        f"{size(way.needs)}, {size(way.free)} are free"
    )


def size(number: int) -> str:
    """An amount of memory, in words."""
    return f"{number / GB:.1f} GB" if number >= GB else f"{number / 1_000_000:.1f} MB"


def own_dtype(found: Checkpoint, config: Mapping[str, Any]) -> Dtype:
    """The type that a checkpoint says it is of, else the one that most of its numbers have."""
    said = str(config.get("dtype") or config.get("torch_dtype") or "")
    if said in ("float32", "float16", "bfloat16"):
        return said  # type: ignore[return-value]
    counts: dict[str, int] = {}
    for tensor in found.tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.values
    most = max(counts, key=lambda each: counts[each], default="F32")
    return OWN.get(most, "bfloat16")  # type: ignore[return-value]


def per_token(config: Mapping[str, Any], width: float) -> int:
    """Bytes of the keys and values of one token."""
    heads = config.get("num_attention_heads") or 1
    kept = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or (config.get("hidden_size") or 0) // heads
    return int(2 * (config.get("num_hidden_layers") or 1) * kept * size * width)


def context(config: Mapping[str, Any]) -> int | None:
    """Tokens that a prompt and its reply may have together, as far as the checkpoint says."""
    said = config.get("max_position_embeddings")
    return said if isinstance(said, int) and said > 0 else None


def _places(free: Free) -> dict[str, int]:
    """Where it can be loaded, the best place first, and the bytes that are free there."""
    if not free.gpus:
        return {"cpu": free.main}
    return {"cuda:0": free.gpus[0], "auto": sum(free.gpus) + free.main}


def _on(
    found: Checkpoint, config: Mapping[str, Any], dtype: Dtype, where: str, room: int
) -> Placement:
    states = max(2.0, WIDTHS[dtype])
    each = per_token(config, states)
    tokens = min(ROOM, context(config) or ROOM)
    needs = sum(
        tensor.values * (states if any(part in name for part in KEPT_WHOLE) else WIDTHS[dtype])
        for name, tensor in found.tensors.items()
    )
    return Placement(dtype, where, int(needs) + each * tokens, each, room)


def _amount(parameters: int) -> str:
    if parameters >= GB:
        return f"{parameters / GB:.1f} B"
    return f"{parameters / 1_000_000:.1f} M"
