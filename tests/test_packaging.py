"""What is shipped, what may import what, and what must answer without torch."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import ltbench
from ltbench import registry

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = ("torch", "torchvision", "accelerate")
READING = (
    "tables", "footers", "columns", "writers", "schema", "published", "paired", "rescore", "scores", "student",
    "record", "planfile", "keys", "errors", "compare", "notebook", "reading", "decompose", "analysis",
    "analysis_writers",
)  # fmt: skip
BLIND = (
    "trainer",
    "evaluate",
    "runs",
    "machine",
    "jobs",
    "plan",
    "record",
    "planfile",
    "tables",
    "footers",
    "former",
    "plan_listing",
    "columns",
    "writers",
    "published",
    "scores",
    "blocks",
    "plots",
    "report",
    "svg",
    "figures/groups",
    "figures/lines",
    "figures/points",
    "figures/style",
    "figures/bias_variance",
    "analysis",
    "analysis_writers",
    "decompose",
)


# What is shipped


def test_the_package_list_is_the_folders() -> None:
    inner = (path.parent.relative_to(ROOT) for path in (ROOT / "ltbench").rglob("__init__.py"))
    folders = {".".join(folder.parts) for folder in inner} | {"ltbench.methods", "ltbench.suites"}
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert set(setuptools["packages"]) == folders
    for name, folder in setuptools["package-dir"].items():
        assert (ROOT / folder / "__init__.py").is_file(), name


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "ltbench" / "py.typed").is_file()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["ltbench"]


def test_one_version() -> None:
    assert PYPROJECT["project"]["version"] == ltbench.__version__


def test_every_public_name_is_there() -> None:
    for name in ltbench.__all__:
        assert getattr(ltbench, name) is not None


# What is imported


class Imports(ast.NodeVisitor):
    """The packages that a file imports when it runs, but Python's own and ltbench."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name.partition(".")[0] for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.found |= {(node.module or "").partition(".")[0]} if not node.level else set()


def plain(name: str) -> str:
    """A distribution's name as pip compares it."""
    return name.lower().replace("_", "-")


def test_what_is_imported_is_declared() -> None:
    """The environment of the tests has more than the dependencies, and so may what they bring with them."""
    imports = Imports()
    for folder in ("ltbench", "methods", "suites"):
        for path in (ROOT / folder).rglob("*.py"):
            imports.visit(ast.parse(path.read_text(encoding="utf-8")))
    homes = packages_distributions()
    declared = {plain(re.split(r"[<>=\[; ]", line)[0]) for line in PYPROJECT["project"]["dependencies"]}
    foreign = imports.found - set(sys.stdlib_module_names) - {"ltbench"}
    assert len(foreign) > 10
    assert not {name for name in foreign if not {plain(home) for home in homes[name]} & declared}


# What answers without torch

CALL = f"""
import sys
from ltbench.cli import main
for words in sys.argv[1:]:
    sys.argv = ["ltbench", *words.split()]
    try:
        main()
    except SystemExit as end:
        print([name for name in {HEAVY} if name in sys.modules], end.code)
"""
TOP_LEVEL = "data: {name: glyphs_lt}\nbackbone: resnet20\nrecipe: {epochs: 1}\nmethod: [ce]\n"


def called(folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Commands, one after another in one process: after each a line of the heavy modules loaded, and its exit code."""
    return subprocess.run(
        [sys.executable, "-c", CALL, *commands], cwd=folder, capture_output=True, text=True, check=True
    )


def test_the_import_brings_no_torch(tmp_path: Path) -> None:
    code = f"import sys, ltbench; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_python_m_ltbench(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ltbench", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "leaderboard" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_help_and_lists_bring_no_torch(tmp_path: Path) -> None:
    asked = ("--help", "run --help", "list suites", "list backbones", "list datasets", "data verify --help")
    done = called(tmp_path, *asked)
    assert done.stdout.count("[] 0\n") == len(asked), done.stderr


def test_verifying_files_brings_no_torch(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "data: {name: places_lt}\nbackbone: resnet20\nrecipe: {epochs: 1}\nmethods: [ce]\n"
    )
    done = called(tmp_path, f"data verify s.yaml --data {tmp_path}")
    assert "missing list: Places_LT_train.txt" in done.stdout and done.stdout.endswith("[] 2\n")


def test_the_table_brings_no_torch(tmp_path: Path) -> None:
    plan = """{"suite": "s", "baseline": "ce", "rows": [{"label": "ce", "method": "ce", "data": "d", "backbone": "b",
        "recipe": "r", "block": "x", "keys": {"0": "1a2b3c4d"}}]}"""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plan.json").write_text(plan, encoding="utf-8")
    formats = ("text", "md", "latex", "csv", "json", "html")
    done = called(tmp_path, *(f"table . --format {each}" for each in formats))
    shown = done.stdout.split("[] 0\n")
    assert len(shown) == 7 and all("ce" in each for each in shown[:6]), done.stderr
    done = called(tmp_path, "table . --only cee")
    assert done.stdout == "[] 2\n" and "did you mean 'ce'?" in done.stderr


def test_reading_commands_bring_no_torch(tmp_path: Path) -> None:
    for suite in ("bias_variance", "cifar100_lt"):
        shutil.copytree(ROOT / "results" / suite, tmp_path / "results" / suite)
    for path in (tmp_path / "results" / "bias_variance").glob("*.json"):
        few = path.name.partition("-")[0] in ("ce", "ldam_drw") and path.stem[-3:] in ("-s0", "-s1", "-s2")
        if path.name != "plan.json" and not few:
            path.unlink()  # bootstraps of all rows over all draws take their time, and import nothing else
    done = called(
        tmp_path,
        "analyze results",
        "compare lws ce results",
        "table results --adjust 1",
        "table results --metric macro_f1",
    )
    assert done.stdout.count("[] 0\n") == 4, done.stderr


def test_errors_of_yaml_and_of_top_level_keys_bring_no_torch(tmp_path: Path) -> None:
    messages = {
        TOP_LEVEL: "did you mean 'methods'?",
        "data: [\n": "bad1.yaml:2",
        "data: {}\ndata: {}\n": "bad2.yaml:2",
        "data: !!python/name:os.system\n": "bad3.yaml:1",
    }
    for number, text in enumerate(messages):
        (tmp_path / f"bad{number}.yaml").write_text(text, encoding="utf-8")
    done = called(tmp_path, *(f"{word} bad{number}.yaml" for word in ("run", "plan") for number in range(4)))
    assert done.stdout == 8 * "[] 2\n"
    assert all(done.stderr.count(message) == 2 for message in messages.values()), done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "whole.yaml").write_text(f"{TOP_LEVEL}methods: [ce]\n", encoding="utf-8")
    done = called(tmp_path, "data show whole.yaml", "show whole.yaml")
    assert done.stdout == 2 * "[] 2\n" and done.stderr.count("did you mean 'methods'?") == 2


# What may import what


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each import, wherever it stands; a relative module keeps its dots; "" for whole modules."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def ours(path: Path) -> set[str]:
    """The modules of ltbench that a module of its top folder imports, the first part of their names."""
    found = set()
    for module, name in imported(path):
        assert not module.startswith("ltbench"), f"{path.name} imports {module}: relative imports, please"
        if module.startswith("."):
            found.add(module[1:].partition(".")[0] or name)
    return found


def roots(path: Path) -> set[str]:
    """The top names of the packages that a module imports."""
    return {module.partition(".")[0] for module, _ in imported(path)} - {""}


METHODS = sorted(path for path in (ROOT / "methods").glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_imports_public_names_and_siblings_only(path: Path) -> None:
    siblings = {f".{sibling.stem}" for sibling in METHODS}
    for module, name in imported(path):
        if module.startswith("."):
            assert module in siblings, f"{module} is no sibling"
        elif module.partition(".")[0] == "ltbench":
            assert module == "ltbench" and name in ltbench.__all__, f"{module}.{name} is not public"


def test_tables_read_records_only() -> None:
    assert ours(ROOT / "ltbench/scores.py") <= {"record", "student", "errors"}
    assert ours(ROOT / "ltbench/paired.py") <= {"record", "student", "behrens_fisher", "errors"}
    assert ours(ROOT / "ltbench/behrens_fisher.py") <= {"student"}
    assert ours(ROOT / "ltbench/tables.py") <= {
        "record", "planfile", "former", "scores", "errors", "columns", "paired", "published", "rescore", "schema",
        "data",
    }  # fmt: skip
    assert ours(ROOT / "ltbench/writers.py") <= {"tables", "footers", "columns", "markup", "schema", "scores"}
    assert ours(ROOT / "ltbench/markup.py") == ours(ROOT / "ltbench/digits.py") == set()
    assert ours(ROOT / "ltbench/footers.py") <= {"paired", "schema", "scores", "data"}
    assert ours(ROOT / "ltbench/compare.py") <= {
        "record", "planfile", "scores", "errors", "paired", "student", "behrens_fisher", "digits", "footers",
    }  # fmt: skip
    assert ours(ROOT / "ltbench/decompose.py") <= {"student"}
    assert ours(ROOT / "ltbench/confusion.py") <= {"student"}
    assert ours(ROOT / "ltbench/analysis.py") <= {
        "record", "planfile", "scores", "rescore", "keys", "confusion", "decompose", "errors",
    }  # fmt: skip
    for name in READING:
        assert not roots(ROOT / f"ltbench/{name}.py") & set(HEAVY), name


@pytest.mark.parametrize("name", ["trainer", "step", "graph", "capturable", "optimizer", "averaging"])
def test_what_trains_knows_no_registry(name: str) -> None:
    parts = {"graph", "step", "capturable", "optimizer", "averaging", "mixing"}  # of the trainer
    assert ours(ROOT / f"ltbench/{name}.py") <= {"method", "recipe", "data", "errors"} | parts


@pytest.mark.parametrize("name", BLIND)
def test_no_method_is_known_by_name_or_by_class(name: str) -> None:
    nodes = list(ast.walk(tree(ROOT / f"ltbench/{name}.py")))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not texts & set(registry.available())
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "isinstance"):
            asked = ast.unparse(node.args[0])
            assert asked.rpartition(".")[2] not in ("method", "parent"), ast.unparse(node)
