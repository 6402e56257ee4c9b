"""--on ray: a checkpoint on two nodes of a Ray cluster, which here are two of this machine."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from checkpoints import checkpoint, needs_torch
from conftest import ROOT, question, read_lines, write_lines

needs_torch()
if find_spec("ray") is None:
    pytest.skip("NO RAY: pip install 'evalkit[ray]'", allow_module_level=True)

import psutil
import ray

from evalkit import evaluation
from evalkit.catalog import Catalog, Model, Stanza
from evalkit.chat import Failure, Kind, Message, Request, Sampling
from evalkit.errors import BadFile
from evalkit.keys import Keys
from evalkit.prompts import ChatTemplate
from evalkit.providers.hf_local import memory
from evalkit.providers.ray_hf import actor, cluster, seats

pytestmark = pytest.mark.timeout(300)
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
TWO_NODES = """
import sys
from ray.cluster_utils import Cluster

own = {"object_store_memory": 80_000_000, "include_dashboard": False}  # the least that Ray takes
own |= {"include_log_monitor": False, "no_monitor": True}
head = {"num_cpus": 1, "ray_client_server_port": int(sys.argv[1]), **own}
made = Cluster(True, head_node_args=head)
made.add_node(num_cpus=1, node_name="far", **own)
print("at", made.address, flush=True)
sys.stdin.read()
"""


@dataclass
class There:
    """Two nodes with one CPU each; `far` is the one without the head."""

    process: psutil.Process
    direct: str
    """The address of the head."""
    client: str
    """The address of Ray Client on it."""

    def actors(self):
        """The processes of it that run an actor."""
        return [each for each in self._all() if each.cmdline()[0].startswith("ray::Actor")]

    def far(self):
        """The processes of that node."""
        (raylet,) = [each for each in self._all() if "--node-name=far" in each.cmdline()]
        return [raylet, *raylet.children(recursive=True)]

    def _all(self):
        found = self.process.children(recursive=True)
        return [each for each in found if each.status() != "zombie" and each.cmdline()]


@pytest.fixture
def there(monkeypatch):
    """A cluster, which is also what --on ray finds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # without the guard of the tests: nodes speak to each other at this machine's own address
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    env["GRPC_ENABLE_FORK_SUPPORT"] = (
        "0"  # else a server of Ray Client now and then crashes at once
    )
    env.pop("REFUSED")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", TWO_NODES, str(port)]
    with subprocess.Popen(command, env=env, text=True, **pipes) as begun:
        process = psutil.Process(begun.pid)
        try:
            said = next(line for line in begun.stdout if line.startswith("at "))
            direct = f"127.0.0.1:{said.strip().rpartition(':')[2]}"
            monkeypatch.setenv("RAY_ADDRESS", direct)
            yield There(process, direct, f"ray://127.0.0.1:{port}")
        finally:
            for each in [*process.children(recursive=True), begun]:
                each.kill()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def bank(tmp_path):
    return write_lines(tmp_path / "questions/b.jsonl", [question(f"q{n}") for n in range(120)])


def gone(processes):
    return not psutil.wait_procs(processes, timeout=30)[1]


def asked(model, *args):
    return ("answer", "--model", model, "--bank", "b", "--template", "vicuna-v1.1", *args)


def begin(folder, *args, **more):
    command = [sys.executable, "-m", "evalkit", *map(str, args)]
    return subprocess.Popen(command, cwd=folder, **PIPES, **more)


def said_by(folder):
    rows = read_lines(folder / "answers/b/tiny.jsonl")
    return [(row["question"], row["turns"][0]) for row in rows], {row["served"] for row in rows}


def model_of(path, on, **said):
    stanza = Stanza(provider="hf_local", cluster=on, **said).model_copy(update={"path": str(path)})
    return Model("tiny", "tiny", stanza, template=ChatTemplate("t", "{{ messages[-1].content }}"))


# -- the whole way


def test_two_nodes(evalkit, tmp_path, tiny, bank, there):
    """One cluster for all of it, since one takes seconds to start; in this order."""
    a_node_is_killed_half_way_and_no_row_is_lost(evalkit, tmp_path, tiny, there)
    a_broken_checkpoint_is_one_line_that_names_the_node(evalkit, tmp_path, tiny, there)
    kill_9_of_a_run_ends_its_actors(tmp_path, tiny, there)
    by_ray_client_all_goes_along_and_a_dead_actor_is_started_anew(tiny, there)


def a_node_is_killed_half_way_and_no_row_is_lost(evalkit, folder, tiny, there):
    how = ("--max-tokens", 24)
    assert evalkit(*asked(tiny, "--limit", 10, *how)).code == 0
    ledger = folder / "answers/b/tiny.jsonl"
    with begin(folder, *asked(tiny, *how, "--on", "ray", "--concurrency", 6)) as begun:
        while len(ledger.read_text().splitlines()) < 30 and begun.poll() is None:
            time.sleep(0.02)
        mine, doomed = there.actors(), there.far()
        for each in doomed:
            each.kill()
        out, err = begun.communicate(timeout=120)
    assert len(set(mine) & set(doomed)) == 1 and len(mine) == 2, err
    assert (begun.returncode, out.split("   ")[:2]) == (0, ["tiny", "120/120 (10 kept, 110 new)"])
    assert "  tiny: 2 actors on 2 nodes of a Ray cluster (2 CPUs)\n" in err
    assert "evalkit: tiny on far: " in err, err
    assert "left out, tried again in" in err, err
    assert "raylet" not in err + out and "Traceback" not in err
    assert gone(mine)
    rows, served = said_by(folder)
    assert len(rows) == len(dict(rows)) == 120 and served == {"tiny (float32)"}
    ledger.unlink()
    assert evalkit(*asked(tiny, *how)).code == 0
    assert sorted(said_by(folder)[0]) == sorted(rows)
    assert "0 owed, 120 kept" in evalkit(*asked(tiny, *how, "--on", "ray", "--dry-run")).err


def a_broken_checkpoint_is_one_line_that_names_the_node(evalkit, folder, tiny, there):
    broken = shutil.copytree(tiny, folder / "broken")
    (broken / "model.safetensors").unlink()
    known = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers, environment = list(map(signal.getsignal, known)), dict(os.environ)  # Ray adds to it
    ran = evalkit(*asked(broken, "--on", "ray"))
    assert list(map(signal.getsignal, known)) == handlers
    assert environment.items() <= dict(os.environ).items()
    assert not set(cluster.SETTINGS) & set(os.environ) - set(environment)
    assert (ran.code, ran.out, len(ran.lines)) == (2, "", 3)
    assert "broken can be loaded on no node. 1" in ran.lines[-1]
    assert "no safetensors or pytorch_model.bin file, so no checkpoint" in ran.lines[-1]
    assert gone(there.actors()) and seats._Run.now is None


def kill_9_of_a_run_ends_its_actors(folder, tiny, there):
    with begin(folder, *asked(tiny, "--seed", 1, "--on", "ray")) as begun:
        while not (mine := there.actors()) and begun.poll() is None:
            time.sleep(0.1)
        begun.kill()
    assert mine and gone(mine)


def by_ray_client_all_goes_along_and_a_dead_actor_is_started_anew(tiny, there):
    model = model_of(tiny, there.client, dtype="bfloat16")
    request = Request((Message("user", "What is 1?"),), Sampling(0, 20), ("q",))
    heard = []

    async def talk():
        (asked,) = seats.pool(model, Keys({}, set()))
        came = [await asked.reply(request, heard.append)]
        for each in there.actors():
            each.kill()
        came += [await asked.reply(request), await asked.reply(request)]
        mine = there.actors()
        await asked.close()
        return came, mine

    (first, failed, again), mine = asyncio.run(talk())
    assert heard == [first.text] and first.text
    assert (first.served, first.template) == ("tiny (bfloat16)", model.template.hash)
    assert failed.kind == Kind.DOWN and failed.said.startswith("tiny on ")
    assert again.text == first.text
    assert len(mine) == 1 and gone(mine)


def test_ctrl_c_ends_a_cluster_of_its_own_and_keeps_what_is_there(tmp_path, tiny, bank):
    env = {n: v for n, v in os.environ.items() if n != "REFUSED"}  # as for the nodes above
    env |= {"RAY_ADDRESS": "local", "OPENAI_API_KEY": "sk-a-key-that-stays-at-home"}
    how = ("--max-tokens", 100, "--concurrency", 4, "--on", "ray")
    ledger = tmp_path / "answers/b/tiny.jsonl"
    with begin(tmp_path, *asked(tiny, *how), env=env, start_new_session=True) as begun:
        while begun.poll() is None and not (
            ledger.exists() and len(ledger.read_text().splitlines()) > 3
        ):
            time.sleep(0.05)
        ours = psutil.Process(begun.pid).children(recursive=True)
        homes = [each.environ() for each in ours if each.is_running()]
        os.killpg(begun.pid, signal.SIGINT)  # as a terminal does
        out, err = begun.communicate(timeout=120)
    assert begun.returncode == 130, err
    assert "stopping: 4 calls in flight, waiting" in err
    assert "  tiny: 1 actor on 1 node of a Ray cluster (" in err
    kept = len(read_lines(ledger))
    assert 0 < kept < 120 and out.startswith(f"tiny   {kept}/120")
    assert len(err.splitlines()) < 12 and "raylet" not in err
    assert len(ours) > 3 and gone(ours)
    assert homes and not any("OPENAI_API_KEY" in each for each in homes)


# -- what is refused, each in one line


@pytest.mark.parametrize(
    "value", ["rays", "ray://", "ray://h", "ray://u@h:1", "ray://h:1/x", "h:1"]
)
def test_what_is_no_cluster_is_told(evalkit, tiny, value):
    ran = evalkit(*asked(tiny, "--on", value))
    assert (ran.code, len(ran.lines)) == (2, 1)
    assert f"'{value}' is no Ray cluster; expected ray or ray://HOST:PORT" in ran.err


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_no_cluster_at_the_address_is_one_line(evalkit, tmp_path, tiny, bank, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    begun = time.monotonic()
    ran = evalkit(*asked(tiny, "--on", address if "://" in address else "ray"))
    assert (ran.code, ran.out) == (2, "")
    told = f"no Ray cluster at {address}: connection refused. Start one there (ray start --head), "
    assert ran.lines[-1].startswith(told) and len(ran.lines) == 3
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "answers").exists()


def test_without_the_extra_it_says_what_to_install(evalkit, tiny, bank, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    ran = evalkit(*asked(tiny, "--on", "ray"))
    assert (ran.code, ran.lines[-1]) == (
        2, "a checkpoint on a Ray cluster takes Ray: pip install 'evalkit[ray]'"
    )  # fmt: skip


def test_what_is_no_checkpoint_is_not_loaded_there(evalkit, bank):
    ran = evalkit("answer", "--model", "http://127.0.0.1:9/v1#m", "--bank", "b", "--on", "ray")
    assert (ran.code, ran.lines) == (2, ["--on is for checkpoints, and none is asked"])


# -- where, and how it is said


def test_a_file_can_say_it(tmp_path):
    own = tmp_path / "evalkit.yaml"
    own.write_text("catalog:\n  mine:\n    provider: hf_local\n    path: m\n    cluster: ray\n")
    catalog = Catalog.load(own, {})
    assert catalog.find("mine").way == "ray_hf"
    file = tmp_path / "evaluation.yaml"
    models = [{"name": "./m", "cluster": "ray://h:10001", "dtype": "float16"}, "chatgpt"]
    file.write_text(json.dumps({"models": models, "judges": ["gpt-4"]}))
    evaluation.load(file).laid_over(catalog)
    found = catalog.find("./m")
    assert (found.way, found.stanza.cluster, found.stanza.dtype) == (
        "ray_hf", "ray://h:10001", "float16",
    )  # fmt: skip
    assert catalog.find("./other").way == "hf_local"
    own.write_text("catalog:\n  mine:\n    cluster: spark\n")
    with pytest.raises(BadFile, match="'spark' is no Ray cluster"):
        Catalog.load(own, {})


def node(id, name, alive=True, **has):
    return {"NodeID": id * 8, "NodeName": name, "Alive": alive, "Resources": has}


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("a", "x", CPU=4.0), node("b", "y", CPU=2.0)], ["x", "y"]),
        ([node("a", "x", CPU=4.0), node("b", "x", CPU=2.0)], ["x (aaaaaa)", "x (bbbbbb)"]),
        ([node("a", "x", CPU=4.0), node("b", "y", CPU=2, GPU=2)], ["y, GPU 0", "y, GPU 1"]),
        ([node("a", "x", CPU=4.0), node("b", "y", False, GPU=2)], ["x"]),
        ([node("a", "x", CPU=0.0), node("b", "y")], []),
    ],
)
def test_each_gpu_is_a_place_or_each_node_where_no_node_has_one(monkeypatch, nodes, found):
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert list(map(str, cluster.places())) == found


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (memory.Free((), 10**9), "torch sees no GPU there. tiny: 0.1 M parameters in float32"),
        (memory.Free((10, 10), 10**9), "it does not fit on one GPU. tiny: 0.1 M parameters in"),
        (memory.Free((10**9,), 10), None),
        (memory.Free((10, 10), 10), "tiny: 0.1 M parameters in float32 on the GPUs and in memory"),
    ],
)
def test_who_has_a_gpu_uses_it_or_says_why_not(monkeypatch, tiny, free, told):
    monkeypatch.setattr(memory, "free", lambda: free)
    took = asyncio.run(actor.Actor(None).take(model_of(tiny, "ray")))
    assert (took.why_not or "").startswith(told or "") and (took.why_not is None) == (told is None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The actor died.\n\tip: 1\nThe actor died because its node has died. Node Id: 2",
         "its node has died"),
        ("E.\nThe actor is dead because its worker process has died. Worker exit: 3",
         "its worker process has died"),
        ("The actor died because of an error\n\x1b[36mray::A()\x1b[39m\nValueError: no",
         "ValueError: no"),
        ("", "Exception"),
    ],
)  # fmt: skip
def test_what_ray_says_becomes_one_short_line(said, told):
    assert cluster.told(Exception(said)) == told


def test_what_one_node_cannot_load_is_asked_of_another_until_none_can():
    run = SimpleNamespace(providers=set())
    known = seats._Pool(2)
    both = [
        seats.Provider(model_of("m", "ray"), run, seats._Seat(cluster.Place(n, n, cpus=1)), known)
        for n in "ab"
    ]
    came = [each._unable(Failure(Kind.UNLOADABLE, "no weights")) for each in both]
    assert [each.kind for each in came] == [Kind.DOWN, Kind.UNLOADABLE]
    assert [each.said for each in came] == ["tiny on a: no weights", "no weights (on b)"]
