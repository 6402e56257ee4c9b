"""The page's own words in another language than English.

translations/<language>.yaml holds English templates and what stands for each: under `page` those of
the Python code and the templates, under `script` those of page.js. English needs no file.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from evalkit import yamlfile

LANGUAGES = ("en", "zh")
_FOLDER = Path(__file__).parent / "translations"


class Translation(BaseModel):
    """One file of translations/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: Mapping[str, str] = {}
    script: Mapping[str, str] = {}


@cache
def translation(language: str) -> Translation:
    """What stands for each English text; nothing in English."""
    if language == "en":
        return Translation()
    return yamlfile.load(_FOLDER / f"{language}.yaml", Translation)
