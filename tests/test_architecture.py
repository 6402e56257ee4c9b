"""The house keeps its shape: layers, no circles, and a README that tells the truth about it."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

# A module may import what stands on a lower floor, and nothing else of evalkit.
FLOORS = {
    8: {"cli"},
    7: {"vote"},
    6: {"questions", "report", "workspace", "runner", "providers", "evaluation", "until"},
    5: {"ledger", "formats", "stats", "catalog", "judge", "fleet", "classify"},
    4: {"prompts", "answer", "weights", "pace", "index"},
    3: {"batches", "checkpoint", "csvfile", "yamlfile", "keys", "parsers", "price", "skim"},
    2: {"jsonl", "chat", "torchfile", "shards", "rows", "wholefile"},
    1: {"records", "errors", "escape", "columns", "surrogates", "said", "alike"},
}
FACES = {"__init__", "__main__"}  # the package's own face and its door from `python -m`
CUPBOARDS = {"utils", "util", "common", "helpers", "misc", "base", "core", "manager", "handler"}


def modules(package):
    """Dotted name -> file, of every module in a package folder."""
    found = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(package):
    """Module -> the modules of the package that it imports, inside functions too."""
    known = modules(package)
    graph = {}
    for name, file in known.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative imports hide where they go"
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [t if t in known else node.module for t in targets]
            else:
                continue
            graph[name] |= {target for target in targets if target in known} - {name}
    return graph


def room(module):
    """`evalkit.stats.rates` -> `stats`: the room of the house that a module stands in."""
    return [*module.split("."), "__init__"][1]


def breaches(package):
    """Every way in which a package breaks the rules of the house, in words."""
    graph = imports(package)
    floor = {name: level for level, names in FLOORS.items() for name in names}
    found = []
    for module, targets in graph.items():
        here = room(module)
        if here in FACES:
            continue
        if here not in floor:
            found.append(f"{here} stands on no floor")
            continue
        for target in sorted(targets):
            there = room(target)
            if there not in FACES | {here} and floor.get(there, 99) >= floor[here]:
                found.append(f"{module} imports {target}, which is not below it")
    within = {m: {t for t in ts if room(t) not in FACES} for m, ts in graph.items()}
    try:
        list(TopologicalSorter(within).static_order())
    except CycleError as error:
        found.append(f"a circle: {' -> '.join(error.args[1])}")
    return found


def test_imports_go_down_only():
    assert breaches(ROOT / "evalkit") == []


@pytest.mark.parametrize(
    ("file", "planted", "told"),
    [
        ("records.py", "import evalkit.cli", "records imports evalkit.cli"),
        (
            "records.py",
            "def f():\n    from evalkit.stats import rates",
            "imports evalkit.stats.rates",
        ),
        ("ledger.py", "from evalkit import formats", "ledger imports evalkit.formats"),
        ("stats/battles.py", "from evalkit.stats import rates", "a circle"),
        ("surprise.py", "", "surprise stands on no floor"),
    ],
)
def test_a_planted_breach_is_found(tmp_path, file, planted, told):
    package = tmp_path / "evalkit"
    for source in modules(ROOT / "evalkit").values():
        copy = package / source.relative_to(ROOT / "evalkit")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text())
    with open(package / file, "a") as stream:
        stream.write(f"\n{planted}\n")
    assert any(told in breach for breach in breaches(package))


def test_no_room_is_a_cupboard():
    for name, file in modules(ROOT / "evalkit").items():
        words = set(name.lower().split("."))
        tree = ast.parse(file.read_text())
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        words |= {node.name.lower() for node in ast.walk(tree) if isinstance(node, defined)}
        assert not words & CUPBOARDS, name


def test_every_module_says_what_it_is_for():
    for name, file in modules(ROOT / "evalkit").items():
        assert ast.get_docstring(ast.parse(file.read_text())), name


def shown_tree():
    """The paths of the README's annotated tree."""
    block = re.search(r"<!-- tree -->\n+```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    paths, stack = set(), []
    for line in block[1].splitlines():
        if not line.strip():
            continue
        indent, name = re.match(r"( *)(\S+)", line).groups()
        stack = [*stack[: len(indent) // 2], name]
        paths.add("".join(stack).rstrip("/"))
    return paths


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True
    )
    if tracked.returncode:
        pytest.skip("this is no git checkout, so what belongs to the project cannot be told")
    files = [Path(line) for line in tracked.stdout.splitlines() if (ROOT / line).exists()]
    disk = {str(file) for file in files if file.suffix == ".py" and file.parts[0] == "evalkit"}
    disk = {file for file in disk if Path(file).name not in ("__init__.py", "__main__.py")}
    disk |= {file.parts[0] for file in files}
    disk |= {str(file.parent) for file in files if file.parts[0] in ("evalkit", "prompts")}
    disk |= {
        str(file) for file in files if file.parts[0] in ("questions", "prompts", ".github", ".ci")
    }
    unexplained = disk - shown_tree() - {".gitignore", "evalkit/report/templates/sections"}
    assert unexplained - {str(Path(p).parent) for p in shown_tree()} == set()
    assert [path for path in shown_tree() if not (ROOT / path).exists()] == []


def every_verb(group, path="evalkit"):
    """Every command by what one types, those of groups included."""
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            yield from every_verb(verb, f"{path} {name}")
        else:
            yield f"{path} {name}", verb


def test_every_verb_and_option_is_in_the_readme_or_its_help():
    from evalkit.cli import verbs

    readme = (ROOT / "README.md").read_text()
    found = dict(every_verb(verbs))
    assert len(found) > 5
    for name, verb in found.items():
        assert name in readme
        assert verb.help, name
        for option in verb.params:
            if option.param_type_name == "option":
                assert option.help, f"{name} {option.name} is not explained"


def test_every_format_is_in_the_readme_and_the_help():
    from evalkit import formats
    from evalkit.cli import verbs

    for name in formats.names():
        assert name in verbs.commands["import"].help
        assert f"evalkit import {name}" in (ROOT / "README.md").read_text()
    for name in formats.writers():
        assert name in verbs.commands["export"].help
        assert f"`{name}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "args", [[], ["--help"], ["report", "--help"], ["questions", "generate", "--help"]]
)
def test_help_imports_nothing_heavy(args):
    heavy = {
        "pandas",
        "numpy",
        "scipy",
        "matplotlib",
        "torch",
        "transformers",
        "openai",
        "aiohttp",
        "rich",
        "pydantic",
    }
    code = (
        "import sys; from evalkit.cli import run; code = run(sys.argv[1:]);"
        f"print(sorted(set(sys.modules) & {heavy!r}), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.stderr == "[] 0\n"
    assert done.stdout
