"""One checkpoint that writes many replies at once: between two steps rows come and go.

All rows end in the same column of one cache, the newest token; a row that is done makes its place
free for the next prompt, in place, while the others go on (Yu et al. 2022, Orca: "iteration-level
scheduling"). What came before the oldest row that is left is no longer read. Works with any model
of transformers whose layers attend to keys and values, since to the model this is a batch that
was padded on the left.

Knows token ids and no text, no request and no file.
"""

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from evalkit.providers.hf_local import recording

SLACK = 128  # columns that are laid out ahead, so that not every step copies the cache
PREFILL = 8192  # tokens of prompts that are read at once, padding included
REFILL = 16  # a new group is read when this part of the rows is free: reading stops all others
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")

Finish = Literal["stop", "length", "memory", "dropped"]


@dataclass(eq=False)
class Row:
    """One reply in the making."""

    prompt: list[int]
    most: int
    """Tokens of the reply at most; 1 or more."""
    temperature: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    """Its own, so that what it draws does not hang on the rows beside it."""
    ended: Callable[[list[int]], bool] = lambda _: False
    """Whether the reply is at its end, for another reason than its last token."""
    said: list[int] = field(default_factory=list)
    finish: Finish | None = None
    """`memory`: not even this row alone fits."""
    dropped: bool = False
    """Nobody waits for it any more."""

    @property
    def length(self) -> int:
        """Tokens so far, the prompt's included."""
        return len(self.prompt) + len(self.said)

    @property
    def longest(self) -> int:
        """Tokens that it may come to."""
        return len(self.prompt) + self.most


class _Columns:
    """Which columns of the cache are in use, the same for all layers: `start` up to `end`."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.newest: torch.Tensor | None = None
        """The column that a recorded step writes to; it reads all there are."""


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, [rows, heads, columns, width], written in place."""

    is_sliding = False

    def __init__(self, columns: _Columns, capacity: int) -> None:
        super().__init__()
        self._columns = columns
        self._capacity = capacity

    @property
    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, of a layer that has its room."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def make_room(self, rows: int, states: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Take the room for all columns of so many rows, of the shape and type of `states`."""
        for name, like in zip(("keys", "values"), states, strict=True):
            shape = (rows, like.shape[1], self._capacity, like.shape[-1])
            # zeros: a masked column counts with weight 0, and 0 times what is no number is none
            setattr(self, name, like.new_zeros(shape))
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take the room, now that the first states show their shape."""
        self.make_room(len(key_states), (key_states, value_states))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the newest columns and return all that are in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.states
        if self._columns.newest is not None:
            keys.index_copy_(2, self._columns.newest, key_states)
            values.index_copy_(2, self._columns.newest, value_states)
            return keys, values
        start, end = self._columns.start, self._columns.end
        upto = end + key_states.shape[-2]
        keys[:, :, end:upto] = key_states
        values[:, :, end:upto] = value_states
        return keys[:, :, start:upto], values[:, :, start:upto]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the newest tokens look at, and where they begin."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self._columns.end - self._columns.start

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1


class Engine:
    """A model and the rows that it works on.

    `limit` rows at most at once, and no more than `tokens` columns of cache in all of them
    together. Both halve when the memory runs out all the same.
    """

    def __init__(self, model: Any, ends: Sequence[int], *, limit: int, tokens: int) -> None:
        self.limit = limit
        self.waiting: list[Row] = []
        self._model = model
        self._ends = frozenset(ends)
        self._tokens = tokens
        self._layers = model.config.get_text_config().num_hidden_layers
        self._device = model.get_input_embeddings().weight.device
        takes = inspect.signature(model.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"
        self._records = recording.can_be_recorded(model)
        self._slots: list[Row | None]
        self._clear()

    @property
    def live(self) -> list[Row]:
        """The rows that are being written."""
        return [row for row in self._slots if row is not None]

    def step(self) -> list[Row]:
        """One more token for every row, after new ones were taken in; returns those that ended."""
        ended = self._drop()
        try:
            with torch.inference_mode():
                if group := self._comers():
                    return ended + self._admit(group)
                if self._slots:
                    ended += self._advance()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not any(sign in str(error) for sign in OUT_OF_MEMORY):
                raise
            ended += self._make_do()
        return ended

    # -- who is in

    def _comers(self) -> list[Row]:
        """Those that wait and come in now, the longest first; none while too few could."""
        live = self.live
        free = self.limit - len(live)
        some = min(len(self.waiting), max(1, self.limit // REFILL))
        if live and free < some:
            return []
        self.waiting.sort(key=lambda row: -row.length)
        longest = max((row.longest for row in live), default=0)
        count = 0
        for row in self.waiting[:free]:
            longest = max(longest, row.longest)
            fits = (len(live) + count + 1) * longest <= self._tokens
            read = (count + 1) * self.waiting[0].length <= PREFILL
            if count + len(live) and not (fits and (read or not count)):
                break
            count += 1
        return self.waiting[:count]

    def _fitting(self) -> int:
        """How many of those that wait fit beside those that are in."""
        live = self.live
        longest = max(row.longest for row in (*live, *self.waiting))
        return min(len(self.waiting), min(self.limit, self._tokens // longest) - len(live))

    def _drop(self) -> list[Row]:
        """Take out the rows that nobody waits for any more."""
        gone = [row for row in (*self.waiting, *self.live) if row.dropped]
        for row in gone:
            row.finish = "dropped"
        self.waiting = [row for row in self.waiting if not row.dropped]
        self._slots = [None if row is None or row.dropped else row for row in self._slots]
        return gone

    def _admit(self, group: list[Row]) -> list[Row]:
        """Read the prompts of a group, of which each row says its first token."""
        width = group[0].length
        columns = _Columns(0, 0)
        layers = self._new_layers(columns, width)
        ids = torch.zeros((len(group), width), dtype=torch.long)
        mask = torch.zeros((len(group), width), dtype=torch.bool)
        for place, row in enumerate(group):
            ids[place, width - row.length :] = torch.tensor(row.prompt + row.said)
            mask[place, width - row.length :] = True
        ids, mask = ids.to(self._device), mask.to(self._device)
        positions = mask.long().cumsum(-1).sub(1).clamp(min=0)
        logits = self._forward(ids, mask.long(), positions, layers)
        self._place(group, width, mask, layers)
        self.waiting = self.waiting[len(group) :]
        return self._take(group, logits)

    def _place(
        self, group: list[Row], width: int, mask: torch.Tensor, layers: list[_Layer]
    ) -> None:
        """Put a group that was read into free slots, its newest token in the newest column."""
        free = [slot for slot, row in enumerate(self._slots) if row is None]
        lacking = len(group) - len(free)
        if lacking > 0 or self._columns.end < width:
            self._lay_out(self.live, len(self.live) + max(len(group), self._fitting()), width)
            free = [slot for slot, row in enumerate(self._slots) if row is None]
        slots = torch.tensor(free[: len(group)], device=self._device)
        end = self._columns.end
        self._mask[slots] = False
        self._mask[slots, end - width : end] = mask
        for own, new in zip(self._caches, layers, strict=True):
            if not own.is_initialized:
                own.make_room(len(self._slots), new.states)
            for states, read in zip(own.states, new.states, strict=True):
                states[slots.to(states.device), :, end - width : end] = read
        for slot, row in zip(free, group, strict=False):
            self._slots[slot] = row

    # -- the cache

    def _clear(self) -> None:
        self._slots = []
        self._recorded: recording.Recording | None = None
        self._capacity = 0
        self._columns = _Columns(0, 0)
        self._mask = torch.zeros((0, 0), dtype=torch.bool, device=self._device)
        self._caches = self._new_layers(self._columns, 0)

    def _new_layers(self, columns: _Columns, capacity: int) -> list[_Layer]:
        return [_Layer(columns, capacity) for _ in range(self._layers)]

    def _lay_out(self, rows: list[Row], slots: int, width: int) -> None:
        """Copy the rows into a cache of so many slots, which ends at `width` or behind it."""
        self._recorded = None
        used = max((row.length - 1 for row in rows), default=0)  # the newest is not yet in it
        end = max(used, width)
        self._capacity = end + SLACK
        old = [self._slots.index(row) for row in rows]
        keep = torch.tensor(old, dtype=torch.long, device=self._device)
        columns = _Columns(end - used, end)
        first = self._columns.end - used
        mask = torch.zeros((slots, self._capacity), dtype=torch.bool, device=self._device)
        mask[: len(rows), end - used : end] = self._mask[keep, first : self._columns.end]
        for place, layer in enumerate(self._caches):
            new = _Layer(columns, self._capacity)
            if layer.is_initialized:
                new.make_room(slots, layer.states)
                for now, was in zip(new.states, layer.states, strict=True):
                    there = keep.to(was.device)
                    now[: len(rows), :, end - used : end] = was[there, :, first : self._columns.end]
            self._caches[place] = new
        self._mask, self._columns = mask, columns
        self._slots = [*rows, *[None] * (slots - len(rows))]

    def _tidy(self) -> None:
        """Before a step: one more column, fewer slots where many are free for good."""
        live = self.live
        idle = len(self._slots) - len(live)
        if self._columns.end == self._capacity or (
            not self.waiting and idle * 4 > len(self._slots)
        ):
            slots, width = len(live), 0
            if self.waiting:
                slots, width = len(self._slots), self.waiting[0].length
            self._lay_out(live, slots, width)
        self._columns.start = self._columns.end + 1 - max(row.length for row in live)

    # -- one step

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        layers: list[_Layer],
    ) -> torch.Tensor:
        """The logits of the token that comes next, [rows, vocabulary].

        `mask`: [rows, columns], or as attention takes it, [rows, 1, 1, columns].
        """
        out = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: Cache(layers=[*layers])},
        )
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def _advance(self) -> list[Row]:
        live = self.live
        if not live:
            self._clear()
            return []
        self._tidy()
        start, end = self._columns.start, self._columns.end
        newest = [row.said[-1] if row else 0 for row in self._slots]
        ids = torch.tensor(newest, device=self._device)[:, None]
        self._mask[:, end] = True  # free slots too: what looks at nothing comes to no number
        mask = self._mask[:, start : end + 1].long()
        positions = mask.sum(-1, keepdim=True) - 1
        if self._records:
            logits = self._recording(end).step(ids, positions, end)
        else:
            logits = self._forward(ids, mask, positions, self._caches)
        self._columns.end += 1
        return self._take(self._slots, logits)

    def _recording(self, column: int) -> recording.Recording:
        """The recorded step of the cache as it lies there."""
        if self._recorded is None:
            whole = self._mask[:, None, None, :]
            newest = torch.zeros(1, dtype=torch.long, device=self._device)
            columns = self._columns

            def forward(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
                columns.newest = newest
                try:
                    return self._forward(ids, whole, positions, self._caches)
                finally:
                    columns.newest = None

            self._recorded = recording.Recording(forward, len(self._slots), newest, column)
        return self._recorded

    def _take(self, rows: Sequence[Row | None], logits: torch.Tensor) -> list[Row]:
        """Draw a token for each row; returns those that it ends, whose slots are free then."""
        ended = []
        for row, token in zip(rows, self._drawn(rows, logits), strict=True):
            if row is None:
                continue
            row.said.append(token)
            if token in self._ends or row.ended(row.said):
                row.finish = "stop"
            elif len(row.said) >= row.most:
                row.finish = "length"
            if row.finish is not None:
                ended.append(row)
                self._slots[self._slots.index(row)] = None
        return ended

    @staticmethod
    def _drawn(rows: Sequence[Row | None], logits: torch.Tensor) -> list[int]:
        """The likeliest token, or one by chance: where the row's own number falls in the sums."""
        best = logits.argmax(-1)
        warm = [place for place, row in enumerate(rows) if row and row.temperature > 0]
        if warm:
            given = [
                (row.temperature, row.chance.random()) for row in map(rows.__getitem__, warm) if row
            ]
            heat, number = torch.tensor(given, device=logits.device).T
            sums = (logits[warm] / heat[:, None]).softmax(-1).cumsum(-1)
            found = torch.searchsorted(sums, (number * sums[:, -1])[:, None])
            best[warm] = found[:, 0].clamp(max=logits.shape[-1] - 1)
        chosen: list[int] = best.tolist()
        return chosen

    def _make_do(self) -> list[Row]:
        """The memory ran out: half as many rows from now on; those put back lose nothing."""
        live = self.live
        alone = len(live) <= 1 and (bool(live) or self.limit == 1)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if alone:
            row = live[0] if live else self.waiting.pop(0)
            row.finish = "memory"
            self._clear()
            return [row]
        self.limit = max(1, (len(live) or self.limit) // 2)
        self._tokens = max(1, self._tokens // 2)
        self.waiting += live
        self._clear()
        return []
