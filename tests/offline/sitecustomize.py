"""Refuse every connection beyond loopback, in the tests and in each Python that they start.

Python imports this by itself where this folder is on PYTHONPATH; conftest.py puts it there. What
was refused is noted in the file that REFUSED names, so that swallowing the error does not help.
"""

import ipaddress
import os
import sys


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
        if not isinstance(args[1], tuple):  # a Unix socket
            return
        host = args[1][0]
    else:
        return
    if not _is_loopback(host):
        with open(os.environ["REFUSED"], "a") as log:
            log.write(f"{event} {host}\n")
        raise ConnectionRefusedError(f"tests stay on loopback: {event} {host}")


if "REFUSED" in os.environ:
    sys.addaudithook(_hook)
