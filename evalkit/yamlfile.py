"""YAML files that people write, read as strictly as rows are, every fault with its line.

Refused: a key that stands twice, aliases, a field that nothing reads, a name that YAML takes for
a number or for true or false. Runs nothing and knows no file by name.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from evalkit import jsonl
from evalkit.errors import BadFile, Fault

MOST = 1_000_000  # bytes

Model = TypeVar("Model", bound=BaseModel)
_yaml: Any = yaml  # its marks and nodes have two types, one of Python and one of libyaml
_Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there


class _Strict(_Fast):  # type: ignore[misc]
    """A loader that refuses a key that stands twice, as the reader of JSON rows does."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a day or a number that is none
            raise yaml.constructor.ConstructorError(
                problem=str(error), problem_mark=node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str) and key.tag != "tag:yaml.org,2002:merge":
                what = f'a key that is no text; write "{key.value}"'
                if not isinstance(key, yaml.ScalarNode):
                    what = "a key that is no text"
                raise yaml.constructor.ConstructorError(problem=what, problem_mark=key.start_mark)
            if name in seen:
                what = f"the key '{name}' stands twice"
                raise yaml.constructor.ConstructorError(problem=what, problem_mark=key.start_mark)
            seen.add(name)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def load(path: Path, model: type[Model]) -> Model:
    """Read a file. Raises BadFile with what is wrong and on which line."""
    text = jsonl.text(path)
    if len(text.encode()) > MOST:
        raise BadFile([Fault(str(path), f"more than {MOST // 1_000_000} MB")])
    try:
        _refuse_aliases(text)
        value: Any = yaml.load(text, Loader=_Strict)
        return model.model_validate({} if value is None else value)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadFile([Fault(f"{path}:{line}", f"not valid YAML: {error.problem}")]) from error
    except ValidationError as error:
        tree = yaml.compose(text, Loader=_Fast)
        faults = []
        for what, each in zip(jsonl.complaints(error, model), error.errors(), strict=True):
            line, node = _place(tree, each["loc"])
            if each["type"] == "string_type" and isinstance(node, yaml.ScalarNode) and node.value:
                what += f'; write "{node.value}"'
            faults.append(Fault(f"{path}:{line}", what))
        raise BadFile(faults) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"not valid YAML: {str(error).splitlines()[0]}"
        raise BadFile([Fault(str(path), what)]) from error


def key_lines(path: Path) -> dict[tuple[str, ...], int]:
    """The line of each key of a file that `load` has read, by the keys that lead to it."""
    found: dict[tuple[str, ...], int] = {}

    def walk(node: Any, here: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                found[*here, key.value] = key.start_mark.line + 1
                walk(value, (*here, key.value))

    walk(yaml.compose(jsonl.text(path), Loader=_Fast), ())
    return found


def _refuse_aliases(text: str) -> None:
    if "&" not in text and "*" not in text:
        return
    for event in yaml.parse(text, Loader=_Fast):
        if isinstance(event, yaml.AliasEvent):
            what = "an alias (*name); write the value out"
            raise _yaml.constructor.ConstructorError(problem=what, problem_mark=event.start_mark)


def _place(node: Any, path: Sequence[int | str]) -> tuple[int, Any]:
    """The line of what stands at a path of keys and positions, or of the nearest thing to it.

    And the node, where the path leads to one.
    """
    line: int = node.start_mark.line + 1 if node else 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                return line, None
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line, None
    return line, node
