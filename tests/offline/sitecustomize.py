"""Refuse every connection beyond loopback, in the tests and in each Python that they start.

Python imports this by itself where this folder is on PYTHONPATH; conftest.py puts it there.
"""

import ipaddress
import os
import sys

refused = []


def _is_loopback(host):
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _hook(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if not isinstance(address, tuple):  # a Unix socket
            return
        host = address[0]
    else:
        return
    if not _is_loopback(host):
        refused.append(f"{event} {host}")
        if "PYTEST_VERSION" not in os.environ or "PYTEST_CURRENT_TEST" not in os.environ:
            print(f"refused: {event} {host}", file=sys.stderr)
        raise ConnectionRefusedError(f"tests stay on loopback: {event} {host}")


sys.addaudithook(_hook)
