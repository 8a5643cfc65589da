"""The published schemas: of the types they are made of, and true of what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import make_records
import pytest
from make_records import make, row, write

from ltbench.tables import Options, load
from ltbench.writers import render

ROOT = Path(__file__).parent.parent
TABLE, RECORD = (json.loads((ROOT / "docs" / f"{name}.schema.json").read_text()) for name in ("table", "record"))


def valid(instance: object, schema: dict) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(instance)


def test_the_schemas_are_not_stale():
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "schema.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run `make schema` {done.stderr}"


@pytest.mark.parametrize(
    "options",
    [
        Options(), Options(metric="macro_f1", test_list="backward10"), Options(groups=(50, 50), baseline="bbn"),
        Options(adjust=(0.0, 1.0)),
    ],
)  # fmt: skip
def test_what_the_table_prints_is_as_the_schema_says(tmp_path, options):
    failed = [make("lws", s, status=status, reason="why") for s, status in enumerate(["failed", "oom", "diverged"])]
    rows, made = make_records.five()
    rows += [row(failed[i : i + 1], label=f"lws{i}") for i in range(3)]
    rows.append(row([make("ncm")], keys={}, skip="too small"))
    valid(json.loads(render(load(write(tmp_path, rows, [*made, *failed]), options), "json")), TABLE)


def test_the_committed_results_are_as_the_schemas_say():
    valid(json.loads(render(load(ROOT / "results"), "json")), TABLE)
    paths = [path for path in (ROOT / "results").glob("*/*.json") if path.name != "plan.json"]
    one_each = {(path.parent, path.name.partition("-")[0]): path for path in paths}  # of each method: all take long
    for path in one_each.values():
        valid(json.loads(path.read_text(encoding="utf-8")), RECORD)


@pytest.mark.parametrize(
    "change", [{"n": "3"}, {"verdict": "good"}, {"top1": {"mean": 1}}, {"status": "fine"}, {"best": 1}]
)
def test_what_is_not_as_the_schema_says_is_told(tmp_path, change):
    rows = json.loads(render(load(write(tmp_path, *make_records.five())), "json"))
    with pytest.raises(jsonschema.ValidationError):
        valid([rows[0] | change], TABLE)


@pytest.mark.parametrize(
    "change", [{"verdict": "good"}, {"status": "partial"}, {"history": [{"epoch": 0}]}, {"sha256": 1}]
)
def test_a_record_that_is_not_as_the_schema_says_is_told(change):
    path = next(path for path in (ROOT / "results").glob("*/*.json") if path.name != "plan.json")
    with pytest.raises(jsonschema.ValidationError):
        valid(json.loads(path.read_text(encoding="utf-8")) | change, RECORD)


def test_the_designs_example_names_fields_of_the_schema():
    # DESIGN section 7: users' scripts rely on these
    fields = TABLE["$defs"]["TableRow"]["properties"]
    promised = (
        "suite data backbone recipe method label seeds n status top1 many medium few ece gain params macs macs_used "
        "images_per_second reported"
    )
    assert set(promised.split()) <= set(fields)
    assert set(TABLE["$defs"]["Spread"]["required"]) == {"mean", "sd", "ci95"}
    assert {"baseline", "mean", "ci95"} <= set(TABLE["$defs"]["Gain"]["required"])
    assert {"top1", "source"} <= set(TABLE["$defs"]["Reported"]["required"])
