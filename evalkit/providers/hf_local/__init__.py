"""A Hugging Face checkpoint, loaded on this machine: a folder, or a name on the hub.

Loads torch and transformers when it is asked, and nothing of them before. The calls in flight are
written together (`engine`); what is needed of memory is known before (`memory`); where the files
lie says `files`, what is read and written as text `speech`. Runs no code of a checkpoint's own.
"""

from evalkit.catalog import Model
from evalkit.providers.hf_local import files
from evalkit.providers.hf_local.files import spoken_to
from evalkit.providers.hf_local.provider import Provider
from evalkit.providers.hf_local.speech import Speech

__all__ = ["Provider", "speech", "spoken_to"]


def speech(model: Model) -> Speech:
    """The words of a checkpoint, without its weights. `model`: with its chat template."""
    files.check_extra(model)
    assert model.template is not None
    return Speech(files.settings(model), model.template)
