"""Tiny checkpoints for the tests, with random weights and a tokenizer that is trained on the spot.

What they say is noise; files, loading, tokens and steps are those of torch and transformers.
"""

import json
from importlib.util import find_spec

import pytest

NEEDS = ("torch", "transformers", "safetensors", "accelerate", "psutil")
TEXT = """
Questions of a user, and the full and correct answers that a helpful assistant gives. What is the
capital of France? How many piano tuners are there in Chicago? Write a function that adds two
numbers. USER: ASSISTANT: ### Human: ### Assistant: ### Instruction: ### Response: User: [INST]
"""


def needs_torch():
    """Skip the module where the extra `local` is not there, and say so."""
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        pytest.skip(f"NO CHECKPOINTS: pip install {' '.join(missing)}", allow_module_level=True)


def tokenizer(template=None, size=600):
    """A byte-level tokenizer with LLaMA's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXT.split("\n"),
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )


def checkpoint(folder, template=None, *, seed=0, dtype="float32", ends=True, shard=None, **shape):
    """Write a LLaMA of 2 layers into a folder, and return the folder.

    `ends`: whether it may end a reply by itself; `shard`: bytes of each file of weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(template)
    given = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        **shape,
    }
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), bos_token_id=1, eos_token_id=2 if ends else None, **given
    )
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    words.save_pretrained(folder)
    return folder


def as_bin(folder, target):
    """The same checkpoint as old .bin files."""
    import torch
    from safetensors.torch import load_file

    target.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors" and "index" not in file.name:
            (target / file.name).write_bytes(file.read_bytes())
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    torch.save(weights, target / "pytorch_model.bin")
    return target


def settings(folder, name, **values):
    """Change what stands in a JSON file of a checkpoint; None takes it out."""
    path = folder / name
    told = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
