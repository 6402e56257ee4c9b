"""What goes out is what the openai package would send, and a real model server understands it."""

import asyncio

import model_server
import openai
import pytest
from chat_server import Behaviour, serving

from evalkit.catalog import Catalog, Model, Stanza
from evalkit.chat import Kind, Message, Reply, Request, Sampling
from evalkit.keys import Keys
from evalkit.providers.openai_api import Provider

model_url = model_server.model_url  # the fixture
KEY = "sk-test-0123456789abcdefx9Qd"
TURNS = (
    Message("system", "Be brief."),
    Message("user", "你好 😀?"),
    Message("assistant", "Yes.\n"),
    Message("user", 'And "why"?'),
)
REQUEST = Request(TURNS, Sampling(temperature=0.5, max_tokens=9, seed=3), ("q1",))


def replies(model, *requests, keys=None):
    """What a provider gives, one request after the other."""

    async def ask():
        provider = Provider(model, keys or Keys({}))
        try:
            return [await provider.reply(request) for request in requests]
        finally:
            await provider.close()

    return asyncio.run(ask())


def together(model, requests):
    async def ask():
        provider = Provider(model, Keys({}))
        try:
            return await asyncio.gather(*map(provider.reply, requests))
        finally:
            await provider.close()

    return asyncio.run(ask())


def local(server, **more):
    return Model("m", "m", Stanza(provider="openai_api", **more), server.url)


def sent(call):
    named = ("authorization", "api-key", "content-type", "accept")
    headers = {name: call.headers.get(name) for name in named[:3]}
    return call.method, call.path, call.body, headers


@pytest.mark.parametrize("service", ["openai", "vllm", "azure"])
def test_a_call_is_what_the_openai_package_sends(tmp_path, service):
    messages = [{"role": each.role, "content": each.text} for each in TURNS]
    with serving() as server:
        base = server.url.removesuffix("/v1")
        environment = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": server.url,
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_ENDPOINT": base,
        }
        catalog = Catalog.load(tmp_path / "evalkit.yaml", environment)
        model = catalog.find(f"{service}/m") if service != "vllm" else local(server)
        (reply,) = replies(model, REQUEST, keys=Keys(environment))
        assert isinstance(reply, Reply), reply
        same = {"messages": messages, "temperature": 0.5, "seed": 3}
        if service == "azure":
            client = openai.AzureOpenAI(
                azure_endpoint=base, api_key=KEY, api_version="2024-10-21", max_retries=0
            )
        else:
            client = openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
        limit = "max_completion_tokens" if service == "openai" else "max_tokens"
        with client:
            client.chat.completions.create(model="m", **same, **{limit: 9})
    ours, theirs = map(sent, server.calls)
    if service == "vllm":
        assert ours[3].pop("authorization") is None and theirs[3].pop("authorization")
    assert ours == theirs


def test_a_streamed_reply_is_the_same_as_one_in_one_piece():
    with serving(Behaviour(text="Grüße 😀 " * 20)) as server:
        whole, piece = (
            replies(local(server, stream=stream), REQUEST)[0] for stream in (False, True)
        )
        assert server.calls[1].body["stream"] is True
    for name in ("text", "served", "usage", "finish_reason", "sampling"):
        assert getattr(whole, name) == getattr(piece, name)


def test_a_stream_that_breaks_off_is_no_reply():
    with serving(Behaviour(script=["drop"])) as server:
        (failed,) = replies(local(server, stream=True), REQUEST)
    assert failed.kind in (Kind.DOWN, Kind.BAD_REPLY) and failed.billed


def test_connections_are_used_again():
    with serving(Behaviour(latency=(0.01, 0.02))) as server:
        found = together(local(server), [REQUEST] * 8)
        assert all(isinstance(reply, Reply) for reply in found)
        assert server.stats()["connections"] <= 8
        replies(local(server), *[REQUEST] * 10)
        assert server.stats()["connections"] <= 9


def test_parallel_calls_learn_a_refused_parameter_together():
    with serving(Behaviour(refuses={"temperature": "unsupported_value"})) as server:
        found = together(local(server), [REQUEST] * 6)
    assert all(reply.sampling == {"max_tokens": 9, "seed": 3} for reply in found)
    assert len(server.calls) <= 12


def test_the_limit_of_a_reply_is_never_left_out():
    refuses = dict.fromkeys(("max_tokens", "max_completion_tokens"), "unsupported_parameter")
    with serving(Behaviour(refuses=refuses)) as server:
        (failed,) = replies(local(server), REQUEST)
    assert failed.kind == Kind.REJECTED and len(server.calls) == 2


def test_a_proxy_is_used_for_others_and_not_for_this_machine(monkeypatch):
    with serving() as server:
        proxy = server.url.removesuffix("/v1")
        monkeypatch.setenv("http_proxy", proxy)
        far = Model("m", "m", Stanza(provider="openai_api"), "http://example.invalid/v1")
        replies(far, REQUEST)
        assert [call.path for call in server.calls] == [
            "http://example.invalid/v1/chat/completions"
        ]
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        (reply,) = replies(local(server), REQUEST)
        assert isinstance(reply, Reply)


@pytest.mark.parametrize("stream", [False, True])
def test_a_real_model_server_answers(model_url, stream):
    model = Model("m", "m", Stanza(provider="openai_api", stream=stream), model_url)
    long = Request(TURNS, Sampling(temperature=0, max_tokens=300, seed=1))
    first, second = replies(model, REQUEST, long)
    assert isinstance(first, Reply), first
    assert first.usage.output <= 9 and first.usage.input > 0 and first.served
    assert first.finish_reason in ("stop", "length") and first.latency > 0
    assert isinstance(second, Reply), second
    assert second.text
