"""The catalogue: what is in it, what a workspace may lay over it, where a key may go."""

import datetime

import pytest

from evalkit.catalog import Catalog, family
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


@pytest.mark.parametrize(
    "text",
    [
        "query: {token: sk-abcdefghij0123456789}",
        "note: my key is sk-abcdefghij0123456789",
        "key_header: sk-abcdefghij0123456789",
        "about: sk-abcdefghij0123456789",
    ],
)
def test_a_key_is_refused_wherever_it_stands(tmp_path, text):
    own = tmp_path / "evalkit.yaml"
    own.write_text(f"catalog:\n  m:\n    url: http://h/v1\n    {text}\n")
    with pytest.raises(BadFile) as told:
        Catalog.load(own, {})
    assert "looks like a key" in str(told.value)


def test_a_service_that_is_none_is_told_with_its_line(tmp_path):
    own = tmp_path / "evalkit.yaml"
    own.write_text("catalog:\n  m:\n    model: m\n    service: opnai\n")
    with pytest.raises(BadFile) as told:
        Catalog.load(own, {})
    assert told.value.lines()[0].startswith(f"{own}:4: no service 'opnai'. Did you mean 'openai'?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("price: {input: yes, output: 1, date: 2026-11-01}", "'catalog.m.price.input' should be"),
        ("price: {input: 1, output: 1, date: 0}", "'catalog.m.price.date' should be"),
        ("timeouts: {totl: 5}", "unknown field 'catalog.m.timeouts.totl'. Did you mean 'total'?"),
        ("timeouts: 5", "'catalog.m.timeouts' should be names with values, found a number"),
        ("timeouts: {total: yes}", "'catalog.m.timeouts.total' should be"),
        ("url: 'http://h/v1?key=1'", "has a blank, ? or # in it"),
        ("url: 'http://h/v1#m'", "has a blank, ? or # in it"),
        ("url_env: a-b", "url_env takes the name of a variable, not a key"),
        ("model: 1.10", 'write "1.10"'),
        ("model: no", 'write "no"'),
    ],
)
def test_no_value_is_taken_for_another(tmp_path, text, told):
    own = tmp_path / "evalkit.yaml"
    own.write_text(f"catalog:\n  m:\n    {text}\n")
    with pytest.raises(BadFile) as fault:
        Catalog.load(own, {})
    assert told in fault.value.lines()[0]
    assert fault.value.lines()[0].startswith(f"{own}:3: ")


def test_a_bad_address_in_the_environment_stops_only_what_uses_it(tmp_path):
    catalog = Catalog.load(tmp_path / "none.yaml", {"OPENAI_BASE_URL": "nonsense"})
    assert catalog.find("deepseek/x").url
    with pytest.raises(BadKey, match="OPENAI_BASE_URL"):
        catalog.find("openai/gpt-4o")


def test_what_nobody_can_ask_is_not_free(tmp_path):
    assert not Catalog.load(tmp_path / "none.yaml", {}).find("bard").is_free


@pytest.mark.parametrize(
    ("one", "other", "related"),
    [("gpt-4", "gpt-3.5-turbo", True), ("gpt-4o", "chatgpt-4o-latest", True),
     ("org/vicuna-13b", "Vicuna-7B", True), ("gpt-4", "claude-3", False), ("o1", "gpt-4", False)],
)  # fmt: skip
def test_a_family_is_told_by_the_begin_of_an_id(one, other, related):
    assert (family(one) == family(other)) == related
