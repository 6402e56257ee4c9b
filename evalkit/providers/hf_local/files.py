"""Where a checkpoint lies and how it is spoken to: a folder as it is, or the cache of the hub.

What is not in the cache is fetched by huggingface_hub, which heeds HF_HOME, HF_TOKEN and
HF_HUB_OFFLINE. Loads neither torch nor transformers.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from evalkit import checkpoint, prompts
from evalkit.catalog import Model
from evalkit.errors import BadPath, Missing
from evalkit.prompts import ChatTemplate

NEEDS = ("torch", "transformers", "safetensors", "accelerate", "psutil")
SETTINGS = ("*.json", "*.jinja", "tokenizer*", "*.model", "*.txt")
WEIGHTS = ("model*.safetensors",)
OLD_WEIGHTS = ("pytorch_model*.bin",)


def check_extra(model: Model, needs: Sequence[str] = NEEDS) -> None:
    """Raises Missing, with what to install, where a package for checkpoints is not there."""
    if any(find_spec(name) is None for name in needs):
        raise Missing(
            f"{model.name} needs torch and transformers: pip install 'evalkit[local]'; "
            f"or serve it and point at it: --model http://localhost:8000/v1#{model.name}"
        )


def spoken_to(model: Model, templates: Mapping[str, Path], wanted: str | None) -> ChatTemplate:
    """The chat template of a checkpoint: `wanted`, else its tokenizer's, else the catalogue's."""
    own = checkpoint.chat_template(settings(model))
    return prompts.chat_template(
        model.name, templates, own=own, named=model.stanza.template, wanted=wanted
    )


def folder(model: Model) -> Path:
    """The folder of a checkpoint with its weights in it."""
    if model.stanza.path is not None:
        return settings(model)
    found = _fetched(model, (*SETTINGS, *WEIGHTS))
    if not any(found.glob(WEIGHTS[0])):
        found = _fetched(model, (*SETTINGS, *OLD_WEIGHTS))
    return found


def settings(model: Model) -> Path:
    """The folder of a checkpoint, of which only the small files need be there."""
    if model.stanza.path is None:
        return _fetched(model, SETTINGS)
    path = Path(model.stanza.path)
    if not path.is_dir():
        where = "no such folder" if not path.exists() else "not a folder, so no checkpoint"
        raise BadPath(f"{path}: {where}")
    return path


def _fetched(model: Model, patterns: Sequence[str]) -> Path:
    check_extra(model, ("huggingface_hub",))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model.id, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise Missing(f"'{model.id}' is no name on the Hugging Face hub: ORG/NAME") from error
    except LocalEntryNotFoundError as error:
        raise Missing(
            f"{model.id} is not in the cache of the Hugging Face hub, and the hub was not asked or "
            f"did not reply. Fetch it (hf download {model.id}) or give the folder of a checkpoint: "
            "--model ./FOLDER"
        ) from error
    except HfHubHTTPError as error:
        said = " ".join(str(error).split("\n")[-1].split()) or type(error).__name__
        raise Missing(f"the Hugging Face hub does not give {model.id}: {said}") from error
