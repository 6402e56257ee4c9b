"""A Ray cluster: the connection to it, the places on it where an engine can run, and its silence.

What Ray has to say goes into its own logs and never to the terminal. It takes no signal from us,
and what it starts on this machine gets none of our keys. One cluster at a time.
"""

import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evalkit import __version__
from evalkit.errors import Missing, reason
from evalkit.keys import Keys

CONNECT = 5.0  # seconds until an address is given up that does not take a connection
START = 60.0  # seconds until a node is left out on which nothing starts
OBJECTS = 100_000_000  # bytes for what travels in a cluster of our own: a reply is small
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change to come
}
FEW_TRIES = {"RAY_NUM_REDIS_GET_RETRIES": "1"}  # else it waits for minutes where no cluster is
HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # what fetches a checkpoint on this machine


@dataclass(frozen=True)
class Place:
    """Where one engine can run: a GPU of a node, or all CPUs of a node where no node has a GPU."""

    node: str
    """Ray's id of it."""
    name: str
    """For people; no two nodes have the same."""
    number: int = 0
    """Of the GPU on its node."""
    cpus: int | None = None
    """None: it is a GPU."""

    def __str__(self) -> str:
        return self.name if self.cpus else f"{self.name}, GPU {self.number}"


def connect(on: str, keys: Keys) -> None:
    """Connect to the cluster at `ray://HOST:PORT`; `ray`: to the one that is there, else a new one.

    That is the one that RAY_ADDRESS names, else one that runs on this machine. A new one ends with
    the connection. Raises Missing without the extra, or where no cluster replies.
    """
    if find_spec("ray") is None:
        raise Missing("a checkpoint on a Ray cluster takes Ray: pip install 'evalkit[ray]'")
    named = os.environ.get("RAY_ADDRESS", "").strip() if on == "ray" else on
    elsewhere = named not in ("", "auto", "local")
    settings = SETTINGS | (FEW_TRIES if elsewhere else {})
    with ExitStack() as stack:
        for aside in (_unheard(), _signals_kept(), _surroundings(keys, settings), _at_home()):
            stack.enter_context(aside)
        from ray._private import worker

        # nothing else keeps what befalls a node or an actor from being printed to stdout
        worker.print_to_stdstream = lambda *_, **__: None
        address = named if elsewhere else _found(named)
        if address is not None:
            _knock(address)
        try:
            _init(address)
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            where = f"at {address}" if address else "that was to start on this machine"
            raise Missing(f"no use of the Ray cluster {where}: {said}") from error


def _init(address: str | None) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": 60}
    if address is None:
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECTS}
        ray.init("local", **own, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except ConnectionAbortedError:  # Ray Client forks a server for us, which can fail
        ray.shutdown()
        ray.init(address, **quiet)


def disconnect() -> None:
    """Let go of the cluster; what was started on it ends."""
    import ray

    with _unheard(), _signals_kept():
        ray.shutdown()


def places() -> list[Place]:
    """Where engines can run now: each GPU of the cluster, or each node's CPUs where it has none."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    same = Counter(node["NodeName"] for node in nodes)
    found = []
    gpus = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
    for node in sorted(nodes, key=lambda node: (node["NodeName"], node["NodeID"])):
        name, id_ = node["NodeName"], node["NodeID"]
        name = name if same[name] == 1 else f"{name} ({id_[:6]})"
        has = node["Resources"]
        if gpus:
            found += [Place(id_, name, number) for number in range(int(has.get("GPU", 0)))]
        elif cpus := int(has.get("CPU", 0)):
            found.append(Place(id_, name, cpus=cpus))
    return found


def unfit(found: list[Place]) -> dict[Place, str]:
    """The places where no engine of ours can run, and why: another evalkit is there, or none."""
    import ray

    def version() -> str | None:  # travels as it is, and so runs where no evalkit is
        from importlib import import_module

        try:
            import_module("evalkit.providers.ray_hf.actor")
            return str(import_module("evalkit").__version__)
        except ImportError:
            return None

    look = ray.remote(num_cpus=0, max_retries=0)(version)
    looks = {place: look.options(**at(place)).remote() for place in found}
    ray.wait([*looks.values()], num_returns=len(looks), timeout=START)
    whys = {}
    for place, ref in looks.items():
        try:
            there = ray.get(ref, timeout=0)
        except ray.exceptions.RayError as error:
            whys[place] = told(error)
            continue
        if there is None:
            whys[place] = "no evalkit with Ray is installed there: pip install 'evalkit[ray,local]'"
        elif there != __version__:
            whys[place] = f"evalkit {there} is installed there, and this is {__version__}"
    return whys


def at(place: Place) -> dict[str, Any]:
    """What tells Ray to run something on the node of a place, and nowhere else."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(place.node, soft=False)}


def told(error: BaseException) -> str:
    """What Ray says of a failure, in one short line."""
    from ray.exceptions import ActorUnavailableError, GetTimeoutError

    if isinstance(error, GetTimeoutError):
        return f"nothing starts there within {START:.0f} s; is it in use?"
    if isinstance(error, ActorUnavailableError):
        return "its actor cannot be reached"
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if found := re.search(r"(?:died|dead) because its (.+?)(?:\.|$)", said, re.MULTILINE):
        return f"its {found[1]}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def _found(named: str) -> str | None:
    """Where a cluster is that runs on this machine; None: there is none, or none shall be taken."""
    from ray._private import services

    if named == "local":
        return None
    try:
        found: str | None = services.canonicalize_bootstrap_address("auto")
    except ConnectionError:
        return None
    return found


def _knock(address: str) -> None:
    """Raises Missing where nothing takes a connection: Ray itself would try for a long time."""
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        where = (parts.hostname or "", parts.port or 0)
        socket.create_connection(where, timeout=CONNECT).close()
    except ValueError as error:
        raise Missing(f"RAY_ADDRESS is '{address}'; expected HOST:PORT") from error
    except OSError as error:
        raise Missing(
            f"no Ray cluster at {address}: {reason(error)}. Start one there (ray start --head), or "
            "give --on ray://HOST:10001"
        ) from error


@contextmanager
def _unheard() -> Iterator[None]:
    """What is written meanwhile to stdout and stderr, by C++ too, is lost."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nothing, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nothing)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets handlers of its own; what it starts shall outlive the terminal, as we do."""
    known = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in known}
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _surroundings(keys: Keys, settings: Mapping[str, str]) -> Iterator[None]:
    """The environment as Ray shall see it: with these settings, and without our keys."""
    before = dict(os.environ)
    for name, value in before.items():
        if name not in HUB and not name.startswith("RAY_") and keys.scrub(value) != value:
            del os.environ[name]
    try:
        os.environ.update({n: value for n, value in settings.items() if n not in before})
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _at_home() -> Iterator[None]:
    """Ray lets nodes import what lies in our current folder: let that be where evalkit lies."""
    before = Path.cwd()
    os.chdir(Path(__file__).parents[3])
    try:
        yield
    finally:
        os.chdir(before)
