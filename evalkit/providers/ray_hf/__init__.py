"""A Hugging Face checkpoint, loaded on the nodes of a Ray cluster by as many actors as it has room.

Each actor holds what `hf_local` loads on one machine, so that a row is the same wherever it was
written; `actor` is what runs there, `cluster` the connection and its noise, `seats` who can be
asked. Imports Ray when it is asked, and nothing of it before. No key is sent to a node.
"""

from evalkit.providers.hf_local import speech, spoken_to
from evalkit.providers.ray_hf.seats import Provider, pool

__all__ = ["Provider", "pool", "speech", "spoken_to"]
