"""Prompt files are data, checked whole before anything uses them."""

import pytest
from conftest import ROOT, question, write_lines

from evalkit.errors import BadFile
from evalkit.prompts import JudgePrompt, categories
from evalkit.workspace import Workspace
from evalkit.yamlfile import load

GOOD = """\
description: One answer, one score.
shows: 1
parser: pair_scores
system: You are an examiner.
template: |
  {{ fence }} {{ answers[0][0] }} {{ fence }}
repair: Two numbers, please.
rubrics:
  alchemy: The lead turned to gold.
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts" / "judge" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD)
    return path


def test_every_shipped_prompt_is_sound():
    files = Workspace(ROOT).prompts("judge")
    assert "pair-scores" in files
    for path in files.values():
        prompt = load(path, JudgePrompt)
        assert prompt.description and all(map(str.strip, prompt.rubrics.values()))


def test_the_shipped_prompts_know_the_eight_categories_and_the_published_ones():
    known = set(categories(Workspace(ROOT).prompts("judge")))
    eight = {"fermi", "roleplay", "coding", "math", "writing", "knowledge", "common-sense"}
    assert eight | {"counterfactual", "generic"} <= known


def test_a_prompt_of_ones_own_brings_its_categories(file, evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question(category="alchemy")])
    assert evalkit("report", "--bank", "mine").code == 0
    file.unlink()
    ran = evalkit("report", "--bank", "mine")
    assert (ran.code, "alchemy" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "parser: pair_scores",
            "parser: pair_score",
            "no parser 'pair_score'; there is: pair_scores",
        ),
        ("shows: 1", "shows: 3", "'shows' should be less than or equal to 2"),
        ("shows: 1", "shows: one", "'shows' should be a valid integer, found text"),
        ("shows: 1", "show: 1", "unknown field 'show'. Did you mean 'shows'?"),
        ("shows: 1", "", "the field 'shows' is missing"),
        ("shows: 1", "shows: [1", "not valid YAML"),
        ("shows: 1", "shows: 1\nshows: 1", "not valid YAML: the key 'shows' stands twice"),
        ("shows: 1", "shows: 2001-99-99", "not valid YAML"),
        ("shows: 1", "shows: 1\x07", "not valid YAML"),
        ("shows: 1", "shows: " + "[" * 5000, "not valid YAML"),
        ("alchemy: The", "alchemy: !!python/name:os.system x", "not valid YAML"),
    ],
)
def test_a_bad_prompt_is_one_line_with_its_place(file, old, new, told):
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BadFile) as caught:
        load(file, JudgePrompt)
    said = caught.value.lines()
    assert any(told in line for line in said)
    assert all(line.startswith(str(file)) for line in said)
