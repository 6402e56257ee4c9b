"""What one checkpoint reads and writes, as text: its tokenizer, and how it is spoken to.

Needs the small files of a checkpoint and none of its weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.chat import Message
from evalkit.errors import Missing
from evalkit.prompts import ChatTemplate


class Speech:
    """The words of a checkpoint."""

    def __init__(self, folder: Path, template: ChatTemplate) -> None:
        """Raises Missing where the tokenizer cannot be read. Loads transformers."""
        from transformers import AutoTokenizer

        self.template = template
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError, AttributeError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise Missing(f"{folder}: its tokenizer cannot be read: {said}") from error

    def spelt(self, messages: Sequence[Message]) -> tuple[str, list[int]]:
        """What it reads: the text, behind the tokenizer's own first token, and all token ids.

        Raises jinja2.TemplateError where the tokenizer's template refuses the conversation.
        """
        said = [{"role": each.role, "content": each.text} for each in messages]
        own = self.template.name is None
        if own:
            text = self._tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=True
            )
        else:
            names = ("bos_token", "eos_token")
            tokens = {name: getattr(self._tokenizer, name) or "" for name in names}
            text = self.template.fill(said, **tokens)
        return text, self._tokenizer(text, add_special_tokens=not own)["input_ids"]

    def text(self, said: Sequence[int]) -> str:
        """What it wrote, up to where its template ends it."""
        text: str = self._tokenizer.decode(said, skip_special_tokens=True)
        ends = [place for stop in self.template.stop if (place := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text
        return text if self.template.name is None else text.strip()

    @property
    def longest_stop(self) -> int:
        """Characters of the longest text that ends a reply."""
        return max(map(len, self.template.stop), default=0)

    def stops(self, said: Sequence[int]) -> bool:
        """Whether its newest words are such that its template ends it."""
        newest = said[-self.longest_stop - 1 :]  # a token may hold a single character
        return any(stop in self._tokenizer.decode(newest) for stop in self.template.stop)

    @property
    def end(self) -> int | None:
        """The token that ends a reply, as far as the tokenizer knows one."""
        found: int | None = self._tokenizer.eos_token_id
        return found
