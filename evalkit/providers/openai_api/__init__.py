"""Any server that speaks OpenAI's chat API: OpenAI, Azure, most other services, most local servers.

    bodies.py     what is sent and what comes back, as values: a Request -> JSON -> a Reply
    refusals.py   what a refused call means, and which parameters to send instead
    limits.py     headers that say how much more a service will take
    client.py     the connections, and the one place that a key is put on a wire
    batches.py    many calls in one file, for services that take them so

The `openai` package is not on this way: at 256 calls in flight its client takes 7 times the CPU
of aiohttp for the same bytes (`tests/bench/runner.py clients`). The tests hold what is sent
here against what that package sends.
"""

from evalkit.providers.openai_api.batches import Batches
from evalkit.providers.openai_api.client import Provider

__all__ = ["Batches", "Provider"]
