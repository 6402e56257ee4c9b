"""The catalogue: a model's name -> how it is reached, what it costs, where its key may go.

The shipped `catalog.yaml`, with the `catalog:` of the workspace's `evalkit.yaml` laid over it, and
`service/model-id`, `http://host/v1#name` or the path of a checkpoint for what neither names. It
holds names of variables and no key, and reaches nothing.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from evalkit import jsonl, keys, yamlfile
from evalkit.errors import BadFile, BadKey, Fault, Missing, Unknown
from evalkit.price import Price

if TYPE_CHECKING:
    from evalkit.prompts import ChatTemplate

SHIPPED = Path(__file__).with_name("catalog.yaml")
OLD_NAMES = {"OPENAI_BASE_URL": "OPENAI_API_BASE"}  # what it was called until 2023
FILES = ("hf_local", "gguf", "replay")
"""Providers whose `path` is a place on this machine."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"'{text}' is no address; expected http://HOST:PORT/v1")
    if parts.query or parts.fragment or re.search(r"[\s?#]", text):
        raise ValueError(f"'{text}' has a blank, ? or # in it; what follows an address is `query`")
    if parts.username or parts.password:
        raise ValueError("an address with a password in it; give the key by key_env")
    return text.rstrip("/")


def _listed(value: Any) -> Any:
    return (
        tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)
    )


def _each_once(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        raise ValueError("'url' is empty; expected http://HOST:PORT/v1, or a list of such")
    same = [_origin(url) + urlsplit(url).path for url in urls]
    if twice := next((url for url, it in zip(urls, same, strict=True) if same.count(it) > 1), None):
        raise ValueError(f"{twice} stands twice; each address of a model is another server")
    return urls


def _cluster(text: str) -> str:
    try:
        parts = urlsplit(text)
        there = parts.scheme == "ray" and parts.hostname and parts.port
        usable = text == "ray" or (there and text == f"ray://{parts.netloc}" and "@" not in text)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"'{text}' is no Ray cluster; expected ray or ray://HOST:PORT")
    return text


def _variable(text: str, info: ValidationInfo) -> str:
    if not _VARIABLE.fullmatch(text) or keys.looks_like_a_key(text):
        raise ValueError(f"{info.field_name} takes the name of a variable, not a key")
    return text


_TEXTS = ("path", "key_header", "about", "note", "template", "service", "provider")
"""Fields of a stanza that no key may stand in; a model's id may look like one."""

Dtype = Literal["float32", "float16", "bfloat16", "8bit", "4bit"]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_listed), AfterValidator(_each_once)]
Cluster = Annotated[str, AfterValidator(_cluster)]
Variable = Annotated[str, AfterValidator(_variable)]


class Timeouts(BaseModel):
    """Seconds after which a call is given up and made again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    connect: float = Field(10, gt=0)
    silence: float = Field(120, gt=0)
    """Without a byte of a streamed reply, the first one included: one that is not streamed is
    silent until it is complete, so only `total` can end it."""
    total: float = Field(600, gt=0)


class Stanza(BaseModel):
    """What the catalogue says of one model, or of a service and so of all models on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    provider: str | None = None
    """A module of `evalkit.providers`."""
    service: str | None = None
    """The stanza that says how this model is reached; what stands here goes before it."""
    model: str | None = None
    """What the service calls it; None for a service."""
    about: str | None = None
    url: Addresses | None = None
    """Its server, or a list of several that have the same model: any of them is asked."""
    url_env: Variable | None = None
    """The variable whose address goes before `url`, where it is set."""
    path: str | None = None
    """Below the address, with {model}; of a checkpoint or a recording: where it lies."""
    query: dict[str, str] = {}
    key_env: Variable | None = None
    """The variable that holds the key; None: no key is sent."""
    key_header: str | None = None
    """The header for the bare key; None: `Authorization: Bearer KEY`."""
    headers: dict[str, str] = {}
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream: bool = False
    structured: bool = False
    """The service holds a reply to a JSON schema (`response_format`)."""
    timeouts: Timeouts = Timeouts()
    price: Price | None = None
    batch: float | None = Field(None, gt=0, le=1)
    """What a call in a batch costs, as a share of its price; None: the service takes no batches
    through `files` and `batches` as OpenAI does, as far as is known."""
    context: int | None = Field(None, gt=0)
    """Tokens."""
    template: str | None = None
    """A file of prompts/chat/, for a checkpoint whose tokenizer has no chat template."""
    dtype: Dtype | None = None
    """What a checkpoint is loaded as; None: its own type on a GPU, float32 without one."""
    cluster: Cluster | None = None
    """Where a checkpoint is loaded: `ray://HOST:PORT`, or `ray` for the cluster that is there;
    None: on this machine."""
    facts: dict[str, str | int | float] = {}
    """For the report's table of models."""
    note: str | None = None

    @model_validator(mode="after")
    def _no_key_inside(self) -> "Stanza":
        texts = [(name, getattr(self, name)) for name in _TEXTS]
        texts += [("url", url) for url in self.url or ()]
        for name, value in [*texts, *self.headers.items(), *self.query.items()]:
            if value and keys.looks_like_a_key(value):
                what = f"'{name}' holds what looks like a key; put it into a variable"
                raise ValueError(f"{what} and name that in key_env")
        return self

    def over(self, under: "Stanza") -> "Stanza":
        """What stands here, with what only `under` says; an own address takes no key along."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        rest = {name: getattr(under, name) for name in under.model_fields_set}
        if {"url", "url_env"} & self.model_fields_set:
            for name in ("url", "url_env", "key_env", "key_header", "headers", "batch"):
                rest.pop(name, None)
        return Stanza(**{**rest, **said})


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    catalog: dict[str, Stanza] = {}


class _Shipped(BaseModel):
    """The shipped file is the stanzas alone."""

    model_config = ConfigDict(extra="allow", strict=True)

    __pydantic_extra__: dict[str, Stanza]


@dataclass(frozen=True)
class Model:
    """One model that can be asked."""

    name: str
    """What it is called here, and in its rows."""
    id: str
    """What the service calls it."""
    stanza: Stanza
    """With all that its service says."""
    url: str | None = None
    others: tuple[str, ...] = ()
    """The addresses of further servers that have it."""
    template: "ChatTemplate | None" = None
    """How it is spoken to, where we do that and not its server."""

    @property
    def way(self) -> str | None:
        """The module of `evalkit.providers` that reaches it."""
        here = self.stanza.cluster is None or self.stanza.provider != "hf_local"
        return self.stanza.provider if here else "ray_hf"

    @property
    def asked_as(self) -> str:
        """What `Request.asked` takes as the model: whatever would change what it is asked."""
        if self.template is None:
            return self.id
        return " ".join([self.id, self.template.hash, self.stanza.dtype or ""]).rstrip()

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of all its servers."""
        return (*([self.url] if self.url else []), *self.others)

    def apart(self) -> "list[Model]":
        """The model as each of its servers has it."""
        return [replace(self, url=url, others=()) for url in self.urls] or [self]

    @property
    def is_free(self) -> bool:
        """It runs on machines of our own, asks for no key and has no price."""
        here = all(is_loopback(urlsplit(url).hostname or "") for url in self.urls)
        asked = self.stanza.provider is not None
        return asked and here and not self.stanza.key_env and not self.stanza.price


class Catalog:
    """All stanzas, the workspace's laid over the shipped ones."""

    def __init__(
        self,
        shipped: Mapping[str, Stanza],
        own: Mapping[str, Stanza],
        environment: Mapping[str, str],
        root: Path = Path(),
        templates: Mapping[str, Path] | None = None,
    ) -> None:
        """`root`: where paths of recordings and checkpoints start; `templates`: prompts/chat/."""
        self.told: list[str] = []
        self.templates = dict(templates or {})
        self._root = root
        self._environment = environment
        self._homes = self._find_homes(shipped)
        self._ways = {each.key_env: each.url_env for each in shipped.values() if each.url_env}
        self.stanzas = {**shipped}
        for name, stanza in own.items():
            self.stanzas[name] = stanza.over(shipped[name]) if name in shipped else stanza

    @classmethod
    def load(
        cls,
        own: Path,
        environment: Mapping[str, str],
        templates: Mapping[str, Path] | None = None,
    ) -> "Catalog":
        """The shipped catalogue with that of the file `own`, if it exists, laid over it.

        Raises BadFile with every fault of the file.
        """
        shipped = yamlfile.load(SHIPPED, _Shipped).__pydantic_extra__
        stanzas = yamlfile.load(own, _File).catalog if own.exists() else {}
        found = cls(shipped, stanzas, environment, own.parent, templates)
        faults = []
        for name, stanza in stanzas.items():
            if stanza.service is not None and stanza.service not in found.services():
                line = yamlfile.key_lines(own)["catalog", name, "service"]
                what = str(Unknown("service", stanza.service, found.services()))
                faults.append(Fault(f"{own}:{line}", what))
        if faults:
            raise BadFile(faults)
        return found

    def add(self, name: str, stanza: Stanza) -> None:
        """Lay one more stanza over what is known, as the workspace's own are."""
        known = self.stanzas.get(name)
        self.stanzas[name] = stanza.over(known) if known else stanza

    def services(self) -> list[str]:
        """The names behind which any of their models can be named, as in openai/gpt-4o."""
        return sorted(name for name, each in self.stanzas.items() if _is_service(each))

    def models(self) -> list[str]:
        """The names of single models."""
        return sorted(set(self.stanzas) - set(self.services()))

    def variables(self) -> set[str]:
        """The names of all variables that hold keys."""
        return {each.key_env for each in self.stanzas.values() if each.key_env}

    def find(self, name: str, key_env: str | None = None) -> Model:
        """The model of this name, wherever it is reached; `key_env`: whose key goes there instead.

        Raises Unknown with the nearest names, BadKey where a key would leave its home.
        """
        if re.match("https?://", name):
            url, _, model_id = name.partition("#")
            if not model_id:
                raise Missing(f"which model is at {url}? Name it: {url}#MODEL")
            return self.at(model_id, url, key_env)
        if is_path(name):
            return self._lying_at(name)
        if name in self.stanzas and not _is_service(self.stanzas[name]):
            return self._reached(name, self.stanzas[name], key_env)
        service, slash, model_id = name.partition("/")
        if slash and model_id and service in self.services():
            known = (self.stanzas[each] for each in self.models())
            same = (s for s in known if (s.service, s.model) == (service, model_id))
            stanza = next(same, Stanza(service=service, model=model_id))
            return self._reached(model_id, stanza, key_env)
        if name in self.stanzas:
            raise Missing(f"'{name}' is a service; name one of its models: {name}/MODEL")
        raise Unknown("model", name, self.models(), "See: evalkit models")

    def at(self, name: str, url: str, key_env: str | None) -> Model:
        """The model that the server at `url` calls `name`."""
        try:
            stanza = Stanza(provider="openai_api", model=name, url=(url,))
        except ValidationError as error:
            raise Missing("; ".join(jsonl.complaints(error, Stanza))) from error
        return self._reached(name, stanza, key_env)

    def addresses(self, stanza: Stanza) -> tuple[str, ...]:
        """Where a stanza leads, by the environment where that says so."""
        found = self._from_environment(stanza.url_env)
        return (found,) if found else stanza.url or ()

    # -- inside

    def _lying_at(self, name: str) -> Model:
        model = _lying_at(Path(name).expanduser())
        if (own := self.stanzas.get(name)) is None:
            return model
        said = {field: getattr(own, field) for field in own.model_fields_set}
        return replace(model, stanza=model.stanza.model_copy(update=said))

    def _reached(self, name: str, stanza: Stanza, key_env: str | None) -> Model:
        if stanza.service is not None:
            if stanza.service not in self.services():
                raise Unknown("service", stanza.service, self.services())
            stanza = stanza.over(self.stanzas[stanza.service])
        if key_env is not None:
            try:
                stanza = Stanza(key_env=key_env).over(stanza)
            except ValidationError as error:
                raise BadKey("; ".join(jsonl.complaints(error, Stanza))) from error
        if stanza.path and stanza.provider in FILES:
            stanza = with_path(stanza, self._root / stanza.path)
        url, *others = self.addresses(stanza) or [None]
        model = Model(name, stanza.model or name, stanza, url, tuple(map(str, others)))
        if stanza.key_env in self._homes:
            way = self._ways.get(stanza.key_env)
            for each in model.urls:
                keys.check_home(stanza.key_env, _origin(each), self._homes[stanza.key_env], way)
        return model

    def _from_environment(self, variable: str | None) -> str | None:
        if not variable:
            return None
        old = OLD_NAMES.get(variable, "")
        for name in (variable, old):
            if value := self._environment.get(name):
                if name == old:
                    self.told = [f"{old} is read as {variable}; set that one instead"]
                try:
                    return _address(value)
                except ValueError as error:
                    raise BadKey(f"{name}: {error}") from error
        return None

    def _find_homes(self, shipped: Mapping[str, Stanza]) -> dict[str, set[str]]:
        """Where the keys that the shipped file names may go."""
        homes: dict[str, set[str]] = {}
        for stanza in shipped.values():
            if stanza.key_env:
                urls = set(stanza.url or ())
                with suppress(BadKey):  # told where that address is used
                    urls |= {self._from_environment(stanza.url_env) or ""} - {""}
                homes.setdefault(stanza.key_env, set()).update(map(_origin, urls))
        return homes


def family(model_id: str) -> str:
    """What models of one maker's line share, as far as an id tells: `gpt-4o-mini` is a `gpt`."""
    name = model_id.rpartition("/")[2].lower()
    found = re.match(r"[^\W\d_]+", name)
    return {"chatgpt": "gpt"}.get(found[0], found[0]) if found else name


def is_path(name: str) -> bool:
    """Whether a model is named by where it lies."""
    return bool(re.match(r"(\.{1,2}|~|[A-Za-z]:)?[/\\]", name)) or name.endswith(".gguf")


def _lying_at(path: Path) -> Model:
    """The checkpoint in a folder, or in a GGUF file, under the name that it has there."""
    if path.suffix == ".gguf":
        return Model(
            path.stem, path.stem, with_path(Stanza(provider="gguf", structured=True), path)
        )
    name = path.resolve().name
    return Model(name, name, with_path(Stanza(provider="hf_local"), path))


def with_path(stanza: Stanza, path: Path | str) -> Stanza:
    """A stanza for what lies there; a file may have any name, also one like a key."""
    return stanza.model_copy(update={"path": str(path)})


def _is_service(stanza: Stanza) -> bool:
    """It has an address, or is a hub, and leaves the model to be named behind it."""
    hub = stanza.provider == "hf_local" and stanza.path is None
    return stanza.model is None and bool(stanza.url or stanza.url_env or hub)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
