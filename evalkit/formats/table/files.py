"""Tables as they lie on disk: CSV, JSON lines, Parquet.

Knows what a cell is, and no record: rows are dicts in a shape's own columns. Reads a row at a
time. Parquet takes pyarrow.
"""

import csv
import json
import math
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Literal

from evalkit import jsonl
from evalkit.csvfile import Sheet, numbered
from evalkit.errors import BadFile, Fault, Missing
from evalkit.escape import cell, from_cell
from evalkit.formats import Theirs, as_lines, first_row
from evalkit.formats.table.shape import Column, Kind, Shape

SHEETS = (".csv", ".tsv")
LINES = (".jsonl", ".ndjson", ".json")
PARQUET = ".parquet"
ENDINGS = (*SHEETS, *LINES, PARQUET)
BATCH = 1000  # rows of Parquet at once

Placed = tuple[str, dict[str, Any], int]
"""Where a row stands, the row, and how many half characters of it were replaced."""


class JsonRow(Theirs):
    """A row of JSON, whatever its columns."""


def columns(path: Path) -> list[str]:
    """The names of a file's columns; of JSON those of the first row."""
    match kind(path):
        case "parquet":
            return list(_parquet(path).schema_arrow.names)
        case "json":
            return list(first_row(path))
        case "csv":
            return Sheet(path, jsonl.text_lines(path)).columns


def rows(path: Path, shape: Shape, faults: list[Fault]) -> Iterator[Placed]:
    """The rows of a file; what cannot be read goes to `faults`."""
    read = {"parquet": _of_parquet, "json": _of_lines, "csv": _of_sheet}
    return read[kind(path)](path, shape, faults)


def kind(path: Path) -> Literal["parquet", "json", "csv"]:
    """What lies in a file, whatever it is called."""
    with jsonl.open_file(path) as stream:
        head = stream.read(1000)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(BOM_UTF8).lstrip()
    return "json" if text.startswith((b"{", b"[")) or not text else "csv"


def _of_lines(path: Path, shape: Shape, faults: list[Fault]) -> Iterator[Placed]:
    for where, row in jsonl.stream(path, JsonRow, faults):
        held = {name: value for name, value in row.besides().items() if value is not None}
        lacking = [Fault(where, what) for what in shape.lacks(held)]
        # A row without a score is one that could not be read.
        if lacking and not (shape.name == "reviews" and len(lacking) == 1 and "models" in held):
            faults.extend(lacking)
        else:
            yield where, held, row.repaired


# -- CSV


def _of_sheet(path: Path, shape: Shape, faults: list[Fault]) -> Iterator[Placed]:
    sheet = Sheet(path, jsonl.text_lines(path))
    for what in shape.lacks(sheet.columns):
        sheet.wrong(what)
    if not sheet.faults:
        lists = {
            column: numbered(sheet.columns, column.numbered)
            for column in shape.columns
            if column.numbered
        }
        for where, cells in sheet.rows():
            try:
                yield where, _row(shape, lists, cells), 0
            except ValueError as error:
                sheet.faults.append(Fault(where, str(error)))
    faults.extend(sheet.faults)


def _row(
    shape: Shape, lists: Mapping[Column, Sequence[str]], cells: Mapping[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column, names in lists.items():
        items = [cells[name] for name in names]
        if column.name != "answers":  # an empty answer is one; elsewhere it is no item
            while items and not items[-1]:
                items.pop()
        if items or (names and (column.name,) in shape.needed):
            row[column.name] = [_value(column, item) for item in items]
    of_lists = {name for names in lists.values() for name in names}
    for name, text in cells.items():
        if text and name not in of_lists:
            known = shape.column(name)
            row[name] = _value(known, text) if known else from_cell(text)
    return row


def _value(column: Column, text: str) -> Any:
    """What a cell holds, or one item of a list."""
    try:
        match column.kind:
            case "text" | "texts":
                return from_cell(text)
            case "whole":
                return int(text)
            case "number" | "numbers":
                if not math.isfinite(number := float(text)):
                    raise ValueError
                return number
            case "truth":
                return {"true": True, "false": False}[text.strip().lower()]
            case "object":
                return jsonl.parse(text.encode())
    except jsonl.Malformed as error:
        raise ValueError(f"'{column.name}' {error.what}") from error
    except (ValueError, KeyError) as error:
        what = f"'{column.name}' should be {_WORDS[column.kind]}, found '{text[:40]}'"
        raise ValueError(what) from error


_WORDS: dict[Kind, str] = {
    "whole": "a whole number",
    "number": "a number",
    "numbers": "numbers",
    "truth": "true or false",
}


def as_sheet(shape: Shape, rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV, with the columns that any row has; no spreadsheet takes a cell for a formula."""
    wide = {
        column: max((len(row[column.name]) for row in rows if column.name in row), default=0)
        for column in shape.columns
        if column.numbered
    }
    used = _used(shape, rows)
    stream = StringIO(newline="")
    writer = csv.writer(stream)
    header: list[str] = []
    for column in used:
        numbers = range(1, wide.get(column, 0) + 1)
        header += [f"{column.numbered}_{n}" for n in numbers] if column.numbered else [column.name]
    writer.writerow(header)
    for row in rows:
        cells: list[Any] = []
        for column in used:
            if column.numbered:
                items = row.get(column.name, [])
                cells += [*map(cell, items), *[""] * (wide[column] - len(items))]
            else:
                cells.append(_cell(column, row.get(column.name, "")))
        writer.writerow(cells)
    return stream.getvalue()


def _cell(column: Column, value: Any) -> Any:
    if value != "" and column.kind in ("truth", "object"):
        return json.dumps(value, ensure_ascii=False)
    return cell(value)


def _used(shape: Shape, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that any row has."""
    names = {name for row in rows for name in row}
    return [column for column in shape.columns if column.name in names]


# -- JSON lines


def as_json_lines(_: Shape, rows: Sequence[Mapping[str, Any]]) -> str:
    """One object a line."""
    return as_lines(rows)


# -- Parquet


def _arrow(what: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise Missing(f"{what} needs pyarrow: pip install 'evalkit[parquet]'") from error
    return pyarrow


def _parquet(path: Path) -> Any:
    arrow = _arrow(str(path))
    jsonl.open_file(path).close()
    try:
        return arrow.parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise BadFile([Fault(str(path), "not Parquet, or not whole")]) from error


def _of_parquet(path: Path, shape: Shape, faults: list[Fault]) -> Iterator[Placed]:
    arrow, file = _arrow(str(path)), _parquet(path)
    lacking = [Fault(str(path), what) for what in shape.lacks(file.schema_arrow.names)]
    faults.extend(lacking)
    number = 0
    try:
        for batch in () if lacking else file.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                where = f"{path}: row {number}"
                try:
                    yield where, _from_arrow(shape, row), 0
                except ValueError as error:
                    faults.append(Fault(where, str(error)))
    except (arrow.ArrowException, OSError) as error:
        raise BadFile([Fault(str(path), "not Parquet, or not whole")]) from error


def _from_arrow(shape: Shape, row: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in row.items():
        column = shape.column(name)
        if value is None:
            continue
        if column and column.kind == "object":
            found[name] = _value(column, value)
        elif column is None and not _is_json(value):
            raise ValueError(f"'{name}' holds what JSON has no word for: {type(value).__name__}")
        else:
            found[name] = value
    return found


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def as_parquet(shape: Shape, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Parquet, with the columns that any row has; objects as JSON text."""
    arrow = _arrow("Parquet")
    types = {
        "text": arrow.string(),
        "object": arrow.string(),
        "whole": arrow.int64(),
        "number": arrow.float64(),
        "truth": arrow.bool_(),
        "texts": arrow.list_(arrow.string()),
        "numbers": arrow.list_(arrow.float64()),
    }
    used = _used(shape, rows)
    texts = [column.name for column in used if column.kind == "object"]
    flat = [
        {
            **row,
            **{name: json.dumps(row[name], ensure_ascii=False) for name in texts if name in row},
        }
        for row in rows
    ]
    schema = arrow.schema([(column.name, types[column.kind]) for column in used])
    stream = BytesIO()
    arrow.parquet.write_table(arrow.Table.from_pylist(flat, schema=schema), stream)
    return stream.getvalue()
