"""kill -9 at random times and at every file operation of a save: a fresh process goes on, to the same bits.

Victims and heirs are processes of their own (warm.py, victims.py), which take leases and save after every step.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
import tiny
import warm

from ltbench import checkpoints, contract, doctor, labels, registry

KINDS = (
    "ce, ldam_drw, class_balanced, crt, lws, tau_norm, bbn, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"
)
SMALL = ("data.head=3", "recipe.batch_size=16")
NIGHTLY = int(os.environ.get("LTBENCH_KILLS", "500"))


def bits(folder: Path) -> dict[str, object]:
    """All that finished runs leave: records without their volatile part, bytes of weights and logits."""
    records = {path.name: json.loads(path.read_text()) for path in folder.glob("results/tiny/*-s*.json")}
    for body in records.values():
        assert body["status"] == "complete", body["reason"]
        del body["volatile"]
    return records | {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("runs/*/*.safetensors")}


def resumed(folder: Path) -> list[int]:
    """The steps at which the logs say that a run went on."""
    logs = (path.read_text() for path in sorted(folder.glob("runs/*/log.txt")))
    return [int(step) for text in logs for step in re.findall(r"resumed at step (\d+)", text)]


# At random times


class Campaign:
    """Suites of all kinds of methods, killed again and again until they are done."""

    def __init__(self, server: warm.Server, folder: Path, epochs: int) -> None:
        self.server, self.folder, self.dice = server, folder, random.Random(folder.name)
        self.sets = (*SMALL, f"recipe.epochs={epochs}")
        self.steps: list[int] = []  # of kills after which the run went on at a step above 0
        self.kills, self.suites = 0, 0
        begun = time.monotonic()
        self.expected = bits(self.one(0))
        self.seconds = time.monotonic() - begun

    def one(self, kills: int) -> Path:
        """Carry the suite out in a folder of its own, killed until the logs tell of so many resumptions."""
        folder = self.folder / f"suite-{self.suites}"
        folder.mkdir(parents=True)
        tiny.write(folder, KINDS)
        attempts = 0
        while len(resumed(folder)) < kills:
            victim = self.server.start(folder / "tiny.yaml", *self.sets)
            delay = self.dice.uniform(0.01, 0.09) * self.seconds
            time.sleep(delay)
            victim.kill()
            code = victim.wait()
            if code == 0:
                break
            assert code == -9, f"a victim ended with {code} after {delay:.2f} s"
            self.kills, attempts = self.kills + 1, attempts + 1
            assert attempts < 10 * (kills + 5), "killed too early ever to get on"
        else:
            assert self.server.start(folder / "tiny.yaml", *self.sets).wait() == 0
        self.suites += 1
        return folder

    def run(self, kills: int) -> None:
        """Until so many kills count; each suite must end in the same bits."""
        while len(self.steps) < kills:
            folder = self.one(kills - len(self.steps))
            found = resumed(folder)
            self.steps += [step for step in found if step > 0]
            assert len(found) == len([step for step in found if step > 0])
            got = bits(folder)
            differing = [name for name in self.expected if got.get(name) != self.expected[name]]
            assert not differing and len(got) == len(self.expected), f"{folder}: other bits: {differing}"
            print(self.told(), flush=True)

    def told(self) -> str:
        """The histogram of the steps."""
        counts = Counter(4 * (step // 4) for step in self.steps)
        bars = "  ".join(f"{first}-{first + 3}: {counts[first]}" for first in sorted(counts))
        return f"{self.kills} kills, {len(self.steps)} of them resumed in {self.suites - 1} suites, at steps {bars}"


@pytest.mark.parametrize(
    ("kills", "epochs"),
    [
        pytest.param(8, 2, marks=pytest.mark.slow),
        pytest.param(NIGHTLY, 4, marks=[pytest.mark.nightly, pytest.mark.timeout(7200)]),
    ],
)
def test_killed_at_random_times_every_kind_of_method_ends_in_the_same_bits(server, tmp_path, kills, epochs):
    campaign = Campaign(server, tmp_path / f"kills-{kills}", epochs)
    kinds = {path.name.partition("-")[0] for path in (tmp_path / f"kills-{kills}" / "suite-0" / "runs").iterdir()}
    assert len(kinds) == 9, kinds
    campaign.run(kills)
    assert len(campaign.steps) >= kills and len(set(campaign.steps)) > 3  # when they come is chance


# In every phase of a save

ONE_EPOCH = ("data.head=3", "recipe.epochs=1", "recipe.batch_size=16")
OWN = r"^\S+ (runs|results)/|^os\.(remove|rmdir) [a-z.]+$"  # the latter as rmtree names what lies in its folder
FOLDER = r"runs/ce-[0-9a-f]+-s0"
BEFORE = {  # what is under way -> the operation before which it is killed, counted from the one on the left of " then "
    "tensors are written": rf"open {FOLDER}/\.step-00000004\.\d+/tensors",
    "tensors are flushed": rf"os.chmod {FOLDER}/\.step-00000004\.\d+/tensors",
    "state is begun": rf"open {FOLDER}/\.step-00000004\.\d+/\.state",
    "state is written": rf"os.rename {FOLDER}/\.step-00000004\.\d+/\.state",
    "manifest is written": rf"os.rename {FOLDER}/\.step-00000004\.\d+/\.manifest",
    "checkpoint is whole": rf"os.rename {FOLDER}/\.step-00000004\.\d+$",
    "checkpoint is renamed": r"shutil.rmtree \S+/step-00000002",
    "older one is half gone": r"shutil.rmtree \S+/step-00000002 then os.remove state",
    "older one is nearly gone": r"os.rmdir \S+/step-00000002",
    "weights are written": rf"open {FOLDER}/weights",
    "logits are written": rf"os.chmod {FOLDER}/logits",
    "final manifest is written": rf"os.rename {FOLDER}/\.manifest",
    "record is written": r"os.rename results/tiny/\.ce",
    "record is renamed": r"shutil.rmtree \S+/step-00000006",
    "last checkpoint is half gone": r"shutil.rmtree \S+/step-00000006 then os.remove state",
    "lease is to be given back": rf"os.remove {FOLDER}/lease",
}


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """(what an uninterrupted run leaves, the file operations on its way)."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.write(folder, "ce")
    assert server.start(folder / "tiny.yaml", *ONE_EPOCH, trace=OWN).wait() == 0
    return bits(folder), (folder / "operations.txt").read_text().splitlines()


def place(operations: list[str], pattern: str) -> int:
    """The number, from 1, of the first operation of that pattern (or, after " then ", of the next one of that)."""
    at = 0
    for part in pattern.split(" then "):
        at = next(number for number, text in enumerate(operations, start=1) if number > at and re.match(part, text))
    return at


def killed_before(server, tmp_path, whole, number: int) -> list[int]:
    """Kill a run before that operation, let another process end it: the steps it went on at.

    What a kill leaves beside a record that is written, and stumps of small files, nobody needs: `ltbench doctor --fix`
    removes them.
    """
    expected, operations = whole
    tiny.write(tmp_path, "ce")
    assert server.start(tmp_path / "tiny.yaml", *ONE_EPOCH, trace=OWN, die_at=number).wait() == -9, operations[
        number - 1
    ]
    (run,) = tmp_path.glob("runs/*")
    key = next(iter(json.loads(next(run.glob("step-*/manifest.json"), run / "manifest.json").read_text()).values()))
    done, left = list(tmp_path.glob("results/tiny/ce-*.json")), checkpoints.load(run, key)
    assert done or left is None or not left[2], "what it can go on from is whole"
    assert server.start(tmp_path / "tiny.yaml", *ONE_EPOCH).wait() == 0
    assert bits(tmp_path) == expected, f"killed before {operations[number - 1]}"
    assert done or not [*tmp_path.rglob("*step-*"), *tmp_path.rglob("lease-*")]
    assert all(doctor.STUMP.fullmatch(path.name) for path in tmp_path.rglob(".*"))
    assert "damaged" not in (run / "log.txt").read_text()
    return resumed(tmp_path)


@pytest.mark.parametrize("phase", BEFORE)
def test_killed_in_each_phase_of_a_save_it_goes_on_from_the_last_whole_one(server, tmp_path, whole, phase):
    steps = killed_before(server, tmp_path, whole, place(whole[1], BEFORE[phase]))
    of_the_save = list(BEFORE).index(phase)
    if of_the_save < 9:
        assert steps == [3 if of_the_save < 6 else 4]
    else:
        assert steps == ([6] if of_the_save < 13 else []), "a run that has its record is not begun again"


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_killed_before_every_file_operation_from_the_third_save_on(server, tmp_path, whole):
    operations = whole[1]
    first = place(operations, rf"os.mkdir {FOLDER}/\.step-00000003")
    print(f"{len(operations) - first + 1} places")
    for number in range(first, len(operations) + 1):
        (tmp_path / str(number)).mkdir()
        killed_before(server, tmp_path / str(number), whole, number)


# At every step


@pytest.mark.parametrize(
    "label",
    [
        "ldam_drw",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in registry.available() if name != "ldam_drw"),
    ],
)
@pytest.mark.timeout(1200)
def test_stopped_at_every_one_of_24_steps(label):
    trials = contract.Trials(labels.parse(label))
    if trials.recipe.epochs == 0:
        pytest.skip("it trains nothing")
    trials.recipe = trials.recipe.with_(epochs=6, batch_size=16)
    counted = trials.fit(trials.fresh()).progress.step
    assert counted >= 24
    contract.resumed(trials)
