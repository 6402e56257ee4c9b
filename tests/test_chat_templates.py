"""The six templates of prompts/chat/ against texts that were written by hand.

What each model was trained with: FastChat, docs/vicuna_weights_version.md and its conversation.py
(vicuna v1.1, v0); tatsu-lab/stanford_alpaca, train.py; meta-llama/llama, generation.py; OpenAI's
chatml.md of March 2023. `plain` is our own.
"""

import pytest
from conftest import ROOT

from evalkit import checkpoint, prompts, yamlfile
from evalkit.errors import BadFile, Missing, Unknown

FILES = {file.stem: file for file in sorted((ROOT / "prompts/chat").glob("*.yaml"))}

# Three conversations: two turns; three turns with a system message; blanks, Jinja and line breaks.
TALKS = {
    "two": [("user", "Hello!"), ("assistant", "Hi."), ("user", "How are you?")],
    "three": [
        ("system", "Answer in one word."),
        ("user", "Sky?"),
        ("assistant", "Blue."),
        ("user", "Grass?"),
        ("assistant", "Green."),
        ("user", "Snow?"),
    ],
    "odd": [
        ("user", "{{ 7*7 }} {% if x %}\nline two"),
        ("assistant", "49\n\n- no"),
        ("user", "你好 ＃"),
    ],
}
V1 = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
V0 = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
PLAIN = "Questions of a user, and the full and correct answers that a helpful assistant gives."

TEXTS = {
    ("vicuna-v1.1", "two"): V1 + " USER: Hello! ASSISTANT: Hi.</s>USER: How are you? ASSISTANT:",
    ("vicuna-v1.1", "three"): "Answer in one word. USER: Sky? ASSISTANT: Blue.</s>"
    "USER: Grass? ASSISTANT: Green.</s>USER: Snow? ASSISTANT:",
    ("vicuna-v1.1", "odd"): V1 + " USER: {{ 7*7 }} {% if x %}\nline two ASSISTANT: 49\n\n- no</s>"
    "USER: 你好 ＃ ASSISTANT:",
    ("vicuna-v0", "two"): V0 + "\n\n### Human: Hello!\n### Assistant: Hi.\n"
    "### Human: How are you?\n### Assistant:",
    ("vicuna-v0", "three"): "Answer in one word.\n\n### Human: Sky?\n### Assistant: Blue.\n"
    "### Human: Grass?\n### Assistant: Green.\n### Human: Snow?\n### Assistant:",
    ("vicuna-v0", "odd"): V0 + "\n\n### Human: {{ 7*7 }} {% if x %}\nline two\n"
    "### Assistant: 49\n\n- no\n### Human: 你好 ＃\n### Assistant:",
    ("alpaca", "two"): ALPACA + "\n\n### Instruction:\nHello!\n\n### Response:Hi.</s>"
    "\n\n### Instruction:\nHow are you?\n\n### Response:",
    ("alpaca", "three"): "Answer in one word.\n\n### Instruction:\nSky?\n\n### Response:Blue.</s>"
    "\n\n### Instruction:\nGrass?\n\n### Response:Green.</s>"
    "\n\n### Instruction:\nSnow?\n\n### Response:",
    ("alpaca", "odd"): ALPACA + "\n\n### Instruction:\n{{ 7*7 }} {% if x %}\nline two\n\n"
    "### Response:49\n\n- no</s>\n\n### Instruction:\n你好 ＃\n\n### Response:",
    ("plain", "two"): PLAIN + "\n\nUser: Hello!\nAssistant: Hi.\nUser: How are you?\nAssistant:",
    ("plain", "three"): "Answer in one word.\n\nUser: Sky?\nAssistant: Blue.\nUser: Grass?\n"
    "Assistant: Green.\nUser: Snow?\nAssistant:",
    ("plain", "odd"): PLAIN + "\n\nUser: {{ 7*7 }} {% if x %}\nline two\nAssistant: 49\n\n- no\n"
    "User: 你好 ＃\nAssistant:",
    ("llama-2-chat", "two"): "[INST] Hello! [/INST] Hi. </s><s>[INST] How are you? [/INST]",
    ("llama-2-chat", "three"): "[INST] <<SYS>>\nAnswer in one word.\n<</SYS>>\n\nSky? [/INST] "
    "Blue. </s><s>[INST] Grass? [/INST] Green. </s><s>[INST] Snow? [/INST]",
    ("llama-2-chat", "odd"): "[INST] {{ 7*7 }} {% if x %}\nline two [/INST] 49\n\n- no </s>"
    "<s>[INST] 你好 ＃ [/INST]",
    ("chatml", "two"): "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
    "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
    ("chatml", "three"): "<|im_start|>system\nAnswer in one word.<|im_end|>\n"
    "<|im_start|>user\nSky?<|im_end|>\n<|im_start|>assistant\nBlue.<|im_end|>\n"
    "<|im_start|>user\nGrass?<|im_end|>\n<|im_start|>assistant\nGreen.<|im_end|>\n"
    "<|im_start|>user\nSnow?<|im_end|>\n<|im_start|>assistant\n",
    ("chatml", "odd"): "<|im_start|>user\n{{ 7*7 }} {% if x %}\nline two<|im_end|>\n"
    "<|im_start|>assistant\n49\n\n- no<|im_end|>\n<|im_start|>user\n你好 ＃<|im_end|>\n"
    "<|im_start|>assistant\n",
}  # fmt: skip


def template(name, files=FILES, **how):
    return prompts.chat_template("m", files, **{"own": None, "named": name, "wanted": None, **how})


def test_every_template_has_its_three_texts():
    assert {name for name, _ in TEXTS} == set(FILES)
    assert len(TEXTS) == 3 * len(FILES) == 18


@pytest.mark.parametrize(("name", "talk"), TEXTS)
def test_a_conversation_is_the_text_that_the_model_was_trained_with(name, talk):
    messages = [{"role": role, "content": text} for role, text in TALKS[talk]]
    filled = template(name).fill(messages, bos_token="<s>", eos_token="</s>")
    assert filled == TEXTS[name, talk]


def test_a_text_in_a_message_is_never_a_template_and_a_stop_is_where_a_turn_begins():
    for name in FILES:
        found = template(name)
        asked = {"role": "user", "content": "x"}
        one = found.fill([asked], bos_token="<s>", eos_token="</s>")
        said = {"role": "assistant", "content": "y"}
        two = found.fill([asked, said, asked], bos_token="<s>", eos_token="</s>")
        assert two.startswith(one)  # what a model reads of the next turn begins as what it wrote
        ends = (*found.stop, "</s>")
        assert any(end in two.removeprefix(one) for end in ends), name


@pytest.mark.parametrize(
    ("own", "named", "wanted", "chosen"),
    [
        ("theirs", "alpaca", None, None),
        ("theirs", None, None, None),
        (None, "alpaca", None, "alpaca"),
        ("theirs", "alpaca", "plain", "plain"),
        (None, None, "plain", "plain"),
    ],
)
def test_which_template_is_taken(own, named, wanted, chosen):
    found = template(named, own=own, wanted=wanted)
    assert found.name == chosen
    assert (found.text == "theirs") == (chosen is None)


def test_what_is_not_known_is_no_guess():
    with pytest.raises(Missing, match="there is: alpaca, chatml, llama-2-chat, plain, vicuna"):
        template(None)
    with pytest.raises(Unknown, match=r"Did you mean 'vicuna-v1\.1'"):
        template("vicuna-v1.2")
    with pytest.raises(Unknown):
        template(None, own="theirs", wanted="nothing")


def test_the_hash_is_of_all_that_is_said_and_heard(tmp_path):
    hashes = {template(name).hash for name in FILES}
    assert len(hashes) == len(FILES)
    text = FILES["vicuna-v0"].read_text()
    for change in (("polite", "rude"), ('["###"]', '["##"]'), ("Human: ", "Person: ")):
        (tmp_path / "vicuna-v0.yaml").write_text(text.replace(*change))
        changed = template("vicuna-v0", {"vicuna-v0": tmp_path / "vicuna-v0.yaml"})
        assert changed.hash not in hashes
    (tmp_path / "vicuna-v0.yaml").write_text(text.replace("description: ", "description: My "))
    again = template("vicuna-v0", {"vicuna-v0": tmp_path / "vicuna-v0.yaml"})
    assert again.hash in hashes


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("template: '{{ message }}'", "the template has no value for 'message'. Did you mean 'm"),
        ("template: '{% include \"x\" %}'", "a template cannot take in another file"),
        ("template: '{{ messages'", "line 1 of the template"),
        ("template: x\nstops: [a]", "stops"),
    ],
)
def test_a_template_that_is_none_is_told_with_its_line(tmp_path, written, told):
    file = tmp_path / "mine.yaml"
    file.write_text(f"description: mine\nsource: me\n{written}\n")
    with pytest.raises(BadFile, match=r"mine\.yaml:") as caught:
        yamlfile.load(file, prompts.ChatPrompt)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("chat_template.jinja", "theirs"),
        ("chat_template.json", '{"chat_template": "theirs"}'),
        ("tokenizer_config.json", '{"chat_template": "theirs"}'),
        (
            "tokenizer_config.json",
            '{"chat_template": [{"name": "tool_use", "template": "tools"},'
            ' {"name": "default", "template": "theirs"}]}',
        ),
    ],
)
def test_a_tokenizers_own_template_is_found_wherever_it_lies(tmp_path, file, written):
    assert checkpoint.chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert checkpoint.chat_template(tmp_path) is None
    (tmp_path / file).write_text(written)
    assert checkpoint.chat_template(tmp_path) == "theirs"
