"""A JSON array is read as a stream, wherever its chunks end, as strictly as lines are."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from evalkit import jsonl
from evalkit.errors import BadFile


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.text(min_size=1), VALUES, max_size=4), max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("array") / "rows.json"


@given(ROWS, st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans())
def test_rows_are_the_same_wherever_a_chunk_ends(file, rows, chunk, indent, ascii_):
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_)
    file.write_text(text, "utf-8", "surrogatepass" if ascii_ else "replace")
    expected = json.loads(file.read_text("utf-8"))
    usual, jsonl.CHUNK = jsonl.CHUNK, chunk
    try:
        found = jsonl.records(file, Anything)
    finally:
        jsonl.CHUNK = usual
    assert [row.model_dump() for _, row in found.rows] == expected
    assert [where for where, _ in found.rows] == [f"{file}: item {n + 1}" for n in range(len(rows))]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1_000_000])
@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('[{"a": 1},\n {"a": oops}]', "2:8", "expecting value"),
        ('[{"a": 1}\n {"a": 2}]', "2:2", "expecting ',' or ']'"),
        ('[{"a": 1},\n]', "2:1", "expecting value"),
        ('[{"a": 1}', "1:10", "expecting ',' or ']'"),
        ('[{"a": 1}, {"b": "x', "1:18", "unterminated string"),
        ('[{"a": 1}]\n[]', "2:1", "extra data"),
        ('[{"a": 1},\n{"a": 1, "a": 2}]', "2:1", "the key 'a' stands twice"),
        ('[{"a": NaN}]', "1:2", "NaN is not a number"),
        (f'[{{"a": {"9" * 5000}}}]', "1:2", "too many digits"),
        (f'[{{"a": {"[" * 200 + "]" * 200}}}]', "1:2", "nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(tmp_path, monkeypatch, chunk, text, where, what):
    monkeypatch.setattr(jsonl, "CHUNK", chunk)
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(BadFile) as caught:
        jsonl.records(file, Anything)
    (fault,) = caught.value.faults
    assert fault.where == f"{file}:{where}"
    assert what in fault.what


@pytest.mark.parametrize("chunk", [1, 2, 5, 1_000_000])
def test_a_byte_that_is_no_utf8_is_told_with_its_line(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(jsonl, "CHUNK", chunk)
    file = tmp_path / "rows.json"
    file.write_bytes(b'[{"a": "\xc3\xa9"},\n{"a": "\xc3\xa9\xe9"}]')
    with pytest.raises(BadFile) as caught:
        jsonl.records(file, Anything)
    (fault,) = caught.value.faults
    assert fault.where == f"{file}:2"
    assert fault.what.startswith("not UTF-8 (byte 0xe9 at column 9)")


def test_an_array_on_one_line_takes_the_memory_of_a_row(tmp_path):
    """60 MB of items of 1 MB; what is asked of each is dropped again."""
    file = tmp_path / "rows.json"
    item = json.dumps({"a": "x" * 1_000_000})
    file.write_text(f"[{','.join([item] * 60)}]")

    class Short(BaseModel):
        a: str

        def model_post_init(self, _):
            object.__setattr__(self, "a", len(self.a))

    tracemalloc.start()
    try:
        found = jsonl.records(file, Short)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.rows) == 60
    assert most < 20_000_000


def test_an_item_past_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_ROW", 1000)
    monkeypatch.setattr(jsonl, "CHUNK", 100)
    file = tmp_path / "rows.json"
    file.write_text(f'[{{"a": 1}}, {{"a": "{"x" * 5000}"}}]')
    with pytest.raises(BadFile, match="a row of more than"):
        jsonl.records(file, Anything)
