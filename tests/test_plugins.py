"""Methods of others, each in a file of one's own (tests/plugins): what the interface has to carry.

They are written after their papers' ideas, and no number here or elsewhere was made by them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from ltbench import Batch, Clock, Problem, backbones, losses, registry
from ltbench.capturable import UNTRIED

ROOT = Path(__file__).parent.parent
PLUGINS = sorted((ROOT / "tests" / "plugins").glob("*.py"))
UNUSUAL = {"bcl", "paco", "weight_balancing", "imbsam"}  # in what they ask of the interface
SUITE = """\
# All of them.
data: {name: glyphs_lt, imbalance: 15, head: 30}
backbone: resnet8
recipe: {epochs: 2, batch_size: 64, lr: 0.1, augment: [crop, rotate15]}
methods: [%s, crt: {base: balpoe}, ensemble: {base: paco, size: 2}, post_hoc: {base: cmo}]
"""
FULL = (
    "{epochs: 2, batch_size: 64, optimizer: adamw, lr: 2.0e-3, precision: bf16, augment: [crop], mixup: 0.4, "
    "cutmix: 1.0, ema: 0.9, accumulate: 2, clip: 1.0, label_smoothing: 0.1}"
)
Loaded = Callable[[str], tuple[ModuleType, Callable[..., object]]]


@pytest.fixture
def loaded(own_registry: None) -> Loaded:
    """name -> (its module, what builds it for these options on images of ten classes, two of them rare)."""

    def load(name: str) -> tuple[ModuleType, Callable[..., object]]:
        registry.load_plugin(str(ROOT / "tests" / "plugins" / f"{name}.py"))
        cls = registry.get(name)
        problem = Problem(torch.tensor([200.0] * 8 + [4, 3]), 12, lambda: backbones.build("resnet8"))
        return sys.modules[cls.__module__], lambda **options: cls(problem, **registry.resolve(name, options))

    return load


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=() if p.stem in UNUSUAL else pytest.mark.slow) for p in PLUGINS]
)
def test_each_keeps_the_contract(command, path):
    done = command("check", path.stem, "--plugin", path, COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    remarks = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    untried = path.stem == "imbsam" and not torch.cuda.is_available()
    assert remarks == ([f"note  recorded: not known: {UNTRIED}"] if untried else [])


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_each_is_short_and_says_where_it_is_from(loaded, path):
    _, build = loaded(path.stem)
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", type(build()).paper)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 95


def test_the_guide_names_each_of_them():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`tests/plugins/(\w+)\.py`", guide)) == {path.stem for path in PLUGINS}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "full", "two processes"])
def test_all_of_them_train_in_one_suite(tmp_path, glyph_cache, how):
    (tmp_path / "all.yaml").write_text(SUITE % ", ".join(path.stem for path in PLUGINS), encoding="utf-8")
    words = ["run", "all.yaml", "--device", "cpu", "--data", str(glyph_cache)]
    words += [word for path in PLUGINS for word in ("--plugin", str(path))]
    words += ["--set", f"recipe={FULL}"] if how == "full" else []
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if "two" in how else []
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "ltbench", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "results" / "all").glob("*-s[0-9]*.json"))) == len(PLUGINS) + 1 + 3 + 2


def test_bcls_contrast_is_that_of_loops(loaded):
    module, _ = loaded("bcl")
    random = torch.Generator().manual_seed(0)
    seen, prototypes = torch.randn(6, 4, generator=random), torch.randn(3, 4, generator=random)
    label = [0, 0, 1, 0, 1, 2]
    everything = [*zip(F.normalize(seen), label, strict=True), *zip(F.normalize(prototypes), range(3), strict=True)]
    wanted = []
    for i, own in enumerate(label):
        others = [(x @ everything[i][0] / 0.1, c) for j, (x, c) in enumerate(everything) if j != i]
        means = [torch.stack([a.exp() for a, c in others if c == k]).mean() for k in range(3)]
        wanted += [-torch.stack([a - sum(means).log() for a, c in others if c == own]).mean()]
    found = module.contrast(seen, torch.tensor(label), prototypes, 0.1)
    torch.testing.assert_close(found, torch.stack(wanted).mean())


def test_pacos_loss_is_that_of_loops(loaded):
    _, build = loaded("paco")
    torch.manual_seed(0)
    method = build(queue=4, size=3, alpha=0.2, temperature=0.5).eval()
    method.remember(F.normalize(torch.randn(3, 3)), torch.tensor([1, 0, 9]))
    label, image = torch.tensor([0, 9, 0]), torch.randn(2, 3, 3, 12, 12)
    with torch.no_grad():
        feature = method.backbone(image[0])
        query, key = F.normalize(method.project(feature)), F.normalize(method.slow(image[1]))
        logits, counts = method.heads[0](feature), method.counts
        others = [*zip(key, label, strict=True), *zip(method.keys, method.owners, strict=True)]
        wanted = []
        for i, own in enumerate(label):
            every = [(logits[i, c] + (n / counts.sum()).log(), float(c == own)) for c, n in enumerate(counts)]
            every += [(query[i] @ k / 0.5, 0.2 * float(c == own)) for k, c in others if c >= 0]
            total = torch.stack([x for x, _ in every]).logsumexp(0)
            wanted += [-sum(w * (x - total) for x, w in every) / sum(w for _, w in every)]
        found = method.loss(Clock(0, 1, 0, 1), Batch(image, label, label))["paco"]
    torch.testing.assert_close(found, torch.stack(wanted).mean())
    assert method.owners.tolist() == [9, 0, 9, 0], "and the keys of this batch are over the oldest"


def test_imbsams_gradient_is_that_of_two_steps(loaded):
    _, build = loaded("imbsam")
    torch.manual_seed(0)
    method = build(rho=0.3).eval()
    label = torch.tensor([0, 9, 8, 1])  # two frequent classes, two that are not
    image, weights = torch.randn(4, 3, 12, 12), dict(method.named_parameters())
    sum(method.loss(Clock(0, 1, 0, 1), Batch(image, label, label)).values()).backward()
    found = {name: weight.grad.clone() for name, weight in weights.items()}

    def gradient(images: list[int]) -> list[torch.Tensor]:
        loss = F.cross_entropy(method.logits(image)[images], label[images], reduction="sum") / len(label)
        return list(torch.autograd.grad(loss, list(weights.values())))

    frequent, steepest = gradient([0, 3]), gradient([1, 2])
    norm = torch.cat([g.flatten() for g in steepest]).norm()
    with torch.no_grad():
        for weight, g in zip(weights.values(), steepest, strict=True):
            weight.add_(0.3 * g / norm)
    for (name, a), b, c in zip(found.items(), frequent, gradient([1, 2]), strict=True):
        torch.testing.assert_close(a, b + c, rtol=1e-4, atol=1e-5, msg=name)


def test_experts_that_are_adjusted_alike_are_balanced_softmaxes(loaded):
    _, build = loaded("balpoe")
    method, image, label = build(taus=[1.0, 1.0]).eval(), torch.randn(4, 3, 12, 12), torch.tensor([0, 9, 8, 1])
    terms = method.loss(Clock(0, 1, 0, 1), Batch(image, label, label))
    each = [losses.balanced_softmax(logits, label, method.counts) for logits in method.experts(image)]
    torch.testing.assert_close(torch.stack(list(terms.values())), torch.stack(each) / 2)
    with pytest.raises(ValueError, match="taus must be 1 on average"):
        registry.get("balpoe").needs({"taus": (1.0, 2.0)})


def test_pacos_queue_forgets_what_is_oldest(loaded):
    _, build = loaded("paco")
    method = build(queue=5, size=2)
    for owners in ([1, 2, 3], [4, 5, 6], [7] * 9):
        key = torch.tensor(owners).float()[:, None].expand(-1, 2)
        method.remember(key, torch.tensor(owners))
        assert torch.equal(method.keys[:, 0].long()[method.owners >= 0], method.owners[method.owners >= 0])
        if owners[0] == 4:
            assert method.owners.tolist() == [6, 2, 3, 4, 5] and method.oldest == 1
    assert method.owners.tolist() == [7] * 5


def test_a_frequent_class_gives_most_of_its_label(loaded):
    module, build = loaded("mislas")
    smoothing = build(most=0.4, least=0.1).smoothing
    assert smoothing.max() == pytest.approx(0.4) and smoothing.min() == pytest.approx(0.1)
    labels = module.smoothed(torch.eye(10), smoothing)
    torch.testing.assert_close(labels.sum(1), torch.ones(10))
    torch.testing.assert_close(labels.diagonal(), 1 - smoothing)
    torch.testing.assert_close(labels[9, :9], smoothing[9].expand(9) / 9)


def test_sampling_ends_balanced(loaded):
    module, _ = loaded("progressive")
    counts = torch.tensor([30.0, 10.0])
    first, last = module.odds(counts, Clock(0, 10, 0, 40)), module.odds(counts, Clock(9, 10, 39, 40))
    assert first.tolist() == [0.75, 0.25] and last.tolist() == pytest.approx([0.525, 0.475])


def test_a_patch_covers_what_its_share_says(loaded):
    _, build = loaded("cmo")
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 32, 32)
    never, label, other = build(chance=0.0).eval(), torch.tensor([3]), torch.tensor([4])
    assert not never.box(image).any()
    terms = never.loss(Clock(0, 1, 0, 1), Batch(image, label, label), Batch(image + 1, other, other))
    assert terms["patch"] == 0 and terms["back"] == F.cross_entropy(never.logits(image), label)
    always = build(chance=1.0)
    shares = torch.stack([always.box(image).float().mean() for _ in range(2000)])
    # sides of sqrt(share), cut at the border: E[(s - s^2 / 4)^2] over s = sqrt(uniform)
    assert shares.mean().item() == pytest.approx(0.5 - 0.2 + 1 / 48, abs=0.015)


def test_weights_stay_within_their_ball(loaded):
    _, build = loaded("weight_balancing")
    method = build()
    method.radius.fill_(0.5)
    with torch.no_grad():
        method.after_step(Clock(0, 1, 0, 1))
    assert torch.linalg.vector_norm(method.heads[0].weight, dim=1).max() <= 0.5 + 1e-6
