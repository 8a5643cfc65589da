"""The tutorial of CONTRIBUTING.md, carried out to the letter."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import warm

from ltbench import losses, registry

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a method")[2].partition("\n## ")[0]
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines()


@pytest.fixture(scope="module")
def printed(server: warm.Server, glyph_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """command -> what it printed, in processes that are forked (warm.py)."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    out = {}
    for command in COMMANDS:
        name, *words = shlex.split(command)
        done = server.run(*words, cwd=folder, COLUMNS="120", LTBENCH_DATA=str(glyph_cache))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        out[f"{name} {words[0]}"] = done.stdout
    return out


def test_the_tutorial_has_a_short_method_and_the_four_commands() -> None:
    assert list(FILES) == ["my_balanced.py", "mine.yaml"]
    assert len(FILES["my_balanced.py"].splitlines()) <= 25
    assert [command.split()[:2] for command in COMMANDS] == [["ltbench", w] for w in ("list", "check", "run", "table")]


def test_what_the_page_says_of_limits_and_targets_holds(own_registry: None, tmp_path: Path) -> None:
    """The line of the page, in the method of the page."""
    (option,) = re.findall(r"`(strength: Annotated\S+ \S+ = 1\.0)`", TEXT)
    imports = re.findall(r"`(from (?:typing|annotated_types) import \w+)`", TEXT)
    method = FILES["my_balanced.py"].replace("strength: float = 1.0", option)
    assert method != FILES["my_balanced.py"] and len(imports) == 2
    (tmp_path / "own.py").write_text("\n".join([*imports, method]), encoding="utf-8")
    registry.load_plugin(str(tmp_path / "own.py"))
    with pytest.raises(registry.OptionError, match="must be greater than or equal to 0, got -1"):
        registry.resolve("my_balanced", {"strength": -1.0})
    for target in (torch.tensor([0, 1]), torch.eye(2)):  # [B]; [B, C]
        assert losses.cross_entropy(torch.zeros(2, 2), target).ndim == 0


def test_the_method_is_listed(printed: dict[str, str]) -> None:
    assert re.search(r"^my_balanced +Softmax cross-entropy", printed["ltbench list"], re.MULTILINE)


def test_it_keeps_the_contract(printed: dict[str, str]) -> None:
    lines = printed["ltbench check"].splitlines()
    assert len(lines) >= 8
    assert all(line.startswith("ok ") for line in lines)


@pytest.mark.parametrize("command", ["ltbench run", "ltbench table"])
def test_it_has_its_row(printed: dict[str, str], command: str) -> None:
    assert re.search(r"^my_balanced +1 +\d+\.\d ", printed[command], re.MULTILINE)
    assert re.search(r"^ce +1 +\d+\.\d ", printed[command], re.MULTILINE)


def test_the_method_of_the_readme_stands_beside_the_committed_rows(
    server: warm.Server, cifar100: Path, tmp_path: Path
) -> None:
    """Its command, up to the training: the rows of the page are done, it is not."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Add a method")[2].partition("\n## ")[0]
    (method,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "own.py").write_text(method, encoding="utf-8")
    (tmp_path / "results").symlink_to(ROOT / "results")
    (command,) = re.findall(r"^ltbench (run .*)$", text, re.MULTILINE)
    words = command.replace("FILE", "own.py").replace("DIR", str(cifar100)).split()
    done = server.run(*words, "--only", "ride(experts=3)", "--dry-run", cwd=tmp_path, COLUMNS="120")
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"  +", line.rstrip()) for line in done.stdout.splitlines()[1:-1]]
    assert [row[:5] for row in rows] == [
        [label, str(seed), "200", "asked", status]
        for label, status in (("ride(experts=3)", "done"), ("my_balanced", "not done"))
        for seed in range(3)
    ]
