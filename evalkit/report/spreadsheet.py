"""The pairs as CSV, one row each, with the columns of `report.results.Pair`."""

import csv
from io import StringIO

from evalkit.escape import cell
from evalkit.report.schema import Pair, Results


def spreadsheet(results: Results, *, raw: bool = False) -> str:
    """CSV text. Unless `raw`, text that a spreadsheet would run as a formula begins with '."""
    stream = StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(Pair.model_fields)
    for pair in results.pairs:
        values = pair.model_dump().values()
        writer.writerow(values if raw else map(cell, values))
    return stream.getvalue()
