"""Backbones that start from weights: a file's, or those that timm has pretrained."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import timm.models._builder
import tiny
import torch
from safetensors.torch import save_file

from ltbench import backbones, outcome, outline, plan, record, suite
from ltbench.backbones import BackboneSpec
from ltbench.errors import LtbenchError
from ltbench.keys import digest

ATTO = "timm/convnext_atto"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    """The same weights of a ConvNeXt, with a classifier, as safetensors and as torch's; and broken ones."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    state = timm.create_model("convnext_atto", num_classes=10).state_dict()
    save_file(state, folder / "atto.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "atto.pt")
    renamed = {key.replace("stem.0.weight", "patch.weight"): value for key, value in state.items()}
    save_file(renamed | {"stem.1.bias": torch.zeros(3)}, folder / "renamed.safetensors")
    (folder / "text.pt").write_text("no weights")
    torch.save({"state_dict": Stranger()}, folder / "pickle.pt")
    return folder


class Stranger:
    """What a file of weights must not make."""


def spec(path) -> BackboneSpec:
    return backbones.resolve(BackboneSpec(ATTO, weights=str(path)))


def test_a_file_is_taken_whatever_its_format_and_its_classifier_is_left(files):
    torch.manual_seed(7)
    theirs = timm.create_model("convnext_atto", num_classes=10).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        feature = theirs.forward_head(theirs.forward_features(image), pre_logits=True)
        for name in ("atto.safetensors", "atto.pt"):
            assert torch.equal(backbones.build(spec(files / name), 32).eval()(image), feature)


def test_branches_are_copies_of_the_weights_that_were_loaded(files):
    net = backbones.build(spec(files / "atto.safetensors"), 32).eval()
    trunk, branches, _ = net.split(2)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for branch in branches:
            assert torch.equal(branch.eval()(trunk.eval()(image)), net(image))
    owners = [{p.data_ptr() for p in part.parameters()} for part in (trunk, *branches)]
    assert len(set.union(*owners)) == sum(map(len, owners))
    with torch.device("meta"):  # as the plan asks
        resnet = backbones.build(BackboneSpec("resnet50", weights="pretrained", origin="timm/resnet50.tv_in1k"), 32)
        with pytest.raises(ValueError, match=r"weights do not fit narrower stages: set width: 1, got 0\.75"):
            resnet.split(2, width=0.75)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "renamed.safetensors",
            "renamed.safetensors does not fit this backbone: 1 missing (stem.0.weight); 1 unexpected (patch.weight); "
            "1 of another shape (stem.1.bias [3], not [40])",
        ),
        ("text.pt", "text.pt: cannot be read as weights: "),
        ("pickle.pt", "pickle.pt: cannot be read as weights: "),
    ],
)
def test_a_file_that_does_not_fit_is_told_before_anything_runs(files, name, said):
    with pytest.raises(ValueError) as caught:
        outline.check(spec(files / name), 32)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_changes_after_the_plan_is_noticed(files, tmp_path):
    copy = tmp_path / "w.safetensors"
    copy.write_bytes((files / "atto.safetensors").read_bytes())
    planned = spec(copy)
    copy.write_bytes((files / "renamed.safetensors").read_bytes())
    with pytest.raises(ValueError, match="has changed since the plan was made"):
        backbones.build(planned, 32)


def test_position_tables_are_resized_to_the_problems_images(tmp_path):
    name = "vit_tiny_patch16_224"
    state = timm.create_model(name, num_classes=0, img_size=64).state_dict()
    save_file(state, tmp_path / "vit.safetensors")
    net = backbones.build(
        backbones.resolve(BackboneSpec(f"timm/{name}", weights=str(tmp_path / "vit.safetensors"))), 32
    )
    assert net.stages[0][0].net.pos_embed.shape == (1, 5, 192)
    assert torch.equal(net.stages[0][0].net.cls_token, state["cls_token"])


# Pretrained


def test_pretrained_weights_are_named_by_timm_and_fetched_when_a_run_begins_alone(monkeypatch):
    fetched = []
    monkeypatch.setattr(timm.models._builder, "load_pretrained", lambda net, **how: fetched.append(how))
    net = backbones.resolve(BackboneSpec(ATTO, weights="pretrained"))
    assert net.origin == "timm/convnext_atto.d2_in1k"
    assert backbones.resolve(BackboneSpec("resnet50", weights="pretrained")).origin == "timm/resnet50.tv_in1k"
    tagged = backbones.resolve(BackboneSpec("timm/resnet50.a1_in1k", weights="pretrained"))
    assert tagged.origin == "timm/resnet50.a1_in1k"
    outline.check(net, 32)
    assert not fetched
    backbones.build(net, 32)
    assert [how["pretrained_cfg"]["tag"] for how in fetched] == ["d2_in1k"]


def test_pretrained_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route to host\nand much else")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", offline)
    with pytest.raises(
        ValueError, match=r"^the pretrained weights timm/convnext_atto\.d2_in1k cannot be had: Conn.*host$"
    ):
        backbones.build(backbones.resolve(BackboneSpec(ATTO, weights="pretrained")), 32)


# In a suite


def made(folder, data, backbone: str, methods: str = "ce") -> plan.Plan:
    path = tiny.write(folder, methods)
    path.write_text(path.read_text().replace("backbone: resnet8", f"backbone: {backbone}"))
    return plan.make(suite.read(str(path)), data)


def test_rows_with_outside_data_never_share_a_block_with_rows_without(tmp_path, glyph_cache, files):
    renamed = tmp_path / "elsewhere" / "atto.safetensors"
    renamed.parent.mkdir()
    torch.manual_seed(8)
    save_file(timm.create_model("convnext_atto", num_classes=0).state_dict(), renamed)
    blocks, keys = {}, {}
    for text in (
        ATTO,
        f"{{{ATTO}: {{weights: pretrained}}}}",
        f"{{{ATTO}: {{weights: {files / 'atto.safetensors'}}}}}",
        f"{{{ATTO}: {{weights: {renamed}}}}}",
        f"{{{ATTO}: {{drop_path: 0.1}}}}",
    ):
        planned = made(tmp_path, glyph_cache, text)
        (row,), (run,) = planned.rows, planned.runs.values()
        blocks[text], keys[text] = row.block, run.key
        assert row.backbone == run.identity.backbone == run.backbone
    assert len(set(blocks.values())) == len(set(keys.values())) == 5
    both = made(tmp_path, glyph_cache, f"[{ATTO}, {{{ATTO}: {{weights: pretrained, drop_path: 0.1}}}}]")
    assert [row.backbone for row in both.rows] == [ATTO, f"{ATTO}(drop_path=0.1, weights=pretrained)"]


def test_where_a_file_of_weights_lies_does_not_change_the_key(tmp_path, glyph_cache, files):
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "atto.safetensors"
    copy.write_bytes((files / copy.name).read_bytes())
    one, other = (made(tmp_path, glyph_cache, f"{{{ATTO}: {{weights: {path}}}}}") for path in (files / copy.name, copy))
    assert list(one.runs) == list(other.runs)
    assert one.rows[0].backbone == f"{ATTO}(weights=atto.safetensors)"


def test_a_run_from_weights_says_in_its_record_which(tmp_path, glyph_cache, files):
    planned = made(tmp_path, glyph_cache, f"{{{ATTO}: {{weights: {files / 'atto.safetensors'}}}}}", "ride: {width: 1}")
    (run,) = planned.runs.values()
    written = record.read(record.write(outcome.describe(run), tmp_path / "out"))
    assert written.weights == run.net.origin and len(written.weights) == 64
    assert "weights" in written.fixed()


def test_a_record_from_scratch_has_the_fields_and_the_hash_that_it_always_had(tmp_path, glyph_cache):
    (run,) = tiny.make(tmp_path, glyph_cache, "ce").runs.values()
    assert "weights" not in outcome.describe(run).fixed()
    committed = sorted((Path(__file__).parent.parent / "results").glob("*/*-s0.json"))[:3]
    assert committed
    for path in committed:
        before = record.read(path)  # its key and its hash come out again
        fixed = before.fixed()
        assert record.read(record.write(before, tmp_path / "again")).fixed() == fixed
        assert digest(fixed) in path.read_text()


@pytest.mark.parametrize(
    ("backbone", "methods", "said"),
    [
        (
            ATTO,
            "ce, ride",
            f"tiny.yaml:5: methods[1]: ride(experts=3) on {ATTO}: a ConvNeXt is split at full width o",
        ),
        (
            "timm/mobilenetv3_small_050",
            "bbn",
            "methods[0]: bbn on timm/mobilenetv3_small_050: timm/mobilenetv3_small_050",
        ),
        (
            "resnet8",
            "ride: {width: 0.001}",
            "methods[0]: ride(experts=3, width=0.001) on resnet8: width 0.001 leaves",
        ),
        (
            "resnet8",
            "ride_distill: {teacher: {ride: {width: 0.01}}}",
            "ride(experts=3, width=0.01) on resnet8: width 0",
        ),
        (
            "timm/convnext_ato",
            "ce",
            "tiny.yaml:2: backbone: unknown timm model 'convnext_ato'; did you mean",
        ),
        (
            "[resnet8, {timm/vgg11: {drop_path: 0.1}}]",
            "ce",
            "backbone[1]: timm/vgg11(drop_path=0.1) for images of 32x32: ",
        ),
        ("[resnet8, resnet8]", "ce", "tiny.yaml:2: backbone[1]: resnet8 stands there twice"),
        ("{resnet8: {weights: w.pt}}", "ce", "tiny.yaml:2: backbone: resnet8 is trained from scratch"),
        ("{resnet10: {weight: w.pt}}", "ce", "backbone.resnet10.weight: unknown key 'weight'; did you mean 'weights'?"),
        ("{resnet10: {drop_path: 1}}", "ce", "backbone.resnet10.drop_path: must be less than 1, got 1"),
        ("{resnet10: {weights: 3}}", "ce", "backbone.resnet10.weights: must be a string, got 3"),
        (
            "{resnet10: [weights]}",
            "ce",
            "backbone.resnet10: the options of resnet10 must be a mapping, got",
        ),
        ("{resnet10: {}, resnet8: {}}", "ce", "backbone: a backbone is a name, or one name with its options"),
        ("3", "ce", "tiny.yaml:2: backbone: a backbone is a name, or one name with its options, got 3"),
    ],
)
def test_a_backbone_that_does_not_do_is_told_when_the_suite_is_planned(tmp_path, glyph_cache, backbone, methods, said):
    with pytest.raises(LtbenchError) as caught:
        made(tmp_path, glyph_cache, backbone, methods)
    assert said in str(caught.value) and "\n" not in str(caught.value), caught.value


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet10", ATTO, f"{{{ATTO}: {{drop_path: 0.1}}}}"])
def test_runs_on_them_end_and_are_recorded(tmp_path, glyph_cache, backbone):
    planned = made(tmp_path, glyph_cache, backbone, "bbn, {ride: {experts: 2, width: 1}}")
    records = tiny.carry_out(planned, tiny.settings(tmp_path, glyph_cache))
    assert {each.status for each in records.values()} == {"complete"}, records
    assert all(each.macs > 0 and each.parameters > 1e6 for each in records.values())
