"""A Hugging Face checkpoint, loaded on this machine: a folder, or a name on the hub.

Loads torch and transformers when the first call comes, and nothing of them before. The calls in
flight are written together (`engine`); what is needed of memory is known before (`memory`); where
the files lie says `files`. Runs no code that a checkpoint brings along.
"""

from evalkit.providers.hf_local.files import spoken_to
from evalkit.providers.hf_local.provider import Provider

__all__ = ["Provider", "spoken_to"]
