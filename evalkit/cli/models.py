"""evalkit models: whom evalkit can ask, at what price, and whether a server has a model."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.verb import (
    Everywhere,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import Missing, did_you_mean

if TYPE_CHECKING:
    from evalkit.catalog import Catalog, Model, Stanza
    from evalkit.chat import Failure


@click.command(short_help="Whom evalkit can ask, and at what price.")
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Does its server have NAME; does it fit into memory?")
@click.option("--key-env", metavar="VARIABLE", help="The variable that holds the key.")
@on_a_workspace
@click.pass_context
def models(
    ctx: click.Context, given: Everywhere, name: str | None, check: bool, key_env: str | None
) -> None:
    """List the services and models of the catalogue, or all that it says of NAME.

    Behind a service any of its models can be named: openai/gpt-4o, ollama/llama3. The catalog: of
    an evalkit.yaml in the workspace is laid over what came with evalkit. Prices are dollars for a
    million tokens, read on the day that stands beside them. No call is made without --check.
    """
    if check and name is None:
        raise click.UsageError("--check needs a NAME")
    workspace = open_workspace(given.folder)
    catalog = open_catalog(workspace)
    tell(workspace)
    if name is None:
        _list(given, catalog)
        return
    if name in catalog.services() and not check:
        stanza = catalog.stanzas[name]
        told = {"service": name, **_at(catalog.addresses(stanza)), **_told(stanza)}
        _print(given, told, price="of each model its own")
        say(f"Next: evalkit answer --model {name}/MODEL")
        return
    whole = name in catalog.services()
    model = catalog.find(f"{name}/?" if whole else name, key_env)
    if whole:
        model = replace(model, name=name)
    if not check:
        told = {"name": model.name, "id": model.id, **_at(model.urls), **_told(model.stanza)}
        _print(given, told, price="free" if model.is_free else "unknown")
        return
    ctx.exit(_check(given, catalog, model, whole=whole))


def _list(given: Everywhere, catalog: "Catalog") -> None:
    services = [_service(name, catalog.stanzas[name]) for name in catalog.services()]
    known = [_row(catalog, name) for name in catalog.models()]
    if given.as_json:
        print_json("models", {"services": services, "models": known}, [], None)
        return
    from evalkit.columns import padded, width

    longest = max(width(each["name"]) for each in (*services, *known))
    about = max(width(each["about"]) for each in services)
    show(f"{padded('service', longest)}  any model of it is SERVICE/MODEL")
    for each in services:
        key = f"{each['key']}{'' if each['key_set'] else ' (not set)'}" if each["key"] else "no key"
        show(f"{padded(each['name'], longest)}  {padded(each['about'], about)}  {key}")
    show("")
    service = max(width(each["service"] or "service") for each in known)
    head = padded("service", service)
    show(f"{padded('model', longest)}  {head}  $ for 1M tokens in, out, read on")
    for each in known:
        at = padded(each["service"] or "-", service)
        show(f"{padded(each['name'], longest)}  {at}  {_cost(each)}")
    say("Next: evalkit answer --model NAME, or evalkit models NAME for all that is known of one")


def _cost(each: dict[str, Any]) -> str:
    price = each["price"]
    if price is not None:
        amounts = [_amount(price[name]) for name in ("input", "output")]
        return f"{amounts[0]:>9}  {amounts[1]:>9}   {price['date']}"
    if each["provider"] == "hf_local":
        return "a checkpoint, loaded on this machine (evalkit[local])"
    if each["provider"] is None and each["service"] is None:
        return "no API: evalkit import answers FILE"
    return "price unknown"


def _amount(dollars: float) -> str:
    """Two digits behind the point, and as many more as it takes to be more than nothing."""
    digits = next((n for n in range(2, 8) if round(dollars, n) == dollars), 8)
    return f"{dollars:.{digits}f}"


def _service(name: str, stanza: "Stanza") -> dict[str, Any]:
    return {
        "name": name,
        "about": stanza.about or "",
        "url": _at(stanza.url or ()).get("url"),
        "key": stanza.key_env,
        "key_set": bool(stanza.key_env and os.environ.get(stanza.key_env)),
    }


def _row(catalog: "Catalog", name: str) -> dict[str, Any]:
    stanza = catalog.stanzas[name]
    price = stanza.price.model_dump(mode="json") if stanza.price else None
    said = ("provider", "service", "model", "context", "note")
    return {"name": name, "price": price, **{each: getattr(stanza, each) for each in said}}


def _at(urls: tuple[str, ...]) -> dict[str, str | list[str]]:
    """An address, or a list of several."""
    if not urls:
        return {}
    return {"url": urls[0] if len(urls) == 1 else list(urls)}


def _told(stanza: "Stanza") -> dict[str, Any]:
    """What a stanza says, without what it leaves to the defaults."""
    told = stanza.model_dump(mode="json", exclude_defaults=True, exclude={"model", "url"})
    if stanza.key_env:
        told["key_set"] = bool(os.environ.get(stanza.key_env))
    return told


def _print(given: Everywhere, told: dict[str, Any], price: str) -> None:
    """All that is known of one thing; `price`: what to say of it where the catalogue has none."""
    if given.as_json:
        print_json("models", told, [], None)
        return
    for name, value in told.items():
        if isinstance(value, dict):
            show(f"{name}:")
            for part, what in value.items():
                show(f"  {part}: {what}")
        else:
            show(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    if "price" not in told:
        show(f"price: {price}")


def _check(given: Everywhere, catalog: "Catalog", model: "Model", *, whole: bool) -> int:
    """Ask each server of a model for its list; returns the exit code."""
    import asyncio

    from evalkit.cli.running import TALK, opened, providers_of

    asked = providers_of(model, catalog)
    lists = [found for each in asked if (found := getattr(each, "models", None))]
    if not lists and asked[0].notes:  # it lies here, or on a cluster, and fits
        with opened(asked, TALK):
            pass  # what looked is let go of
        if given.as_json:
            values = {"name": model.name, "id": model.id, "there": True, "notes": asked[0].notes}
            print_json("models", values, [], None)
        for line in () if given.as_json else asked[0].notes:
            show(line)
        return 0
    if not lists:
        raise Missing(f"{model.name} is not behind a server that could be asked")

    async def listed() -> "list[list[str] | Failure]":
        try:
            found: list[list[str] | Failure] = await asyncio.gather(*(one() for one in lists))
            return found
        finally:
            for each in asked:
                await each.close()

    found = dict(zip(model.urls, asyncio.run(listed()), strict=True))
    if given.as_json:
        _print_lists(model, found, whole=whole)
    return max(_told_of(given, model, url, each, whole=whole) for url, each in found.items())


def _told_of(
    given: Everywhere, model: "Model", url: str, found: "list[str] | Failure", *, whole: bool
) -> int:
    """Say what one server lists; returns the exit code."""
    from evalkit.chat import Failure, Kind

    if isinstance(found, Failure):
        say(found.said)
        return 2 if found.kind in (Kind.KEY, Kind.NO_MODEL) else 1
    there = whole or model.id in found
    if given.as_json:
        pass
    elif whole:
        for id_ in sorted(found):
            show(id_ if not model.others else f"{url} has {id_}")
    else:
        like = "" if there else did_you_mean(model.id, found)
        show(f"{url} {'has' if there else 'does not list'} {model.id}{like and '.'}{like}")
    return 0 if there else 1


def _print_lists(model: "Model", found: "dict[str, list[str] | Failure]", *, whole: bool) -> None:
    """What the servers list, for programs; nothing where the only one did not reply."""
    from evalkit.chat import Failure

    rows: list[dict[str, Any]] = []
    for url, each in found.items():
        if isinstance(each, Failure):
            rows.append({"url": url, "there": False, "failed": each.kind.value})
        else:
            rows.append({"url": url, "there": whole or model.id in each, "models": sorted(each)})
    values: dict[str, Any] = {"name": model.name, "id": model.id}
    if model.others:
        values |= {"there": all(row["there"] for row in rows), "servers": rows}
    elif "failed" not in rows[0]:
        values |= {"there": rows[0]["there"], "models": rows[0]["models"]}
    else:
        return
    print_json("models", values, [], None)
