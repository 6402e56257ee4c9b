"""The catalogue: what is in it, what a workspace may lay over it, where a key may go."""

import datetime

import pytest

from evalkit.catalog import Catalog
from evalkit.errors import BadFile, BadKey, Missing, Unknown

HOSTED = {"openai", "azure", "anthropic", "gemini", "mistral", "deepseek", "dashscope", "zhipu"}
HOSTED |= {"moonshot", "openrouter", "together", "groq"}
SERVED = {"vllm", "sglang", "ollama", "llama.cpp", "transformers", "fastchat"}


@pytest.fixture
def catalog(tmp_path):
    def load(text="", **environment):
        file = tmp_path / "evalkit.yaml"
        file.write_text(text)
        return Catalog.load(file, environment)

    return load


def test_the_services_and_the_five_chatbots_of_2023_are_there(catalog):
    shipped = catalog()
    assert set(shipped.services()) >= HOSTED | SERVED
    for name in ("chatgpt", "bard", "vicuna-13b", "alpaca-13b", "llama-13b"):
        assert name in shipped.models() and shipped.stanzas[name].facts["training_data"]


def test_every_model_is_reached_and_every_price_has_a_day_and_a_source(catalog):
    shipped = catalog(AZURE_OPENAI_ENDPOINT="https://x.openai.azure.com")
    today = datetime.date.today()
    for name in (*shipped.models(), *(f"{service}/any" for service in shipped.services())):
        model = shipped.find(name)
        price = model.stanza.price
        assert price is None or (price.date <= today and price.source and price.output > 0)
        if model.stanza.provider == "openai_api":
            assert model.url and (model.stanza.key_env or model.is_free), name


def test_a_name_finds_its_model(catalog):
    shipped = catalog()
    known = shipped.find("openai/gpt-4o")
    assert (known.name, known.id) == ("gpt-4o", "gpt-4o") and known.stanza.price.input == 2.5
    new = shipped.find("openai/new")
    assert new.url == "https://api.openai.com/v1" and new.stanza.price is None and not new.is_free
    served = shipped.find("http://localhost:1234/v1#org/name")
    assert (served.name, served.is_free) == ("org/name", True)
    assert shipped.find("ollama/llama3").is_free
    assert not shipped.find("http://example.com/v1#m").is_free


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("vicuna13b", Unknown, "no model 'vicuna13b'. Did you mean 'vicuna-13b'?"),
        ("openai", Missing, "name one of its models: openai/MODEL"),
        ("http://localhost:1/v1", Missing, "Name it: http://localhost:1/v1#MODEL"),
        ("http://localhost:99999/v1#m", Missing, "is no address"),
        ("http://me:secret@localhost/v1#m", Missing, "an address with a password in it"),
    ],
)
def test_a_name_that_finds_none(catalog, name, error, told):
    with pytest.raises(error, match=r".") as raised:
        catalog().find(name)
    assert told in str(raised.value)


def test_an_own_stanza_corrects_a_price_and_keeps_the_key(catalog):
    own = catalog("catalog: {gpt-4o: {price: {input: 1, output: 2, date: 2026-11-01}}}")
    model = own.find("openai/gpt-4o")
    assert (model.stanza.price.input, model.stanza.key_env) == (1, "OPENAI_API_KEY")


def test_an_own_address_takes_no_key_along(catalog):
    own = catalog("catalog: {openai: {url: 'http://elsewhere.example/v1'}}")
    model = own.find("openai/gpt-4o")
    assert model.url == "http://elsewhere.example/v1" and model.stanza.key_env is None


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_a_known_key_does_not_leave_home(catalog, variable):
    stanza = f"{{provider: openai_api, url: 'http://x.example/v1', key_env: {variable}}}"
    with pytest.raises(BadKey, match=f"{variable} goes only to"):
        catalog(f"catalog: {{mine: {{service: svc, model: m}}, svc: {stanza}}}").find("mine")
    with pytest.raises(BadKey, match=f"{variable} goes only to"):
        catalog().find("http://x.example/v1#m", variable)
    assert catalog().find("http://x.example/v1#m", "MY_KEY").stanza.key_env == "MY_KEY"


def test_an_address_from_the_environment_is_a_home(catalog):
    moved = catalog(OPENAI_BASE_URL="http://gateway.example/v1")
    assert moved.find("gpt-4").url == "http://gateway.example/v1"
    old = catalog(OPENAI_API_BASE="http://gateway.example/v1")
    assert old.find("gpt-4").url == "http://gateway.example/v1"
    assert old.told == ["OPENAI_API_BASE is read as OPENAI_BASE_URL; set that one instead"]


@pytest.mark.parametrize(
    ("stanza", "line", "told"),
    [
        ("modle: x", 3, "unknown field 'catalog.m.modle'. Did you mean 'model'?"),
        ("model: 1.10", 3, "found a number"),
        ("model: no", 3, "found true or false"),
        ("key_env: sk-0123456789abcdefghij", 3, "takes the name of a variable, not a key"),
        ("headers: {x-key: sk-0123456789abcdefghij}", 2, "holds what looks like a key"),
        ("url: http://me:secret@h/v1", 3, "an address with a password in it"),
        ("price: {input: 1, output: 2}", 3, "price.date' is missing"),
        ("price: {input: -1, output: 2, date: 2026-01-01}", 3, "greater than or equal to 0"),
        ("timeouts: {total: 0}", 3, "greater than 0"),
        ("model: a\n    model: b", 4, "the key 'model' stands twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(catalog, tmp_path, stanza, line, told):
    with pytest.raises(BadFile) as raised:
        catalog(f"catalog:\n  m:\n    {stanza}\n")
    (fault,) = raised.value.faults
    assert fault.where == f"{tmp_path / 'evalkit.yaml'}:{line}" and told in fault.what
