"""The figures: each of them draws whatever there is, tells n, hides no name under another, and gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import simulated_records
from hostile_suite import hostile_suite
from make_records import five, make, row, write
from PIL import Image
from rich_records import METHODS, drawn, suite

from ltbench import blocks, figures, planfile
from ltbench.figures import names, style
from ltbench.record import PerImage

NOWHERE = Path("no-such-runs")
KINDS = pytest.mark.parametrize("kind", figures.KINDS, ids=lambda kind: kind.name)
ENDS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def block_of(folder: Path) -> blocks.Block:
    found, refused = blocks.load(folder, NOWHERE)
    assert not refused
    return found[0]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> blocks.Block:
    return block_of(suite(tmp_path_factory.mktemp("rich")))


def words(text: str) -> str:
    """What stands in an SVG whose text is text."""
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", text))


@KINDS
@pytest.mark.parametrize("format", ENDS)
def test_each_is_drawn_in_each_format_the_same_bytes_twice(kind, format, rich):
    first = figures.drawn(kind, rich, format)
    assert first.startswith(ENDS[format])
    if format == "svg" or kind is figures.KINDS[0]:  # what is drawn is the same in all, a file's frame in all kinds
        assert figures.drawn(kind, rich, format) == first
    if format == "png":
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(first)).convert("L")))) > 10
    elif format == "svg":
        assert b"date" not in first
    else:
        assert b"CreationDate" not in first


@KINDS
def test_each_says_what_it_shows_of_how_many_runs(kind, rich):
    if kind.name in ("adjust", "bias_variance"):
        pytest.skip("needs logits, or draws: has a test of its own")
    said = words(figures.inline(kind, rich))
    assert kind.title in said
    assert "toy40_lt(imbalance=100), resnet32, recipe ride200" in said
    assert "seed" in said and ("n = " in said or "one line a seed" in said)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("compute", ["multiply-adds per test image, as used (millions)", "top-1 (per cent)"]),
        ("classes", ["accuracy (per cent)", "images", "class, by its number of training images"]),
        ("tradeoff", ["on many: classes of more than 100", "on few: classes of fewer than 20"]),
        ("gain", ["gain in accuracy (percentage points)", "95 % interval of the differences, paired by seed"]),
        ("reliability", ["confidence of the prediction (per cent)", "right (per cent)", "ECE"]),
        ("experts", ["experts used (mean per test image)"]),
        ("training", ["epoch", "loss", "seed 0, 1, 2 diverged"]),
        ("confusion", ["right", "1st", "2nd", "3rd"]),
        ("members", ["accuracy (per cent)", "their ensemble"]),
    ],
)
def test_axes_are_named_with_their_units(name, axes, rich):
    kind = next(kind for kind in figures.KINDS if kind.name == name)
    said = words(figures.inline(kind, rich))
    for text in axes:
        assert text in said


@pytest.fixture(scope="module", params=["nothing ran", "one row", "no group", "golden"])
def little(request, tmp_path_factory) -> blocks.Block:
    what, tmp_path = request.param, tmp_path_factory.mktemp("little")
    if what == "nothing ran":
        write(tmp_path, [row([make("ce")])], [])
    elif what == "one row":
        write(tmp_path, [row([make("ce")])], [make("ce")])
    elif what == "no group":  # every class has many images
        data = make().data.model_copy(update={"counts": (500, 400, 300)})
        made = [make("ce", 0, data=data), make("bbn", 0, data=data)]
        write(tmp_path, [row([one]) for one in made], made)
    else:
        write(tmp_path, *five())
    return block_of(tmp_path)


@KINDS
def test_with_little_to_show_it_says_so(kind, little):
    assert figures.drawn(kind, little, "png").startswith(ENDS["png"])
    try:
        assert kind.title in words(figures.inline(kind, little))
    except figures.NothingError as reason:
        assert str(reason) and not str(reason).endswith(".")


def test_each_figure_of_images_has_a_panel_of_its_own(tmp_path):
    """Confidence and entropy stood on one axis, "confidence and 1 more", as experts that a router asks."""
    given = {"confidence": 0.9, "entropy": 2.5, "change": -3.0}
    per_image = {key: PerImage(mean=value, by_class=(value,) * 40) for key, value in given.items()}
    made = [drawn("bbn", 0).model_copy(update={"per_image": per_image}), drawn("ce", 0)]
    block = block_of(write(tmp_path, [row([one]) for one in made], made))
    figure = figures.groups.used(block)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"{key} (mean per test image)" for key in sorted(given)]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_yticklabels()] == ["bbn"]
        low, high = axes.get_xlim()
        xs = [float(x) for line in axes.lines for x in line.get_xdata()]
        assert low < high and xs and all(low <= x <= high for x in xs)


def test_one_seed_has_no_interval(tmp_path):
    made = [drawn(label, 0) for label in METHODS]
    block = block_of(write(tmp_path, [row([one]) for one in made], made))
    for name in ("compute", "tradeoff", "gain"):
        said = words(figures.inline(next(k for k in figures.KINDS if k.name == name), block))
        assert "one seed: no interval" in said and "95 %" not in said


@pytest.mark.parametrize("name", ["gain", "compute", "tradeoff"])
def test_of_draws_it_says_so(name, tmp_path):
    (block,), _ = blocks.load(simulated_records.write(tmp_path, draws=2, with_logits=False), tmp_path / "runs")
    said = words(figures.inline(next(kind for kind in figures.KINDS if kind.name == name), block))
    assert "draws a row" in said and "seed" not in said, said


def test_the_gain_is_that_of_the_scores(rich):
    """The intervals that are drawn are those of scores.gain, not of the rows apart."""
    kind = next(kind for kind in figures.KINDS if kind.name == "gain")
    with style.styled("test"):
        axes = kind.draw(rich).axes[0]
    bars = sorted(
        (round(float(segment[0][0]), 6), round(float(segment[1][0]), 6))
        for lines in axes.collections
        for segment in lines.get_segments()
    )
    base = {seed: found for seed, found in rich.base.figures.items()}
    expected = []
    for entry in rich.ran:
        for part in ("top1", "many", "medium", "few"):
            pairs = [entry.figures[s][part] - base[s][part] for s in entry.figures if s in base]
            if entry is rich.base or len(pairs) < 2:
                continue
            t = {2: 12.706205, 3: 4.302653}[len(pairs)]
            half = t * np.std(pairs, ddof=1) / np.sqrt(len(pairs))
            expected.append((np.mean(pairs) - half, np.mean(pairs) + half))
    assert len(bars) == len(expected) == 9 * 4
    assert np.allclose(bars, sorted(expected), atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_no_name_covers_another(seed):
    """Forty points in a heap: those that got a name have it to themselves."""
    random = np.random.default_rng(seed)
    block = blocks.Block("x", "ce", (), NOWHERE)
    points = [tuple(point) for point in random.normal(50, 5, (40, 2))]
    with style.styled("test"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(style.WIDTH, 4))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.set_xlim(30, 70)
        axes.set_ylim(30, 70)
        texts = [f"method_{i}(option={i * 3})" for i in range(40)]
        written = names.write(axes, points, texts, [], [])
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.texts]
    assert block.ran == []
    assert 5 < written == len(boxes)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1


def test_colours_are_told_apart_without_green_or_red():
    """Each pair of line colours differs by 20 in lightness or hue as a deuteranope sees them (Viénot et al. 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    seen = np.linalg.inv(to_lms) @ blind @ to_lms
    colors = [np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for c in style.COLORS[: style.ROWS]]
    for one, other in itertools.combinations([seen @ color**2.2 for color in colors], 2):
        assert np.abs(one.clip(0, 1) ** (1 / 2.2) - other.clip(0, 1) ** (1 / 2.2)).max() * 255 > 20
    assert len(set(style.MARKERS)) >= style.ROWS  # and by their markers, printed grey


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> blocks.Block:
    return block_of(hostile_suite(tmp_path_factory.mktemp("hostile")))


@KINDS
def test_hostile_names_are_text(kind, hostile):
    try:
        said = figures.inline(kind, hostile)
    except figures.NothingError:
        return
    assert "<script" not in said and "<img" not in said and "\x1b" not in said and "\u202e" not in said
    figures.drawn(kind, hostile, "png")


def test_logits_make_the_sweep_an_oracle(tmp_path):
    """Logits that favour frequent classes: tau 0 is the record's top-1; a larger tau helps, and is marked."""
    from safetensors.numpy import save

    record = make("ce", 0, right=(10, 10, 0))
    folder = write(tmp_path, [row([record])], [record])
    logits = np.zeros((30, 3), np.float16)
    label = np.repeat(np.arange(3), 10)
    logits[np.arange(30), label] = 1.0
    logits[label == 2, 0] = 1.5
    content = save({"logits": logits, "label": label})
    run = tmp_path / "runs" / record.stem
    run.mkdir(parents=True)
    (run / "logits.safetensors").write_bytes(content)
    manifest = {"key": record.key, "sha256": {"logits.safetensors": hashlib.sha256(content).hexdigest()}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    kind = next(kind for kind in figures.KINDS if kind.name == "adjust")
    block = blocks.load(folder, tmp_path / "runs")[0][0]
    with style.styled("test"):
        top = next(line for line in kind.draw(block).axes[0].lines if line.get_linewidth() > 1)
    assert top.get_ydata()[0] == pytest.approx(100 * 20 / 30)
    assert max(top.get_ydata()) == pytest.approx(100)
    assert "oracle" in words(figures.inline(kind, block))
    (run / "logits.safetensors").write_bytes(content[:-1] + b"\x00\x00")
    with pytest.raises(figures.NothingError, match="needs the test logits"):
        kind.draw(blocks.load(folder, tmp_path / "runs")[0][0])


def test_a_row_that_a_runner_adds_meanwhile_shifts_no_runs(tmp_path, monkeypatch):
    rows, made = five()
    folder = write(tmp_path, rows[:2], made)
    read = planfile.read

    def read_and_added_to(folder):
        plan = read(folder)
        planfile.write(plan.model_copy(update={"rows": (rows[2], *rows[:2])}), folder)
        return plan

    monkeypatch.setattr(planfile, "read", read_and_added_to)
    (block,), _ = blocks.load(folder, NOWHERE)
    assert [(entry.label, [run.label for run in entry.runs]) for entry in block.entries] == [
        ("ce", ["ce"] * 3),
        ("ride(experts=3)", ["ride(experts=3)"] * 2),
    ]


def test_confusions_of_many_classes_take_little_memory(tmp_path, rich):
    made = drawn("ce", 0, classes=2000, images=2, epochs=1)
    block = block_of(write(tmp_path, [row([made])], [made]))
    kind = next(kind for kind in figures.KINDS if kind.name == "confusion")
    figures.inline(kind, rich)  # imports and fonts, once
    tracemalloc.start()
    figures.inline(kind, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000**2, "a table of all pairs of classes takes eight times that"


def test_block_names_are_file_names_and_differ(tmp_path):
    for name in ("toy", "TOY", "toy-2", "../up", "a/b"):
        one = make("ce")
        where = tmp_path / f"f{len(list(tmp_path.iterdir()))}"
        folder = write(where, [row([one])], [one])
        plan = (folder / "plan.json").read_text().replace('"toy"', f'"{name}"')
        folder.rename(tmp_path / f"{where.name}x")
        (tmp_path / f"{where.name}x" / "plan.json").write_text(plan)
        where.rmdir()
    found, _ = blocks.load(tmp_path, NOWHERE)
    made = [block.name for block in found]
    assert len({name.lower() for name in made}) == 5
    for name in made:
        assert "/" not in name and not name.startswith(".")


def test_blocks_of_one_suite_are_named_by_what_tells_them_apart():
    nets = [("toy", "cifar10_lt(imbalance=100)", net, "a") for net in ("resnet8", "resnet20")]
    assert blocks.file_names(nets) == ["toy-resnet8", "toy-resnet20"]
    sets = [("toy", f"cifar10_lt(imbalance={n})", "resnet8", "a") for n in (10, 100)]
    assert blocks.file_names([*sets, nets[1]]) == [
        "toy-cifar10_lt_imbalance_10-resnet8", "toy-cifar10_lt_imbalance_100-resnet8",
        "toy-cifar10_lt_imbalance_100-resnet20",
    ]  # fmt: skip
    assert blocks.file_names([sets[0], ("other", "a", "b", ""), sets[0]]) == ["toy", "other", "toy-2"]
    recipes = [("toy", "a", "b", recipe) for recipe in ("", "ride200 [epochs=3]", "TOY", "..", "/")]
    assert blocks.file_names(recipes) == ["toy", "toy-ride200_epochs_3", "toy-TOY", "toy-2", "toy-3"]


def test_a_suite_of_two_backbones_has_a_folder_of_figures_for_each(tmp_path):
    made = [make("ce"), make("ce", backbone="resnet20")]
    write(tmp_path, [row([one], block=str(i) * 64) for i, one in enumerate(made)], made)
    found, _ = blocks.load(tmp_path, NOWHERE)
    assert [block.name for block in found] == ["toy-resnet8", "toy-resnet20"]


def test_plot_writes_them_and_brings_no_torch(tmp_path):
    suite(tmp_path, seeds=1)
    code = (
        "import sys\nfrom ltbench.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    heavy = ('torch', 'torchvision', 'accelerate', 'matplotlib.pyplot')\n"
        "    print([name for name in heavy if name in sys.modules], end.code)"
    )
    command = [sys.executable, "-c", code, "plot", ".", "--out", "figs", "--format", "pdf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{Path('figs', 'toy')}: {len(figures.KINDS)} figures\n[] 0\n", done.stderr
    assert {path.name for path in (tmp_path / "figs" / "toy").iterdir()} == {f"{k.name}.pdf" for k in figures.KINDS}


@pytest.mark.parametrize(
    "called",
    [
        lambda c: f"ship {c}",
        lambda c: f"Emberiza Xitrinella of the {'north' if c % 2 else 'south'} of an island",
        lambda c: "汉字" * 20,
        lambda c: f"{chr(0x202E)}$x$ {c}",
    ],
    ids=["short", "long", "no glyphs", "hostile"],
)
def test_confusions_name_classes_each_within_its_cell_and_unlike_all_others(rich, called):
    kind = next(kind for kind in figures.KINDS if kind.name == "confusion")
    named = dataclasses.replace(rich, names=tuple(map(called, range(40))))
    with style.styled("x"):
        figure = kind.draw(named)
        figure.canvas.draw()
        for axes in figure.axes:
            for text, patch in zip(axes.texts, axes.patches, strict=True):
                box, cell = text.get_window_extent(), patch.get_window_extent()
                assert box.x0 > cell.x0 - 1 and box.x1 < cell.x1 + 1, text.get_text()
            ticks = axes.get_yticklabels()
            assert len({tick.get_text() for tick in ticks}) == len(ticks)
            assert all(tick.get_window_extent().x0 > 0 for tick in ticks)
    assert called(39) != "ship 39" or "ship 39 (" in words(figures.inline(kind, named))


def test_confusions_of_classes_without_names_have_numbers(rich):
    kind = next(kind for kind in figures.KINDS if kind.name == "confusion")
    plain = figures.inline(kind, rich)
    assert re.search(r">39 \(\d+\)<", plain)
    for names_ in ((" ",) * 40, ("one",)):
        assert figures.inline(kind, dataclasses.replace(rich, names=names_)) == plain
