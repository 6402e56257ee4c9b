"""One step of all rows as a CUDA graph: recorded once for a cache, then replayed as it is.

A step of one token for each row is hundreds of small kernels, and Python takes longer to start
them than the GPU to run them. A recording starts them all at once; it reads and writes the same
places each time, so what changes between two steps lies in tensors that stay where they are.
"""

from collections.abc import Callable
from typing import Any

import torch


def can_be_recorded(model: Any) -> bool:
    """Whether a step of this model does the same in each step, all on one GPU."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        {each.device.type for each in model.parameters()} == {"cuda"}
        and len({each.device for each in model.parameters()}) == 1
        and config._attn_implementation == "sdpa"
        and kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and not getattr(model, "is_quantized", False)
    )


class Recording:
    """A step that was recorded.

    `forward` takes token ids [rows, 1] and their positions [rows, 1], and gives logits; it reads
    the column to write to from `column`, a tensor of one number.
    """

    def __init__(
        self,
        forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        rows: int,
        column: torch.Tensor,
        at: int,
    ) -> None:
        """`at`: a column that may be written to while it is recorded: the next one."""
        self._ids = torch.zeros((rows, 1), dtype=torch.long, device=column.device)
        self._positions = torch.zeros_like(self._ids)
        self._column = column.fill_(at)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is done once must not be recorded
            forward(self._ids, self._positions)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = forward(self._ids, self._positions)

    def step(self, ids: torch.Tensor, positions: torch.Tensor, column: int) -> torch.Tensor:
        """The logits of one step, which stand until the next one."""
        self._ids.copy_(ids)
        self._positions.copy_(positions)
        self._column.fill_(column)
        self._graph.replay()
        return self._logits
