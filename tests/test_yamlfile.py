"""YAML that people write: every fault with its line, and nothing that YAML can do but data."""

import pytest
from pydantic import BaseModel, ConfigDict

from evalkit.errors import BadFile, BadPath
from evalkit.yamlfile import MOST, load


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    size: int = 1


class Shop(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = ""
    items: list[Item] = []
    by_name: dict[str, Item] = {}


@pytest.fixture
def read(tmp_path):
    """Write a file, text or bytes, and read it as a Shop."""

    def command(content):
        raw = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / "shop.yaml"
        path.write_bytes(raw)
        return load(path, Shop)

    return command


@pytest.fixture
def refused(read, tmp_path):
    """Read what must be refused; what was said, by line."""

    def command(content):
        with pytest.raises(BadFile) as caught:
            read(content)
        said = caught.value.lines()
        assert all(line.startswith(f"{tmp_path / 'shop.yaml'}:") for line in said), said
        return [line.removeprefix(f"{tmp_path / 'shop.yaml'}:") for line in said]

    return command


# -- what is read


def test_a_file_becomes_its_model(read):
    shop = read("title: Tea\nitems:\n- {name: a}\n- name: b\n  size: 2\nby_name: {x: {name: y}}\n")
    assert shop == Shop(
        title="Tea",
        items=[Item(name="a"), Item(name="b", size=2)],
        by_name={"x": Item(name="y")},
    )


@pytest.mark.parametrize("content", ["", "\n\n", "# words\n", "---\n", "---\n...\n", "\ufeff"])
def test_an_empty_file_has_what_is_left_out(read, content):
    assert read(content) == Shop()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_byte_order_mark_and_crlf_change_nothing(read, refused, mark, end):
    text = "title: Tea\nitems:\n- name: |\n    two\n    lines\n"
    assert read(mark + text.replace("\n", end).encode()).items == [Item(name="two\nlines\n")]
    (said,) = refused(mark + f"{text}- size: x\n".replace("\n", end).encode())[1:]
    assert said.startswith("6: ")


def test_any_language_and_other_line_ends_inside_quotes(read):
    assert read('title: "茶 \\u2028 \U0001f375"\n').title == "茶 \u2028 \U0001f375"
    assert read("title: 'A *good* & cheap tea'\n").title == "A *good* & cheap tea"


def test_a_merge_is_no_way_around_a_field_that_nothing_reads(refused):
    assert refused("title: a\n<<: {colour: red}\n")


# -- faults with their lines


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("title: Tea\nitms: []\n", "2: unknown field 'itms'. Did you mean 'items'?"),
        ("\n\ntitle: 5\n", "3: 'title' should be a valid string, found a number"),
        ("title: no\n", "1: 'title' should be a valid string, found true or false"),
        ("title: 12:30:45\n", "1: 'title' should be a valid string, found a number"),
        ("title: 2026-11-01\n", "1: 'title' should be a valid string, found date"),
        ("title:\n", "1: 'title' should be a valid string, found null"),
        ("items:\n- name: a\n- name: b\n  size: x\n", "4: 'items.1.size' should be a valid intege"),
        ("items:\n- name: a\n- size: 2\n", "3: the field 'items.1.name' is missing"),
        ("items:\n- name: a\n-\n  nam: b\n", "the field 'items.1.name' is missing"),
        ("items: [{name: a},\n  {name: b, size: x}]\n", "2: 'items.1.size' should be a valid int"),
        ("by_name:\n  x:\n\n    name: 1\n", "4: 'by_name.x.name' should be a valid string"),
        ("by_name:\n  1.5: {name: a}\n", "2: "),
        ("by_name:\n  yes: {name: a}\n", "2: "),
        ("by_name:\n  7: {name: 1}\n", "2: "),
        ("title: a\ntitle: b\n", "2: not valid YAML: the key 'title' stands twice"),
        ("by_name:\n  x: {name: a}\n  y: {name: b}\n  x: {}\n", "4: not valid YAML: the key 'x'"),
        ("by_name: {x: {name: a,\n  name: b}}\n", "2: not valid YAML: the key 'name' stands twice"),
        ("title: &a x\nitems: *a\n", "2: not valid YAML: an alias (*name); write the value out"),
        ("title: a\n\tb: c\n", "2: not valid YAML: "),
        ("title: a\nitems: [1, 2\n", "3: not valid YAML: "),
        ("title: a\n---\ntitle: b\n", "2: not valid YAML: "),
        ("title: a\nby_name: {? [1] : {name: a}}\n", "2: not valid YAML"),
        ("title: a\n? {b: c}\n: d\n", "2: not valid YAML"),
        ("title: a\nitems: 2026-02-31\n", "2: not valid YAML"),
        ("title: a\nitems: 2026-02-03 25:00:00\n", "2: not valid YAML"),
        ("title: a\nby_name: !!int x\n", "2: not valid YAML"),
        ("title: a\nby_name: !!float x\n", "2: not valid YAML"),
        ("title: a\nitems: !!binary ä\n", "2: not valid YAML"),
    ],
)
def test_a_fault_is_told_with_its_line(refused, content, told):
    assert told in refused(content)[0]


def test_every_fault_at_once(refused):
    content = "titl: a\nitems:\n- name: 1\n- {}\nby_name:\n  x:\n    size: y\n"
    where = sorted(line.partition(":")[0] for line in refused(content))
    assert where == ["1", "3", "4", "6", "7"]


@pytest.mark.parametrize("content", ["5", "words", "[a]", "- a\n- b", "true"])
def test_what_is_no_mapping_is_told_without_the_words_of_python(refused, content):
    (said,) = refused(content)
    assert said.startswith("1: ")
    assert "Shop" not in said and "''" not in said


def test_not_utf8_and_utf16(refused):
    (said,) = refused(b"title: a\nitems: caf\xe9\n")
    assert said.startswith("2: not UTF-8 (byte 0xe9 at column 11). Try: iconv -f latin1 -t utf-8 ")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (said,) = refused("title: a\n".encode(encoding))
        assert said.startswith("1: is UTF-16, expected UTF-8. Try: iconv -f utf-16")


@pytest.mark.parametrize("what", ["nothing", "a folder"])
def test_no_file(tmp_path, what):
    path = tmp_path / "shop.yaml"
    if what == "a folder":
        path.mkdir()
    told = "is a folder, expected a file" if what == "a folder" else "no such file or directory"
    with pytest.raises(BadPath) as caught:
        load(path, Shop)
    assert caught.value.lines() == [f"{path}: {told}"]


# -- what YAML can do besides


def test_a_file_may_have_a_megabyte_and_no_more(read, refused):
    whole = "title: a\n"
    exact = whole + "#" * (MOST - len(whole))
    assert MOST == 1_000_000 and read(exact) == Shop(title="a")
    assert refused(exact + "#") == [" more than 1 MB"]
    assert refused(whole + "#" + "é" * (MOST // 2)) == [" more than 1 MB"]  # bytes, not signs
    assert refused(exact * 11) == [" more than 10 MB"]


def test_a_billion_laughs_are_refused(refused):
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    assert refused("\n".join(lines)) == ["2: not valid YAML: an alias (*name); write the value out"]


def test_a_merge_by_alias_and_a_loop_are_refused(refused):
    told = "not valid YAML: an alias (*name); write the value out"
    assert refused("by_name:\n  x: &x {name: a}\n  y:\n    <<: *x\n") == [f"4: {told}"]
    assert refused("items: &x\n- *x\n") == [f"2: {told}"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("size", [2_000, 900_000])
def test_deep_nesting_is_a_fault_and_no_crash(refused, opening, size):
    (said,) = refused(opening * (size // len(opening)))
    assert "not valid YAML: " in said


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:pathlib.Path.touch [PATH]",
        "!!python/object/apply:os.system ['touch PATH']",
        "!!python/object/new:pathlib.Path [PATH]",
        "!!python/tuple [a]",
        "!secret a",
    ],
)
def test_a_tag_runs_nothing(refused, tmp_path, tag):
    mark = tmp_path / "made"
    (said,) = refused(f"title: a\nitems: {tag.replace('PATH', str(mark))}\n")
    assert said.startswith("2: not valid YAML: could not determine a constructor for the tag")
    assert not mark.exists()


def test_nothing_is_filled_in_from_the_environment(read, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    assert read("title: $SECRET ${SECRET} {{SECRET}}\n").title == "$SECRET ${SECRET} {{SECRET}}"
