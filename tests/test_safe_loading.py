"""Nothing that is read can run code, leave its folder, or depend on where and when it is read."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import calls
import make_records
import numpy as np
import pytest
import tiny
import torch

from ltbench import checkpoints, planfile, record, strict_yaml, suite
from ltbench.data import cifar, glyphs
from ltbench.errors import LtbenchError
from ltbench.trainer import Progress

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "ltbench").rglob("*.py"), *(ROOT / "methods").glob("*.py")])


class Hostile:
    """A pickle that writes a file as soon as it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.canary}",))


@pytest.fixture
def canary(tmp_path):
    """Where a hostile file would leave its mark; the mark is looked for at the end."""
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Hostile(path)))
    assert path.exists(), "the trap works"
    path.unlink()
    yield path
    assert not path.exists(), "the hostile code has run"


def payload(canary: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"data": Hostile(canary), "labels": [0]}, protocol=protocol)


# Pickles: the official CIFAR files alone, and only once their md5 is known to be theirs

CIFAR = {
    10: ("cifar-10-batches-py", ("data_batch_1", "data_batch_5", "test_batch", "batches.meta")),
    100: ("cifar-100-python", ("train", "test", "meta")),
}


@pytest.fixture
def official(tmp_path, monkeypatch):
    """CIFAR's folders with small files that count as official, since their md5 does."""
    import torchvision.datasets.cifar as reader

    for classes, cls in ((10, reader.CIFAR10), (100, reader.CIFAR100)):
        folder, kind = tmp_path / CIFAR[classes][0], "labels" if classes == 10 else "fine_labels"
        folder.mkdir()
        lists = {}
        for part in ("train_list", "test_list"):
            lists[part] = []
            for name, _ in getattr(cls, part):
                body = {"data": np.zeros((2, 3072), dtype=np.uint8), kind: [0, 1]}
                (folder / name).write_bytes(pickle.dumps(body, protocol=2))
                lists[part].append([name, md5(folder / name)])
        names = {cls.meta["key"]: [str(number) for number in range(classes)]}
        (folder / cls.meta["filename"]).write_bytes(pickle.dumps(names, protocol=2))
        monkeypatch.setattr(cls, "train_list", lists["train_list"])
        monkeypatch.setattr(cls, "test_list", lists["test_list"])
        monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(folder / cls.meta["filename"])})
        assert len(cifar.load(tmp_path, classes).classes) == classes, "it is read as it is"
    return tmp_path


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("classes", "name"), [(classes, name) for classes in CIFAR for name in CIFAR[classes][1]])
def test_a_file_in_place_of_an_official_one_is_named_and_never_unpickled(official, canary, classes, name):
    (official / CIFAR[classes][0] / name).write_bytes(payload(canary))
    with pytest.raises(LtbenchError, match=f"of another md5 than the official file's: {name}\n"):
        cifar.load(official, classes)


def test_an_absent_official_file_is_named(official):
    (official / "cifar-100-python" / "meta").unlink()
    with pytest.raises(LtbenchError, match="absent: meta\n"):
        cifar.load(official, 100)


@pytest.mark.parametrize("name", [checkpoints.TENSORS, checkpoints.STATE, checkpoints.MANIFEST, "weights.safetensors"])
@pytest.mark.parametrize("protocol", [0, 5])
def test_a_pickle_in_place_of_a_runs_file_is_refused_though_its_hash_is_right(tmp_path, canary, name, protocol):
    run, key = tmp_path / "run", "a" * 64
    place = checkpoints.save(run, key, Progress(step=1), {"x": torch.ones(2)})
    checkpoints.save_final(run, key, {"weights": {"x": torch.ones(2)}})
    place = run if name.startswith("weights") else place
    (place / name).write_bytes(payload(canary, protocol))
    if name != checkpoints.MANIFEST:
        manifest = json.loads((place / "manifest.json").read_text())
        manifest["sha256"][name] = hashlib.sha256((place / name).read_bytes()).hexdigest()
        (place / "manifest.json").write_text(json.dumps(manifest))
    if place == run:
        assert checkpoints.load_final(run, key, "weights") is None
    else:
        assert checkpoints.load(run, key)[1] == {}


@pytest.mark.parametrize("content", ["pickle", "array of objects"])
def test_a_pickle_in_place_of_the_drawn_characters_is_not_read(tmp_path, canary, monkeypatch, glyph_cache, content):
    (there,) = (glyph_cache / glyphs.NAME).glob("*.npz")
    folder = tmp_path / glyphs.NAME
    folder.mkdir()
    if content == "pickle":
        (folder / "x").write_bytes(payload(canary))
    else:
        with open(folder / "x", "wb") as file:
            np.savez(file, train_image=np.array([Hostile(canary)], dtype=object))
    digest = hashlib.sha256((folder / "x").read_bytes()).hexdigest()
    (folder / "x").rename(folder / f"{there.stem.rsplit('-', 1)[0]}-{digest}.npz")  # under a name that fits
    assert glyphs._read(folder) is None


@pytest.mark.parametrize("name", ["ce-{key}-s0.json", "plan.json"])
def test_a_pickle_in_place_of_a_record_or_plan_is_refused(tmp_path, canary, capsys, name):
    made = make_records.make()
    folder = make_records.write(tmp_path, [make_records.row([made])], [made])
    path = folder / name.format(key=made.key[:8])
    path.write_bytes(payload(canary))
    done = calls.ltbench(capsys, "table", folder)
    assert done.code in (1, 2) and str(path) in done.err and done.err.count("\n") == 1


def test_a_pickle_in_place_of_a_suite_is_refused(tmp_path, canary, capsys):
    (tmp_path / "s.yaml").write_bytes(payload(canary))
    done = calls.ltbench(capsys, "run", tmp_path / "s.yaml")
    assert done.code == 2 and done.err.count("\n") == 1


# YAML; what is large or deep is in test_strict_yaml.py

TAGS = (
    "!!python/object/apply:os.system ['touch CANARY']", "!!python/object/new:os.system ['touch CANARY']",
    "!!python/name:os.system", "!!python/module:os", "!!python/tuple [1]", "!!binary aGk=", "!!set {a}", "!own x",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch CANARY']", "!!timestamp 2001-01-01", "&a [1]",
    "{<<: {b: 1}}",
)  # fmt: skip


@pytest.mark.parametrize("value", TAGS)
def test_tags_and_anchors_are_refused_wherever_they_stand(tmp_path, canary, value):
    value = value.replace("CANARY", str(canary))
    for text in (f"a: {value}", f"- {value}", f"a: {{b: [{value}]}}", f"{value}"):
        with calls.no_hang(), pytest.raises(LtbenchError):
            strict_yaml.parse(text, "s.yaml")
    with pytest.raises(LtbenchError):
        suite.read("quick", [f"seeds={value}"])


# Names

STEMS = (
    "..", ".", "-x", ".hidden", "a b", "a\nb", "a\\b", "a ", "prüfung", "x" * 65, "$HOME", "*", "~", "a:b", "a;b",
    "a\tb", "\u202egnp", "a|b", "'", "e\u0301",
)  # fmt: skip


@pytest.mark.parametrize("stem", STEMS)
def test_a_suite_whose_name_is_no_plain_folder_name_is_refused(tmp_path, capsys, stem):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / f"{stem}.yaml"
    path.write_text(tiny.SUITE.replace("METHODS", "ce"))
    before = calls.tree(tmp_path)
    done = calls.ltbench(capsys, "run", path, "--results", folder / "r", "--runs", folder / "u", "--dry-run")
    assert done.code == 2 and "names its folder of results" in done.err and done.err.count("\n") == 1, done.err
    assert calls.tree(tmp_path) == before


def test_the_names_of_all_shipped_suites_are_plain():
    assert all(suite.NAME.fullmatch(name) for name in suite.shipped())


ELSEWHERE = "../../elsewhere"
WORDS = (
    ("--only", ELSEWHERE), ("--only", "/etc/passwd"), ("--only", f"ce({ELSEWHERE})"), ("--only", "ce\0"),
    ("--set", f"data.name={ELSEWHERE}"), ("--set", f"backbone={ELSEWHERE}"), ("--set", f"methods=['{ELSEWHERE}']"),
    ("--set", f"data.root={ELSEWHERE}"), ("--set", f"{ELSEWHERE}=1"), ("--set", f"name={ELSEWHERE}"),
    ("--set", f"methods=[ce: {{head: {ELSEWHERE}}}]"), ("--seeds", ELSEWHERE), ("--device", ELSEWHERE),
    ("--precision", ELSEWHERE), ("--plugin", ELSEWHERE), ("--plugin", f"{ELSEWHERE}.py"),
)  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_no_word_of_the_command_line_leads_elsewhere(tmp_path, glyph_cache, capsys, words):
    folder = tmp_path / "one" / "two" / "three"
    folder.mkdir(parents=True)
    tiny.write(folder, "ce")
    before = calls.tree(tmp_path)
    where = ["--data", glyph_cache, "--results", folder / "r", "--runs", folder / "u"]
    done = calls.ltbench(capsys, "run", folder / "tiny.yaml", *where, *words)
    assert done.code == 2 and "Traceback" not in done.err and done.err, words
    assert calls.tree(tmp_path) == before


def sealed(made: record.Record, folder: Path, name: str, **changes: object) -> Path:
    """A record with values that no run gives, and a hash that fits them."""
    from ltbench.keys import digest

    body = json.loads(record.write(made, folder).read_text()) | changes
    fixed = {key: value for key, value in body.items() if key not in ("volatile", "sha256")}
    (folder / name).write_text(json.dumps({**body, "sha256": digest(fixed)}))
    return folder / name


@pytest.mark.parametrize(
    "changes",
    [{"method": ELSEWHERE}, {"suite": ELSEWHERE}, {"key": ELSEWHERE}, {"label": ELSEWHERE}, {"backbone": ELSEWHERE}],
)
def test_no_record_or_plan_leads_elsewhere(tmp_path, capsys, changes):
    folder, made = tmp_path / "one" / "two", make_records.make()
    inner = make_records.write(folder, [make_records.row([made], keys={"0": ELSEWHERE, "1": made.key})], [made])
    sealed(make_records.make("bbn"), inner, "bbn-00000000-s0.json", **changes)
    plan = planfile.read(inner)
    planfile.write(plan.model_copy(update={"suite": ELSEWHERE, "baseline": ELSEWHERE}), inner)
    before = calls.tree(tmp_path)
    for words in (
        ["table", folder],
        ["table", folder, "--format", "csv"],
        ["doctor", folder, "--runs", folder / "runs"],
    ):
        done = calls.ltbench(capsys, *words)
        assert done.code in (0, 1) and "Traceback" not in done.err
    assert calls.tree(tmp_path) == before
    calls.ltbench(capsys, "doctor", folder, "--runs", folder / "runs", "--fix")
    outside = {path for path in calls.tree(tmp_path) if not path.startswith(str(inner))}
    assert outside == {path for path in before if not path.startswith(str(inner))}


# Clocks, zones, languages


def table(folder: Path, *words: str, **env: str) -> bytes:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    clean |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-m", "ltbench", "table", str(folder), *words], capture_output=True, env=clean | env
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_table_is_the_same_bytes_under_any_locale_and_zone(tmp_path):
    made = make_records.make(status="failed", reason="Grüße aus Straßburg ±")
    folder, out = make_records.write(tmp_path, [make_records.row([made])], [made]), tmp_path / "out.json"
    written = []
    for env in ({"LC_ALL": "C.UTF-8"}, ASCII, {"LC_ALL": "POSIX"}, {"TZ": "Asia/Kathmandu"}):
        table(folder, "--format", "json", "--out", str(out), **env)
        written.append(out.read_bytes())
    assert len(set(written)) == 1 and "Straßburg ±".encode() in written[0]
    assert b"failed" in table(folder, **ASCII)


def called(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func), {word.arg: word.value for word in node.keywords}


UNSAFE = (
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle",
    "marshal",
    "shelve",
    "yaml.load",
    "torch.load",
    "os.system",
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_loads_safely_writes_utf_8_and_asks_no_clock_that_jumps(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node, name, words in called(tree):
        place = f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        assert name not in UNSAFE and not name.startswith(("pickle.", "marshal.", "shelve.", "subprocess.call")), place
        if name == "np.load":
            assert ast.unparse(words["allow_pickle"]) == "False", place
        if name.endswith((".read_text", ".write_text")) and name != "package.read_text":  # of importlib.metadata: UTF-8
            assert "encoding" in words, place
        if name in ("open", "os.fdopen") and "b" not in "".join(ast.unparse(arg) for arg in node.args[1:2]):
            assert "encoding" in words, place
        if name in ("datetime.now", "datetime.datetime.now"):
            assert [ast.unparse(arg) for arg in node.args] == ["UTC"], place
        assert "utcnow" not in name and "fromtimestamp" not in name, place
        # only who looks on compares with times that the file system gave; who takes a run over never does
        assert name not in ("time.time", "time") or path.name in ("doctor.py", "leases.py"), place


# A reader that goes away


QUICK = ("--help", "table {0}", "table {0} --format csv", "table {0} --format md", "list suites", "list datasets")
SLOW = (
    "list methods", "list backbones", "show ride", "show quick", "data show quick", "plan quick", "run quick --dry-run",
    "check ce", "doctor {0}",
)  # fmt: skip


@pytest.mark.parametrize("words", [*QUICK, *(pytest.param(words, marks=pytest.mark.slow) for words in SLOW)])
def test_a_reader_that_goes_away_hears_nothing(tmp_path, words):
    folder = make_records.write(tmp_path, *make_records.five())
    command = f"{sys.executable} -m ltbench {words.format(folder)}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1 >/dev/null"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wheel_of_old_files_is_no_reason_to_leave_the_folder(tmp_path):
    """A run's folder that is a link is followed nowhere by the tidying up after a checkpoint."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    checkpoints.save(run, "k", Progress(step=1), {"x": torch.ones(1)})
    (run / "step-00000000").symlink_to(outside)
    (run / ".step-00000009.1").symlink_to(outside)
    for step in (2, 3, 4):
        checkpoints.save(run, "k", Progress(step=step), {"x": torch.ones(1)})
    checkpoints.drop_checkpoints(run)
    assert (outside / "kept").exists()
    shutil.rmtree(run)
