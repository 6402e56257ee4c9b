"""evalkit: a strong model as the judge between chatbots, with error bars that hold."""

__version__ = "0.1.0"
