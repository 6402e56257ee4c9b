"""evalkit answer, judge and models with a checkpoint on this machine, in its own words."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter

import pytest
from chat_server import serving
from checkpoints import as_bin, checkpoint, needs_torch, settings, tokenizer
from conftest import ROOT, answer, question, read_lines, write_lines

needs_torch()

from evalkit.catalog import Model, Stanza
from evalkit.chat import Failure, Kind, Message, Reply, Request, Sampling
from evalkit.keys import Keys
from evalkit.prompts import ChatTemplate
from evalkit.providers.hf_local import files, memory, provider
from evalkit.providers.hf_local.speech import Speech

OWN = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A checkpoint whose tokenizer has no chat template."""
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def bank(tmp_path):
    questions = [question(f"q{n}", turns=[f"What is {n}?"] * (1 + n % 2)) for n in range(6)]
    return write_lines(tmp_path / "questions/b.jsonl", questions)


@pytest.fixture
def ask(evalkit, tiny, bank):
    """`evalkit answer` of 6 questions by the tiny checkpoint, or another one."""

    def command(*args, model=tiny, template="vicuna-v1.1", most=12):
        how = ["--template", template] if template else []
        return evalkit("answer", "--model", model, "--bank", "b", "--max-tokens", most, *how, *args)

    return command


def rows_of(folder, name="tiny"):
    return read_lines(folder / f"answers/b/{name}.jsonl")


def said_by(folder, name="tiny"):
    return {(row["question"], len(row["turns"])): row["turns"][-1] for row in rows_of(folder, name)}


def test_a_folder_answers_a_bank_and_is_asked_nothing_twice(ask, tmp_path, tiny):
    ran = ask()
    assert (ran.code, ran.out) == (0, "tiny   6/6   6 cut at max_tokens · 0 empty\n")
    assert f"{tiny} on this machine, template vicuna-v1.1   free" in ran.err
    assert "tiny: 0.1 M parameters in float32 in memory need" in ran.err
    rows = rows_of(tmp_path)
    assert Counter(len(row["turns"]) for row in rows) == {1: 6, 2: 3}
    for row in rows:
        assert row["served"] == "tiny (float32)"
        assert row["sampling"] == {"temperature": 0, "max_tokens": 12}
        assert row["usage"]["output"] == 12 and row["dollars"] == 0
        assert len(row["template"]) == 16
    again = ask()
    assert (again.code, len(rows_of(tmp_path))) == (0, 9)
    assert "tiny   0 owed, 6 kept" in again.err


def test_another_template_is_owed_anew_and_the_old_one_still_counts(ask, tmp_path):
    ask()
    first = said_by(tmp_path)
    assert "6 answers of other settings will count no more" in ask(template="plain").err
    assert len({row["template"] for row in rows_of(tmp_path)}) == 2
    assert len(rows_of(tmp_path)) == 18
    assert "0 owed, 6 kept" in ask().err
    (tmp_path / "prompts/chat").mkdir(parents=True)
    text = (ROOT / "prompts/chat/vicuna-v1.1.yaml").read_text()
    (tmp_path / "prompts/chat/vicuna-v1.1.yaml").write_text(text.replace("polite", "rude"))
    assert ask().code == 0
    assert len(rows_of(tmp_path)) == 27
    assert said_by(tmp_path) != first


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_shards_and_old_files_say_the_same(ask, tmp_path, tiny, form):
    ask()
    other = tmp_path / form
    if form == "bin":
        as_bin(tiny, other)
    else:
        checkpoint(other, shard="100KB")
        assert len(list(other.glob("*.safetensors"))) > 2
    assert ask(model=other).code == 0
    assert said_by(tmp_path, form) == said_by(tmp_path)


def test_replies_do_not_hang_on_how_many_are_written_at_once(ask, tmp_path):
    ask("--temperature", 1, "--seed", 5)
    together = said_by(tmp_path)
    shutil.rmtree(tmp_path / "answers")
    ask("--temperature", 1, "--seed", 5, "--concurrency", 1)
    assert said_by(tmp_path) == together
    assert {row["sampling"]["seed"] for row in rows_of(tmp_path)} == {5}
    shutil.rmtree(tmp_path / "answers")
    ask("--temperature", 1, "--seed", 6)
    assert said_by(tmp_path) != together


def test_two_checkpoints_in_one_run_are_in_memory_one_after_the_other(
    ask, tmp_path, tiny, monkeypatch
):
    other = checkpoint(tmp_path / "other", seed=1)
    alive, loading, models, loaded = [], [], [], provider.Provider._loaded

    def counted(self):
        alive.append(len(loading) + sum(model() is not None for model in models))
        loading.append(self)
        engine = loaded(self)
        models.append(weakref.ref(engine._model))
        loading.remove(self)
        return engine

    monkeypatch.setattr(provider.Provider, "_loaded", counted)
    ran = ask("--model", other)
    assert (ran.code, alive) == (0, [0, 0])
    assert len(said_by(tmp_path)) == len(said_by(tmp_path, "other")) == 9
    assert said_by(tmp_path) != said_by(tmp_path, "other")


# -- how it is spoken to


def test_the_tokenizers_own_template_goes_first_and_the_users_word_before_it(evalkit, tmp_path):
    folder = checkpoint(tmp_path / "own", OWN)
    (tmp_path / "evalkit.yaml").write_text(
        "catalog:\n  mine:\n    provider: hf_local\n    path: own\n    template: alpaca\n"
    )

    def text(*args):
        ran = evalkit("answer", "--bank", "sample", "--show-prompt", "--json", *args)
        return json.loads(ran.out)["prompts"][0]

    for model in (folder, "mine"):
        shown = text("--model", model)
        asked = shown["messages"][0]["content"]
        assert shown["text"] == f"<|im_start|>user {asked}<|im_end|><|im_start|>assistant"
        ids = tokenizer(OWN)(shown["text"], add_special_tokens=False)["input_ids"]
        assert shown["tokens"] == ids and ids[0] == 3
    shown = text("--model", "mine", "--template", "plain")
    assert shown["text"].endswith(f"User: {asked}\nAssistant:")
    assert shown["tokens"][0] == 1  # the tokenizer's first token, which its text does not hold
    settings(folder, "tokenizer_config.json", chat_template=None)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert text("--model", "mine")["text"].startswith("Below is an instruction")


def test_what_is_shown_is_the_text_and_its_tokens(evalkit, tiny, bank):
    ran = evalkit("answer", "--model", tiny, "--template", "plain", "--bank", "b", "--show-prompt")
    shown = ran.out.split("[text]\n")[1]
    text, tokens = shown.rsplit("tokens]\n", 1)
    assert text.startswith("Questions of a user") and "\nUser: What is 0?\nAssistant:\n[" in text
    read = tokenizer().decode([int(each) for each in tokens.split()])
    assert read.removeprefix("<s>") == text.rpartition("\n[")[0]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            [],
            "how is 'tiny' spoken to? Its tokenizer has no chat template. Give --template NAME or "
            "`template:` in evalkit.yaml; there is: alpaca, chatml, llama-2-chat, plain, "
            "vicuna-v0, vicuna-v1.1",
        ),
        (
            ["--template", "vicuna"],
            "no chat template 'vicuna'. Did you mean 'vicuna-v0'? There is: alpaca, chatml, "
            "llama-2-chat, plain, vicuna-v0, vicuna-v1.1.  It is a file prompts/chat/NAME.yaml",
        ),
    ],
)
def test_an_unknown_template_is_an_error_with_the_list(ask, tmp_path, args, told):
    ran = ask(*args, template=None)
    assert (ran.code, ran.out, ran.lines) == (2, "", [told])
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("option", ["--template", "--dtype"])
def test_what_is_for_checkpoints_is_refused_where_none_is_asked(evalkit, bank, option):
    value = {"--template": "plain", "--dtype": "float16"}[option]
    ran = evalkit("answer", "--model", "http://127.0.0.1:9/v1#m", "--bank", "b", option, value)
    told = f"{option} is for checkpoints on this machine, and none is asked"
    assert (ran.code, ran.lines) == (2, [told])


def test_a_server_beside_a_checkpoint_hears_nothing_of_its_template(ask, tmp_path):
    with serving() as server:
        assert ask("--model", f"{server.url}#m").code == 0
    assert len(said_by(tmp_path)) == len(said_by(tmp_path, "m")) == 9
    assert {row.get("template") for row in rows_of(tmp_path, "m")} == {None}


def test_the_prompt_of_what_does_not_fit_is_shown_all_the_same(evalkit, tiny, monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: 1000)
    assert evalkit("answer", "--model", tiny, "--template", "plain", "--show-prompt").code == 0


def test_a_conversation_that_a_template_refuses_is_a_failure(tmp_path):
    refuses = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system') }}"
    folder = checkpoint(tmp_path / "m", refuses + "{% endif %}{{ m.content }}{% endfor %}")
    asked = Request((Message("system", "s"), Message("user", "u")), Sampling(0, 4))
    (came,) = replies(folder, ChatTemplate(None, refuses), [asked])
    assert came.kind == Kind.REJECTED and "No system" in came.said


# -- what comes back


def replies(folder, template, requests, hear=None, close=True):
    """What a provider of its own replies to requests that are made at once."""
    stanza = Stanza(provider="hf_local").model_copy(update={"path": str(folder)})
    made = provider.Provider(Model("m", "m", stanza, template=template), Keys({}, set()))

    async def all_of_them():
        try:
            heard = {} if hear is None else {"hear": hear}
            return await asyncio.gather(*(made.reply(each, **heard) for each in requests))
        finally:
            await made.close()

    return asyncio.run(all_of_them())


def request(text="What is 1?", most=30, **more):
    return Request((Message("user", text),), Sampling(0, most, **more), ("q",))


PLAIN = "{{ messages[-1].content }}"


def test_a_reply_ends_before_what_its_template_ends_it_with(tiny):
    (whole,) = replies(tiny, ChatTemplate("t", PLAIN), [request()])
    stop = whole.text[9:12]
    (cut,) = replies(tiny, ChatTemplate("t", PLAIN, stop=("never said", stop)), [request()])
    assert cut.text == whole.text[: whole.text.index(stop)].strip()
    assert (whole.finish_reason, cut.finish_reason) == ("length", "stop")
    assert cut.usage.output < whole.usage.output == 30


def test_a_stop_that_is_one_token_ends_a_reply_too(tiny, tmp_path):
    """As <|im_end|> of ChatML, which no text shows since it is special."""
    folder = checkpoint(tmp_path / "m", seed=3)
    (whole,) = replies(folder, ChatTemplate("t", PLAIN), [request(most=200)])
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][4] = (
        weights["lm_head.weight"][tokenizer()(whole.text[:1])["input_ids"][-1]] * 2
    )
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert torch.is_tensor(weights["lm_head.weight"])
    template = ChatTemplate("t", PLAIN, stop=("<|im_end|>",))
    (cut,) = replies(folder, template, [request(most=200)])
    assert cut.finish_reason == "stop" and "<|im_end|>" not in cut.text


@pytest.mark.parametrize("stop", [(), ("never said",)])
def test_a_reply_is_heard_piece_by_piece(tiny, stop):
    heard = []
    (came,) = replies(tiny, ChatTemplate("t", PLAIN, stop=stop), [request()], heard.append)
    assert len([piece for piece in heard if piece]) > 5
    assert came.text.startswith("".join(heard)) or "".join(heard).strip() in came.text


def test_reasoning_stands_apart(tiny, monkeypatch):
    monkeypatch.setattr(Speech, "text", lambda *_: "<think>Hm.</think> 4")
    (came,) = replies(tiny, ChatTemplate("t", PLAIN), [request()])
    assert (came.text, came.reasoning) == ("4", "Hm.")


def test_what_does_not_fit_the_context_is_told_and_the_rest_is_cut_there(tiny):
    long, near = "word " * 600, "a" * 500
    too_long, cut = replies(tiny, ChatTemplate("t", PLAIN), [request(long), request(near, 400)])
    assert isinstance(too_long, Failure) and too_long.kind == Kind.TOO_LONG
    assert too_long.said.endswith("tokens, and it takes 512")
    assert cut.usage.input + cut.usage.output == 512 and cut.finish_reason == "length"


def test_no_schema_is_promised(tiny):
    (came,) = replies(tiny, ChatTemplate("t", PLAIN), [
        Request((Message("user", "u"),), Sampling(0, 4), schema="{}")
    ])  # fmt: skip
    assert came.kind == Kind.REJECTED


def test_a_call_that_is_dropped_keeps_nobody_waiting(tiny):
    stanza = Stanza(provider="hf_local").model_copy(update={"path": str(tiny)})
    template = ChatTemplate("t", PLAIN)
    made = provider.Provider(Model("m", "m", stanza, template=template), Keys({}, set()))

    async def one_is_dropped():
        dropped = asyncio.create_task(made.reply(request(most=480)))
        other = asyncio.create_task(made.reply(request("Why?", 40)))
        await asyncio.sleep(0.01)
        dropped.cancel()
        try:
            return await asyncio.gather(dropped, other, return_exceptions=True)
        finally:
            await made.close()

    gone, came = asyncio.run(one_is_dropped())
    assert isinstance(gone, asyncio.CancelledError)
    assert isinstance(came, Reply) and came.usage.output == 40


def test_a_mistake_in_the_thread_surfaces_as_itself(tiny, monkeypatch):
    from evalkit.providers.hf_local.engine import Engine

    def broken(self):
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Engine, "step", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        replies(tiny, ChatTemplate("t", PLAIN), [request()])


# -- before it is loaded


def test_what_does_not_fit_is_told_before_anything_is_loaded(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: 500_000)
    monkeypatch.setattr(provider.Provider, "_loaded", lambda _: pytest.fail("it was loaded"))
    ran = ask()
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines[-1] == (
        "tiny: 0.1 M parameters in float32 in memory need 0.8 MB, 0.5 MB are free. "
        "It fits with --dtype bfloat16: 0.4 MB in memory"
    )
    monkeypatch.setattr(memory, "main_memory", lambda: 1000)
    assert "Nothing that is here does" in ask().lines[-1]


def shaped(hidden, layers, inner, heads):
    """The headers and settings of a LLaMA of this shape, in float16."""
    from evalkit.checkpoint import Checkpoint, Tensor

    shapes = {"model.embed_tokens": (32000, hidden), "lm_head": (32000, hidden)}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"model.layers.{layer}.mlp.{name}": (inner, hidden) for name in "abc"}
    names = {f"{name}.weight": shape for name, shape in shapes.items()}
    made = {n: Tensor(n, "F16", shape, None, 0, "F16") for n, shape in names.items()}
    config = {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "max_position_embeddings": 2048, "torch_dtype": "float16",
    }  # fmt: skip
    return Checkpoint(None, made), config


LLAMA_13B = shaped(5120, 40, 13824, 40)
LLAMA_7B = shaped(4096, 32, 11008, 32)
GB = 10**9


@pytest.mark.parametrize(
    ("model", "free", "wanted", "dtype", "where", "needs"),
    [
        (LLAMA_13B, memory.Free((40 * GB,), 64 * GB), None, "float16", "cuda:0", 27.7),
        (LLAMA_7B, memory.Free((16 * GB,), 64 * GB), None, "float16", "cuda:0", 14.5),
        (LLAMA_13B, memory.Free((16 * GB, 16 * GB), 64 * GB), None, "float16", "auto", 27.7),
        (LLAMA_7B, memory.Free((), 64 * GB), None, "float32", "cpu", 29.1),
        (LLAMA_7B, memory.Free((), 64 * GB), "bfloat16", "bfloat16", "cpu", 14.5),
        (LLAMA_13B, memory.Free((16 * GB,), 8 * GB), "4bit", "4bit", "cuda:0", 9.5),
    ],
)
def test_how_much_memory_a_checkpoint_takes_and_where(model, free, wanted, dtype, where, needs):
    way = memory.placed(*model, wanted, free)
    assert (way.dtype, way.where, way.fits) == (dtype, where, True)
    assert way.needs / GB == pytest.approx(needs, abs=0.1)


def test_what_would_fit_is_offered_the_truest_numbers_first(monkeypatch):
    free = memory.Free((), 20 * GB)
    way = memory.placed(*LLAMA_7B, None, free)
    assert not way.fits
    assert memory.refusal("m", LLAMA_7B[0], way, memory.fitting(*LLAMA_7B, free)) == (
        "m: 6.7 B parameters in float32 in memory need 29.1 GB, 20.0 GB are free. "
        "It fits with --dtype float16: 14.6 GB in memory"
    )
    monkeypatch.setattr(memory, "find_spec", lambda name: name == "bitsandbytes")
    ways = memory.fitting(*LLAMA_13B, memory.Free((), 20 * GB))
    assert [way.dtype for way in ways] == ["8bit", "4bit"]


def test_what_it_needs_is_what_it_takes(tiny):
    """The estimate of the weights against the parameters that torch really holds."""
    from transformers import AutoModelForCausalLM

    from evalkit import checkpoint as headers

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype="float32")
    held = sum(each.numel() * each.element_size() for each in model.parameters())
    way = memory.placed(headers.read(tiny), headers.config(tiny), None, memory.Free((), GB))
    assert way.needs - held == way.per_token * 512
    import torch

    cache = model(torch.tensor([[5, 6, 7]]), use_cache=True)
    layers = getattr(cache, "cache", None) or cache.past_key_values
    kept = sum(each.keys.nbytes + each.values.nbytes for each in layers.layers)
    assert kept == 3 * way.per_token


def test_models_check_tells_whether_it_fits(evalkit, tiny, tmp_path, monkeypatch):
    own = checkpoint(tmp_path / "own", OWN)
    ran = evalkit("models", own, "--check")
    assert ran.code == 0
    assert ran.out.startswith("own: 0.1 M parameters in float32 in memory need 0.8 MB, ")
    assert ran.out.endswith(" are free\nown: its tokenizer has a chat template\n")
    assert "tiny: no chat template of its own\n" in evalkit("models", tiny, "--check").out
    assert json.loads(evalkit("models", own, "--check", "--json").out)["there"] is True
    monkeypatch.setattr(memory, "main_memory", lambda: 1000)
    assert evalkit("models", own, "--check").code == 2


def broken(folder, what):
    match what:
        case "no config":
            (folder / "config.json").unlink()
        case "cut":
            file = folder / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-100])
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
            (folder / "tokenizer_config.json").unlink()
        case "not JSON":
            (folder / "tokenizer_config.json").write_text("{")
        case "unknown kind":
            settings(folder, "config.json", model_type="never-heard-of", architectures=None)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no config", "config.json: no such file, so"),
        ("cut", "but its header tells of"),
        ("no weights", "no safetensors or pytorch_model.bin file, so no checkpoint"),
        ("no tokenizer", "its tokenizer cannot be read"),
        ("not JSON", "tokenizer_config.json: not JSON"),
        ("unknown kind", "never-heard-of"),
    ],
)
def test_a_checkpoint_that_cannot_be_loaded_is_one_line(ask, tiny, tmp_path, what, told):
    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    broken(folder, what)
    ran = ask(model=folder)
    assert (ran.code, ran.out) == (2, "") or what == "unknown kind"
    assert told in ran.lines[-1] or (what == "unknown kind" and told in ran.err)
    assert "Traceback" not in ran.err
    assert not (tmp_path / "answers/b/broken.jsonl").exists()


def test_what_cannot_be_loaded_is_tried_once_however_many_calls_wait(tiny, monkeypatch):
    from transformers import AutoModelForCausalLM

    tried = []

    def refused(*_, **__):
        tried.append(1)
        raise OSError("no such weights")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refused)
    came = replies(tiny, ChatTemplate("t", PLAIN), [request()] * 5)
    assert {(each.kind, each.said) for each in came} == {
        (Kind.UNLOADABLE, "m cannot be loaded: no such weights")
    }
    assert len(tried) == 1


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_that_a_checkpoint_brings_along_is_not_run(ask, tiny, tmp_path, where):
    folder = tmp_path / "bad"
    shutil.copytree(tiny, folder)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    own = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", None]}
    more = {"model_type": "own"} if where == "config.json" else {"tokenizer_class": "T"}
    settings(folder, where, auto_map=own, **more)
    ran = ask(model=folder)
    assert "Traceback" not in ran.err and not (tmp_path / "ran").exists()
    assert ran.code == 2 and "custom code" in ran.err


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at-all", "./q.txt"])
def test_a_path_that_is_no_folder_is_one_line(ask, tmp_path, name):
    (tmp_path / "q.txt").write_text("")
    ran = ask(model=name)
    assert ran.code == 2 and len(ran.lines) == 1
    assert ran.lines[0].endswith(": no such folder") or "not a folder" in ran.lines[0]


@pytest.mark.parametrize("verb", ["answer", "judge", "chat"])
def test_without_the_extra_each_verb_says_what_to_install(
    evalkit, tmp_path, tiny, bank, monkeypatch, verb
):
    found = files.find_spec
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "torch" else found(name))
    for name in ("a", "chatgpt"):
        rows = [answer(f"q{n}", name, turns=[name] * (1 + n % 2)) for n in range(6)]
        write_lines(tmp_path / f"answers/b/{name}.jsonl", rows)
    which = ["--judge" if verb == "judge" else "--model", tiny, "--template", "plain"]
    ran = evalkit(verb, *which, *(["--bank", "b"] if verb != "chat" else []))
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines[-1] == (
        "tiny needs torch and transformers: pip install 'evalkit[local]'; or serve it and point at "
        "it: --model http://localhost:8000/v1#tiny"
    )


@pytest.mark.parametrize("args", [["--dry-run"], ["--show-prompt"]])
def test_torch_is_loaded_only_where_a_checkpoint_writes(tmp_path, bank, tiny, args):
    code = (
        "import sys; from evalkit.cli import run; code = run(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)), code, file=sys.stderr)"
    )
    given = ["answer", "--model", str(tiny), "--bank", "b", "--template", "plain", *args]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], cwd=tmp_path, capture_output=True, text=True
    )
    loaded = "[]" if args == ["--dry-run"] else "['torch', 'transformers']"
    assert done.stderr.splitlines()[-1] == f"{loaded} 0"


# -- the hub


@pytest.fixture
def hub(tmp_path, tiny, monkeypatch):
    """A cache of the hub that holds one checkpoint."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    there = tmp_path / "hub/models--org--tiny"
    (there / "refs").mkdir(parents=True)
    (there / "refs/main").write_text("a" * 40)
    shutil.copytree(tiny, there / f"snapshots/{'a' * 40}")
    return there


def test_a_checkpoint_of_the_hub_is_taken_from_its_cache(ask, hub, tmp_path):
    ran = ask(model="hf/org/tiny")
    assert ran.code == 0
    assert "org/tiny of the hub on this machine, template vicuna-v1.1" in ran.err
    assert len(rows_of(tmp_path, "org__tiny")) == 9


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf/org/other", "org/other is not in the cache of the Hugging Face hub"),
        ("hf/a/b/c", "'a/b/c' is no name on the Hugging Face hub: ORG/NAME"),
        ("hf", "'hf' is a service; name one of its models: hf/MODEL"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(ask, hub, name, told):
    ran = ask(model=name)
    assert (ran.code, ran.out) == (2, "") and len(ran.lines) == 1
    assert ran.lines[0].startswith(told)


# -- the whole way


def test_a_checkpoint_judges_too(evalkit, ask, tmp_path, tiny):
    ask()
    rows = [answer(f"q{n}", "chatgpt", turns=["x"] * (1 + n % 2)) for n in range(6)]
    write_lines(tmp_path / "answers/b/chatgpt.jsonl", rows)
    judge = checkpoint(tmp_path / "judge", OWN, seed=4, max_position_embeddings=8192)
    ran = evalkit("judge", "--judge", judge, "--bank", "b", "--canaries", 2)
    reviews = read_lines(tmp_path / "reviews/b/judge.pair-scores.jsonl")
    assert ran.code == 0
    assert len({(row["question"], tuple(row["shown"])) for row in reviews}) >= 12
    assert {len(row["template"]) for row in reviews} == {16}
    assert all(row["scores"] is None and row["unreadable"] for row in reviews)  # it says noise


def test_what_was_written_when_it_is_killed_stays_and_the_rest_is_owed(tmp_path, tiny, bank):
    write_lines(bank, [question(f"q{n}") for n in range(200)])
    command = [
        *(sys.executable, "-m", "evalkit", "answer", "--model", str(tiny), "--bank", "b"),
        *("--template", "plain", "--concurrency", "4", "--max-tokens", "60"),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    path = tmp_path / "answers/b/tiny.jsonl"
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (
            path.exists() and path.read_bytes().count(b"\n") > 8
        ):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = path.read_bytes().count(b"\n")
    assert 8 < kept < 200
    done = subprocess.run(
        [*command[:-4], "--max-tokens", "60"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert (done.returncode, f"{200 - kept} owed, {kept} kept" in done.stderr) == (0, True)
    assert len(rows_of(tmp_path)) == 200


def test_an_old_tokenizer_of_sentencepiece_is_read_as_sentencepiece_reads(tiny, tmp_path):
    """As Vicuna's: a tokenizer.model and nothing else."""
    import io

    import sentencepiece
    from checkpoints import TEXT

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((TEXT * 40).split("\n")), model_writer=made, vocab_size=400,
        model_type="bpe", byte_fallback=True, hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    folder = tmp_path / "old"
    shutil.copytree(tiny, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    told = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    template = ChatTemplate("t", "USER: {{ messages[0].content }} ASSISTANT:")
    text, ids = Speech(folder, template).spelt(request("How many?").messages)
    plain = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    assert ids == [1, *plain.encode(text)]
    (came,) = replies(folder, template, [request(most=5)])
    assert came.usage.output == 5
