"""The front door: one module a verb.

A verb reads the workspace, calls the pure parts, writes what they made and says in one line what
happened and what to type next. Heavy libraries are imported inside the verb that needs them. No
number is computed here.
"""

from evalkit.cli.door import main, run, verbs

__all__ = ["main", "run", "verbs"]
