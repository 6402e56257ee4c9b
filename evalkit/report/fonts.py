"""Which fonts a picture is drawn with: matplotlib's own first, then one that has Chinese.

The page needs none of this: its text stays text, and the browser has fonts.
"""

from functools import cache

from matplotlib import font_manager

CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "PingFang SC",
    "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
"""Families that have Chinese, the first that is here is taken. A .ttc counts by its first face."""


@cache
def families() -> list[str]:
    """For `font.family`: where a font lacks a character, the next one is asked."""
    return ["DejaVu Sans", *_chinese()[:1]]


def _chinese() -> list[str]:
    here = set(font_manager.get_font_names())
    if here.isdisjoint(CHINESE):  # what was installed since matplotlib made its list is not in it
        _look_again()
        here = set(font_manager.get_font_names())
    return [name for name in CHINESE if name in here]


def _look_again() -> None:
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for file in set(font_manager.findSystemFonts()) - known:
        try:
            font_manager.fontManager.addfont(file)
        except (OSError, RuntimeError):  # no font after all
            continue
