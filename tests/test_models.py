"""evalkit models: whom evalkit can ask, at what price, and whether a server has a model."""

import json
import subprocess
import sys

import pytest
from chat_server import Behaviour, serving
from conftest import tree

from evalkit.catalog import Catalog
from evalkit.columns import width

KEY = "sk-0123456789abcdefx9Qd"
ADDRESSES = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "AZURE_OPENAI_ENDPOINT")
OWN = """\
catalog:
  mine: {{provider: openai_api, url: '{url}', model: org/m, key_env: MY_KEY}}
  lab: {{provider: openai_api, url: '{url}', about: The lab, key_env: MY_KEY}}
  open: {{provider: openai_api, url: '{url}', model: org/m}}
"""


@pytest.fixture
def models(evalkit, tmp_path, monkeypatch):
    """`evalkit models` in an empty workspace; nothing is ever written, no key ever shown."""
    for name in {*Catalog.load(tmp_path / "none", {}).variables(), *ADDRESSES}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MY_KEY", KEY)

    def command(*args):
        before = tree(tmp_path)
        ran = evalkit("models", *args)
        assert tree(tmp_path) == before
        assert KEY not in ran.out + ran.err
        return ran

    return command


@pytest.fixture
def server(tmp_path):
    """A service with three models that wants a key, as `mine`, `lab` and, without key, `open`."""
    with serving(Behaviour(models=["org/m", "b", "a"], key=KEY)) as server:
        (tmp_path / "evalkit.yaml").write_text(OWN.format(url=server.url))
        yield server


def row_of(out, name):
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line


# -- the list


def test_the_list_names_every_service_and_every_model_once(models):
    ran = models()
    assert ran.code == 0
    services, known = (part.splitlines() for part in ran.out.split("\n\n"))
    assert services[0].startswith("service ") and services[0].endswith("SERVICE/MODEL")
    assert known[0].startswith("model ") and "$ for 1M tokens" in known[0]
    names = [[line.split()[0] for line in part[1:]] for part in (services, known)]
    assert {"openai", "azure", "ollama", "llama.cpp"} <= set(names[0])
    assert {"chatgpt", "bard", "vicuna-13b", "gpt-4", "gpt-4o"} <= set(names[1])
    assert all(part == sorted(set(part)) for part in names)
    assert ran.lines[-1].startswith("Next: evalkit answer --model NAME")


def test_the_list_tells_prices_with_their_day_and_what_is_not_known(models):
    out = models().out
    assert row_of(out, "gpt-4o").split() == ["gpt-4o", "openai", "2.50", "10.00", "2025-07-04"]
    assert row_of(out, "deepseek-reasoner").endswith("price unknown")
    assert row_of(out, "bard").endswith("no API: evalkit import answers FILE")
    assert row_of(out, "llama-13b").endswith("loaded on this machine (evalkit[local])")


def test_the_prices_stand_below_one_another(models):
    catalog = json.loads(models("--json").out)["models"]
    out = models().out
    ends = {row_of(out, each["name"]).rindex("20") for each in catalog if each["price"]}
    assert len(ends) == 1


def test_no_line_of_the_list_is_wider_than_a_wide_terminal(models):
    assert max(map(width, models().out.splitlines())) <= 140


def test_the_list_says_which_keys_are_set(models, monkeypatch):
    assert row_of(models().out, "openai").endswith("OPENAI_API_KEY (not set)")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    out = models().out
    assert row_of(out, "openai").endswith(" OPENAI_API_KEY")
    assert row_of(out, "vllm").endswith(" no key")
    services = {each["name"]: each for each in json.loads(models("--json").out)["services"]}
    assert (services["openai"]["key_set"], services["groq"]["key_set"]) == (True, False)
    assert (services["vllm"]["key"], services["vllm"]["key_set"]) == (None, False)


def test_the_list_as_json(models):
    told = json.loads(models("--json").out)
    assert [told.pop(name) for name in ("schema", "verb", "status", "files")] == [
        *(1, "models", "done", [])
    ]
    by_name = {each["name"]: each for each in told["models"]}
    price = by_name["gpt-4o"]["price"]
    assert (price["input"], price["output"], price["date"]) == (2.5, 10.0, "2025-07-04")
    assert by_name["deepseek-reasoner"]["price"] is None
    assert by_name["chatgpt"]["service"] == "openai"
    names = {each["name"]: each["url"] for each in told["services"]}
    assert names["openai"] == "https://api.openai.com/v1"


def test_own_stanzas_are_listed(models, tmp_path):
    (tmp_path / "evalkit.yaml").write_text(
        OWN.format(url="http://h.example/v1")
        + "  gpt-4o: {price: {input: 1, output: 2, date: 2026-11-20}}\n"
    )
    out = models().out
    assert row_of(out, "lab").split() == ["lab", "The", "lab", "MY_KEY"]
    assert row_of(out, "mine").endswith("price unknown")
    assert row_of(out, "gpt-4o").split()[2:] == ["1.00", "2.00", "2026-11-20"]


def test_a_price_of_less_than_a_cent_is_not_shown_as_nothing(models, tmp_path):
    price = "{input: 0.004, output: 0.0125, date: 2026-11-20}"
    (tmp_path / "evalkit.yaml").write_text(f"catalog: {{gpt-4o: {{price: {price}}}}}")
    assert row_of(models().out, "gpt-4o").split()[2:4] == ["0.004", "0.0125"]


def test_control_characters_of_a_file_do_not_reach_the_terminal(models, tmp_path):
    stanza = '{provider: openai_api, url: "http://h/v1", about: "a\\e[31m\\nb\\u202E"}'
    (tmp_path / "evalkit.yaml").write_text(f"catalog: {{lab: {stanza}}}")
    for ran in (models(), models("lab")):
        assert ran.code == 0
        assert "\x1b" not in ran.out and "\u202e" not in ran.out and "\u241b[31m" in ran.out


# -- one of them


def test_all_that_is_known_of_a_model(models):
    lines = models("chatgpt").out.splitlines()
    assert lines[:3] == ["name: chatgpt", "id: gpt-3.5-turbo", "url: https://api.openai.com/v1"]
    assert {"service: openai", "key_env: OPENAI_API_KEY", "key_set: False"} <= set(lines)
    assert {"price:", "  input: 0.5", "  date: 2025-07-04", "facts:"} <= set(lines)
    told = json.loads(models("chatgpt", "--json").out)
    assert (told["name"], told["id"], told["verb"]) == ("chatgpt", "gpt-3.5-turbo", "models")
    assert told["price"]["output"] == 1.5 and told["facts"]["licence"]


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("deepseek-reasoner", "price: unknown"),
        ("openai/gpt-99", "price: unknown"),
        ("http://h.example/v1#m", "price: unknown"),
        ("ollama/llama3", "price: free"),
        ("http://127.0.0.1:8000/v1#m", "price: free"),
        ("vllm", "price: of each model its own"),
    ],
)
def test_a_price_that_is_not_there(models, name, price):
    ran = models(name)
    assert ran.out.splitlines()[-1] == price
    assert "price" not in json.loads(models(name, "--json").out)


def test_what_has_no_api_is_not_called_free(models):
    assert "price: free" not in models("bard").out


def test_a_service_is_told_with_its_address(models, monkeypatch):
    ran = models("vllm")
    assert ran.lines == ["Next: evalkit answer --model vllm/MODEL"]
    assert {"service: vllm", "url: http://localhost:8000/v1"} <= set(ran.out.splitlines())
    assert json.loads(models("openai", "--json").out)["url"] == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    assert "url: http://localhost:9/v1" in models("openai").out.splitlines()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["vicuna13b"], "no model 'vicuna13b'. Did you mean 'vicuna-13b'?  See: evalkit models"),
        (["--check"], "--check needs a NAME. See: evalkit models --help"),
        (["a", "b"], "got unexpected extra argument (b). See: evalkit models --help"),
        (
            ["bard", "--check"],
            "bard has no API. Import what it said: evalkit import answers FILE --model bard",
        ),
        (
            ["llama-13b", "--check"],
            "huggyllama/llama-13b is not in the cache of the Hugging Face hub, and the hub was not "
            "asked or did not reply. Fetch it (hf download huggyllama/llama-13b) or give the "
            "folder of a checkpoint: --model ./FOLDER",
        ),
        (["azure/mine", "--check"], "no address for 'mine': set AZURE_OPENAI_ENDPOINT"),
        (["azure", "--check"], "no address for 'azure': set AZURE_OPENAI_ENDPOINT"),
        (
            ["gpt-4o", "--check"],
            "no key for openai: set OPENAI_API_KEY (export OPENAI_API_KEY=...) "
            "or give --key-env NAME.",
        ),
        (["-C", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_told_is_one_line(models, args, told):
    ran = models(*args)
    assert (ran.code, ran.out, ran.lines) == (2, "", [told])


# -- whether a server has it


@pytest.mark.parametrize("name", ["mine", "lab/org/m"])
def test_a_server_has_a_model(models, server, name):
    ran = models(name, "--check")
    assert (ran.code, ran.out) == (0, f"{server.url} has org/m\n")
    told = json.loads(models(name, "--check", "--json").out)
    assert (told["there"], told["models"]) == (True, ["a", "b", "org/m"])
    assert (told["id"], told["status"]) == ("org/m", "done")
    assert [(call.method, call.path) for call in server.calls] == [("GET", "/v1/models")] * 2
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_server_does_not_list_a_model(models, server):
    ran = models("lab/org/n", "--check")
    assert ran.code == 1
    assert ran.out == f"{server.url} does not list org/n. Did you mean 'org/m'?\n"
    ran = models("lab/xyzzy", "--check")
    assert (ran.code, ran.out) == (1, f"{server.url} does not list xyzzy\n")
    ran = models("lab/xyzzy", "--check", "--json")
    assert (ran.code, json.loads(ran.out)["there"]) == (1, False)


def test_all_that_a_service_lists(models, server):
    ran = models("lab", "--check")
    assert (ran.code, ran.out) == (0, "a\nb\norg/m\n")
    assert json.loads(models("lab", "--check", "--json").out)["models"] == ["a", "b", "org/m"]


def test_a_server_that_lists_nothing(models, server):
    server.behaviour.models = []
    assert (models("lab", "--check").code, models("lab", "--check").out) == (0, "")
    assert models("mine", "--check").code == 1


def test_a_service_by_its_variable_from_the_environment(models, server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert models("openai", "--check").out == "a\nb\norg/m\n"
    assert models("openai/b", "--check").code == 0
    assert models("gpt-4o", "--check").code == 1


def test_a_refused_key_is_shown_by_its_last_four(models, server, monkeypatch):
    host = server.url.removeprefix("http://").removesuffix("/v1")
    monkeypatch.setenv("MY_KEY", KEY[:-4] + "0000")
    for name in ("mine", "lab"):
        ran = models(name, "--check")
        assert (ran.code, ran.out) == (2, "")
        assert ran.lines == [f"{host} refused the key …0000 (401)"]


def test_a_server_that_wants_a_key_and_gets_none(models, server):
    ran = models("open", "--check")
    assert (ran.code, ran.out) == (2, "")
    assert "wants a key (401)" in ran.lines[0]
    assert "authorization" not in server.calls[0].headers


def test_a_server_that_is_down(models, tmp_path):
    with serving() as server:
        host = server.url.removeprefix("http://").removesuffix("/v1")
    (tmp_path / "evalkit.yaml").write_text(OWN.format(url=server.url))
    ran = models("mine", "--check")
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.lines) == 1 and ran.lines[0].startswith(f"no connection to {host}")


@pytest.mark.parametrize("name", ["mine", "lab"])
def test_a_server_without_a_list_does_not_lack_the_model(models, server, tmp_path, name):
    """As Azure's, whose deployments can be asked and not listed."""
    url = server.url.replace("/v1", "/openai/v1")
    (tmp_path / "evalkit.yaml").write_text(OWN.format(url=url))
    ran = models(name, "--check")
    assert (ran.code > 0, ran.out) == (True, "")
    (said,) = ran.lines
    assert f"{url}/models" in said and "(404)" in said
    assert "no model" not in said and "no chat service" not in said


def test_what_a_server_lists_is_shown_harmless_and_without_keys(models, server):
    server.behaviour.models = ["a\x1b[31m\n=1", f"echo-{KEY}"]
    assert models("lab", "--check").out == "a\u241b[31m\u2424=1\necho-…x9Qd\n"
    assert "…x9Qd" in models("lab", "--check", "--json").out


# -- what it costs


@pytest.mark.parametrize("args", [["--json"], ["openai"], ["mine"], ["vicuna13b"]], ids=" ".join)
def test_no_verb_that_only_tells_loads_anything_heavy(tmp_path, args):
    (tmp_path / "evalkit.yaml").write_text(OWN.format(url="http://h.example/v1"))
    heavy = {"aiohttp", "openai", "pandas", "torch", "numpy", "asyncio", "transformers"}
    code = "import sys; from evalkit.cli import run; run(['models', *sys.argv[1:]]);"
    code += f"print(sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)"
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert [path.name for path in tmp_path.iterdir()] == ["evalkit.yaml"]
