"""The suites of the papers at a fraction of their size: made images in the places of the real lists, 20 classes."""

from __future__ import annotations

from pathlib import Path

import made_images
import pytest
import tiny

from ltbench import plan, runs, suite
from ltbench.errors import LtbenchError
from ltbench.record import Record

SUITES = {
    "imagenet_lt_resnet50": "imagenet_lt",
    "imagenet_lt_resnext50": "imagenet_lt",
    "inat18_resnet50": "inat18",
    "places_lt_resnet152": "places_lt",
    "imagenet_lt_swin": "imagenet_lt",
}
ROWS = ("ce", "ldam_drw", "crt", "bbn", "ride", "ride_ea")
# Two epochs in batches of 16 at 32x32, at a rate for so small a batch, in fp32, since CPUs emulate bf16. ResNet-50,
# ResNeXt-50 and Swin-T are those of the suites; ResNet-152 and its weights, which would have to be downloaded, make way
# for ResNet-10.
SMALL = ("recipe.epochs=2", "recipe.batch_size=16", "recipe.lr=1e-3", "recipe.image_size=32", "recipe.precision=fp32")
OTHER = {"places_lt_resnet152": ("backbone=resnet10",)}


@pytest.mark.parametrize("name", SUITES)
def test_without_the_data_the_plan_is_refused_and_names_what_to_get(name, tmp_path):
    with pytest.raises(LtbenchError) as caught:
        plan.make(suite.read(name, OTHER.get(name, ())), tmp_path)
    archives = {"imagenet_lt": "ILSVRC2012_img_train.tar", "inat18": "train_val2018.tar.gz", "places_lt": "places365"}
    message = str(caught.value)
    assert "_train.txt" in message and archives[SUITES[name]] in message and str(tmp_path) in message


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SUITES)
def test_a_suite_runs_two_epochs_on_made_images(name, lists, tmp_path, monkeypatch):
    made_images.tree(lists, SUITES[name], tmp_path / "data", most=5, tested=1)
    # ride_ea's own batches of 512 would be one a epoch, and cRT's 30 epochs of 200 are 5 of 2
    made = plan.make(suite.read(name, (*SMALL, *OTHER.get(name, ()))), tmp_path / "data")
    wanted = [next(row for row in made.rows if row.method == method) for method in ROWS]
    keys = made.chosen(made.asked([row.label for row in wanted], []))
    monkeypatch.setattr(made, "runs", keys)
    done = carried_out(made, tmp_path)
    for row in wanted:
        record = done[row.label]
        assert record.status == "complete", record.reason
        assert sum(record.total) == 20 and len(record.right) == 20
        assert len(record.history) == record.recipe["epochs"] >= 2
    assert {record.recipe["image_size"] for record in done.values()} == {32}
    if name == "imagenet_lt_swin":
        assert done["ce"].recipe["optimizer"] == "adamw" and done["ce"].recipe["mixup"] == 0.8
        (routers,) = (record for record in done.values() if record.method == "ride_ea")
        assert routers.recipe["optimizer"] == "sgd" and "mixup" not in routers.recipe


def carried_out(made: plan.Plan, folder: Path) -> dict[str, Record]:
    """label -> record of all runs of a plan; weights are dropped once no run needs them, for they are large."""
    where = tiny.settings(folder, folder / "data", workers=0)
    done: dict[str, Record] = {}
    left = list(made.runs.values())
    while left:
        spec = left.pop(0)
        done[spec.label] = runs.execute(spec, runs.parents_of(spec, made.runs), where, lambda event: None)
        needed = {parent.key for other in left for parent in other.parents.values()}
        for key, other in made.runs.items():
            if key not in needed and other.label in done:
                for file in where.folder(other).glob("*.safetensors"):
                    file.unlink()
    return done
