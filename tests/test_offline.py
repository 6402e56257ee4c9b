"""The guard of these tests: nothing leaves loopback unseen, here or in a child."""

import shutil
import socket
import subprocess
import sys

import pytest
from conftest import OFFLINE, REFUSED

BEYOND = ("192.0.2.1", 9)  # an address kept for documentation; nothing is sent to it
SWALLOWED = f"""
import socket
def test_it():
    try:
        socket.create_connection({BEYOND!r}, timeout=1)
    except OSError:
        pass
"""


def test_a_connection_beyond_loopback_is_refused_and_noted():
    with pytest.raises(ConnectionRefusedError, match="tests stay on loopback"):
        socket.create_connection(BEYOND, timeout=1)
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo("example.invalid", 80)
    assert REFUSED.read_text().splitlines() == [
        "socket.getaddrinfo 192.0.2.1",
        "socket.getaddrinfo example.invalid",
    ]
    REFUSED.unlink()


def test_a_child_is_guarded_too():
    done = subprocess.run([sys.executable, "-c", SWALLOWED + "\ntest_it()"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "192.0.2.1" in REFUSED.read_text()
    REFUSED.unlink()


def test_swallowing_the_refusal_does_not_save_the_test(tmp_path):
    shutil.copy(OFFLINE.parent / "conftest.py", tmp_path)
    shutil.copytree(OFFLINE, tmp_path / "offline")
    (tmp_path / "test_swallowed.py").write_text(SWALLOWED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "left loopback: socket.getaddrinfo 192.0.2.1" in done.stdout
    REFUSED.unlink(missing_ok=True)


def test_loopback_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
