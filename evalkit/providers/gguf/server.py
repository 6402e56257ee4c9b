"""The process that serves one GGUF file on loopback until its stdin ends.

    python -m evalkit.providers.gguf.server FILE NAME SLOTS CONTEXT

The address is the one line on stdout; llama.cpp's own words go to stderr. It downloads nothing.
"""

import os
import sys


def serve(path: str, name: str, slots: int, context: int) -> None:
    """Serve; never returns."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {name}
    params.port = 0  # one that is free
    params.n_parallel = slots
    params.n_ctx = slots * context  # llama.cpp shares it out among the slots
    params.n_threads_http = 4 * slots + 4  # a connection that is kept open holds one
    params.use_jinja = True
    params.offline = True
    params.ui = params.fit_params = False
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}/v1\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
