"""The tools that keep a bank good: looking at it, checking it, adding to it."""
