"""evalkit weights: base + delta = checkpoint, the way back, and a look at what lies there."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.verb import Verbs, on_any, print_json, progress, say, show

if TYPE_CHECKING:
    from evalkit.checkpoint import Checkpoint
    from evalkit.weights import Way

MB = 1_000_000
KNOWN = {
    32_000: (": as LLaMA, or Vicuna v1.1 and later", "plain, or vicuna-v1.1"),
    32_001: (": as Vicuna v0, or Alpaca", "vicuna-v0, or alpaca"),
}
"""Tokens -> the versions that have so many, and the templates that these were trained with."""
_BASE = click.option("--base", required=True, metavar="DIR", help="What was trained on.")


@click.group(cls=Verbs, short_help="Checkpoints from a base and a delta.")
def weights() -> None:
    """Checkpoints that were published as a delta to another one, such as Vicuna to LLaMA."""


@weights.command(short_help="Base + delta = checkpoint.")
@_BASE
@click.option("--delta", required=True, metavar="DIR", help="What was published.")
@click.option("--out", required=True, metavar="DIR", help="A new folder for the sum.")
@on_any
def merge(base: str, delta: str, out: str, as_json: bool) -> None:
    """Add a delta to its base, tensor by tensor, and take its tokenizer and configuration.

    Names, shapes, types, vocabulary and room on the disk are checked before the first byte. The
    folder appears only when it is whole; the same command goes on where it was ended.
    """
    _combine("merge", base, delta, out, as_json=as_json)


@weights.command(short_help="Make a delta: target - base.")
@_BASE
@click.option("--target", required=True, metavar="DIR", help="What came of it.")
@click.option("--out", required=True, metavar="DIR", help="A new folder for the delta.")
@on_any
def diff(base: str, target: str, out: str, as_json: bool) -> None:
    """Subtract the base, so that `merge` gives the same numbers again.

    A tensor whose difference its own type cannot hold is kept in a wider one.
    """
    _combine("diff", base, target, out, as_json=as_json)


@weights.command(short_help="What a checkpoint is, and whether its shards are whole.")
@click.argument("folder", metavar="DIR")
@click.option("--sums", is_flag=True, help="Also the SHA-256 of each shard, which reads all of it.")
@on_any
def check(folder: str, sums: bool, as_json: bool) -> None:
    """Tell tensors, types, vocabulary, version, template; exit 2 for what is not whole."""
    from evalkit import checkpoint

    found = checkpoint.read(Path(folder))
    types = sorted({tensor.dtype for tensor in found.tensors.values()})
    size = sum(file.stat().st_size for file in found.files)
    digests = {file.name: _digest(file) for file in found.files} if sums else {}
    template = checkpoint.chat_template(Path(folder))
    if as_json:
        values = {
            "folder": folder, "tensors": len(found.tensors), "parameters": found.parameters,
            "types": types, "bytes": size, "vocabulary": found.vocabulary, "sha256": digests,
            "chat_template": template,
        }  # fmt: skip
        print_json("weights", values, [], None)
        return
    show(
        f"{folder}: {len(found.tensors)} tensors, {found.parameters:,} parameters in "
        f"{', '.join(types)}, {size / MB:,.0f} MB in {len(found.files)} files, all whole"
    )
    if found.vocabulary:
        version, spoken_to = KNOWN.get(found.vocabulary, ("", "NAME"))
        show(f"vocabulary {found.vocabulary:,}{version}")
        own = f"none, so it is answered with --template {spoken_to}"
        show(f"chat template: {own if template is None else 'its own'}")
    for name, digest in digests.items():
        show(f"{digest}  {name}")


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _combine(way: "Way", base: str, other: str, out: str, *, as_json: bool) -> None:
    from evalkit import checkpoint
    from evalkit import weights as sums

    one: Checkpoint = checkpoint.read(Path(base))
    two = checkpoint.read(Path(other))
    target = Path(out)
    with progress(sums.size(way, one, two) // MB) as bar:
        done = 0

        def told(written: int) -> None:
            nonlocal done
            bar((done + written) // MB - done // MB)
            done += written

        sums.combine(way, one, two, target, told)
    if as_json:
        values = {"folder": out, "tensors": len(two.tensors), "bytes": done}
        print_json("weights", values, sorted(target.iterdir()), f"evalkit weights check {out}")
    else:
        show(f"{out}: {len(two.tensors)} tensors, {done / MB:,.0f} MB")
        say(f"Next: evalkit weights check {out}")
