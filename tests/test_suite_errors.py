"""A broken suite gets one message with file, line, key path, value, what is allowed and the nearest right name."""

from pathlib import Path

import pytest

from ltbench import plan, suite
from ltbench.errors import LtbenchError

GOOD = """\
data: {name: glyphs_lt, imbalance: 10, head: 10}
backbone: resnet8
seeds: [0]
recipe: {epochs: 1}
methods:
  - ce
  - ride: {experts: 2}
"""

# what is broken, the text that replaces part of GOOD, and what the message must hold
BROKEN = {
    "unknown top-level key": (("seeds:", "seed:"), ["suite.yaml:3: seed: unknown key 'seed'; did you mean 'seeds'?"]),
    "unknown recipe key": (
        ("{epochs: 1}", "{epochs: 1, weight_decy: 0.1}"),
        ["suite.yaml:4: recipe.weight_decy: unknown key 'weight_decy'; did you mean 'weight_decay'?"],
    ),
    "a key of the recipe at the top": (
        ("seeds:", "epochs: 3\nseeds:"),
        ["suite.yaml:3: epochs: unknown key 'epochs'", "did you mean recipe.epochs?"],
    ),
    "label": (
        ("- ce", "- ride(experts=2)"),
        ["suite.yaml:6: methods[0]: 'ride(experts=2)' is how a table has it; here it is {ride: {experts: 2}}"],
    ),
    "a label of a method in a method": (
        ("- ce", "- crt(base=ride(experts=2))"),
        ["'crt(base=ride(experts=2))' is how a table has it; here it is {crt: {base: {ride: {experts: 2}}}}"],
    ),
    "method of one's own": (("- ce", "- quite_mine"), ["one of your own comes with --plugin FILE"]),
    "misspelt method": (("- ce", "- cee"), ["suite.yaml:6: methods[0]", "unknown method 'cee'; did you mean 'ce'?"]),
    "misspelt option": (
        ("experts:", "expert:"),
        ["suite.yaml:7: methods[1].ride.expert: unknown option of ride 'expert'; did you mean 'experts'?"],
    ),
    "option out of range": (
        ("experts: 2", "experts: 7"),
        ["suite.yaml:7: methods[1].ride.experts: must be less than or equal to 6, got 7"],
    ),
    "wrong type": (
        ("{epochs: 1}", "{epochs: many}"),
        ["suite.yaml:4: recipe.epochs: must be a whole number, got 'many'"],
    ),
    "negative epochs": (("{epochs: 1}", "{epochs: -1}"), ["suite.yaml:4: recipe.epochs", "got -1"]),
    "no epochs": (("{epochs: 1}", "{epochs: 0}"), ["suite.yaml:4: recipe.epochs: must be at least 1, got 0"]),
    "duplicate key": (("seeds: [0]", "seeds: [0]\nseeds: [1]"), ["suite.yaml:4", "seeds", "3"]),
    "tag": (("- ce", "- !!python/object:os.system ce"), ["suite.yaml:6"]),
    "a base that cannot be started from": (
        ("- ce", "- tau_norm: {base: ldam_drw}"),
        ["suite.yaml:6: methods[0]: tau_norm cannot start from ldam_drw: it offers no linear_head"],
    ),
    "several that cannot be started from": (
        ("- ce", "- tau_norm: {base: ldam_drw}\n  - lws: {base: ldam_drw}"),
        [
            "suite.yaml:6: methods[0]: tau_norm cannot start from ldam_drw: it offers no linear_head",
            "suite.yaml:7: methods[1]: lws cannot start from ldam_drw: it offers no linear_head",
        ],
    ),
    "options that do not go together": (
        ("{experts: 2}", "{head: linear}"),
        ["suite.yaml:7: methods[1]: ride: loss ldam needs head cosine"],
    ),
    "unknown data": (("glyphs_lt", "glyph_lt"), ["suite.yaml:1: data.name", "did you mean 'glyphs_lt'?"]),
    "unknown backbone": (
        ("resnet8", "resnet33"),
        ["suite.yaml:2: backbone: unknown backbone 'resnet33'; did you mean", "one of timm's is written timm/NAME"],
    ),
    "methods below the recipe": (
        ("recipe: {epochs: 1}\nmethods:", "recipe:\n  epochs: 1\n  methods:"),
        ["methods stands below recipe: indent it less"],
    ),
    "missing key": (("backbone: resnet8\n", ""), ["suite.yaml: backbone: required, but not given"]),
    "a recipe of its own that is the suite's": (
        ("- ce", "- ce\n  - ce: {}\n    recipe: {lr: 0.1}"),
        ["suite.yaml:7: methods[1]: ce [lr=0.1] has the same runs as methods[0], ce: its recipe changes nothing"],
    ),
    "twice the same row": (("- ce", "- ce\n  - ce: {head: linear}"), ["suite.yaml:7: methods[1]: ce is the same row"]),
    "no method": (("- ce", "- [ce]"), ["suite.yaml:6: methods[0]"]),
    "bad seeds": (("[0]", "[0, 0]"), ["suite.yaml:3: seeds: must be a list of different numbers"]),
    "unknown recipe key of an entry": (
        ("- ce", "- ce: {}\n    recipe: {ephocs: 3}"),
        ["suite.yaml:7: methods[0].recipe.ephocs: unknown key 'ephocs'; did you mean 'epochs'?"],
    ),
    "a baseline that is no row": (
        ("seeds: [0]", "seeds: [0]\nbaseline: bbn"),
        ["suite.yaml:4: baseline", "unknown row 'bbn'"],
    ),
    "no backbone at all": (("resnet8", "[]"), ["suite.yaml:2: backbone: the list is empty"]),
    "a backbone that is a mapping": (("resnet8", "{name: resnet8}"), ["suite.yaml:2: backbone: unknown backbone"]),
    "nesterov without momentum": (("{epochs: 1}", "{epochs: 1, momentum: 0}"), ["nesterov needs a momentum above 0"]),
    "an imbalance that empties a class": (
        ("imbalance: 10", "imbalance: 100"),
        ["suite.yaml:1: data.imbalance: imbalance 100 leaves"],
    ),
}


def message(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(LtbenchError) as caught:
        plan.make(suite.read("suite.yaml"), tmp_path / "data")
    return str(caught.value)


@pytest.mark.parametrize("what", BROKEN)
def test_message(tmp_path, monkeypatch, what, glyph_cache):
    (old, new), fragments = BROKEN[what]
    assert old in GOOD
    (tmp_path / "data").symlink_to(glyph_cache)
    said = message(tmp_path, GOOD.replace(old, new, 1), monkeypatch)
    for fragment in fragments:
        assert fragment in said, said


def test_the_good_suite_is_good(tmp_path, glyph_cache):
    (tmp_path / "suite.yaml").write_text(GOOD)
    made = plan.make(suite.read(str(tmp_path / "suite.yaml")), glyph_cache)
    assert [row.label for row in made.rows] == ["ce", "ride(experts=2)"]


def test_all_faults_of_a_file_stand_in_one_message(tmp_path, monkeypatch):
    text = GOOD.replace("{epochs: 1}", "{epochs: 1, lr: fast}").replace("experts: 2", "experts: 9, widht: 1.0")
    said = message(tmp_path, text.replace("resnet8", "resnet9") + "sead: 1\n", monkeypatch)
    assert len(said.splitlines()) == 5
    for path in ("recipe.lr", "methods[1].ride.experts", "methods[1].ride.widht", "backbone", "suite.yaml:8: sead"):
        assert path in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("backbone=resnet9", "--set backbone=resnet9: backbone: unknown backbone 'resnet9'; did you mean 'resnet8'?"),
        ("methods=[ce, rid]", "--set methods=[ce, rid]: methods[1]: unknown method 'rid'; did you mean 'ride'?"),
        ("recipe.epochs=x", "--set recipe.epochs=x: recipe.epochs: must be a whole number, got 'x'"),
        ("foo=1", "--set foo=1: foo: unknown key 'foo'"),
        (f"recipe.name=[{'1, ' * 99}]", f"--set recipe.name=[{'1, ' * 22}1...: recipe.name: must be"),
    ],
)
def test_what_an_option_put_there_is_not_blamed_on_a_line_of_the_file(tmp_path, glyph_cache, given, said):
    (tmp_path / "suite.yaml").write_text(GOOD)
    with pytest.raises(LtbenchError) as caught:
        plan.make(suite.read(str(tmp_path / "suite.yaml"), [given]), glyph_cache)
    assert said in str(caught.value) and "suite.yaml" not in str(caught.value)


def test_the_command_line_prints_one_message_and_exits_with_2(command, tmp_path):
    (tmp_path / "suite.yaml").write_text(GOOD.replace("seeds:", "seed:"))
    done = command("run", "suite.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite.yaml"], "something was written"


def test_a_missing_file_names_the_nearest_suite(command, tmp_path):
    done = command("run", "quik", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean 'quick'?" in done.stderr


CYCLE = """\
from ltbench import Method, Ref, register

@register("hen")
class Hen(Method):
    "Needs an egg."
    def __init__(self, problem, *, base=Ref("egg")):
        super().__init__(problem)
    @classmethod
    def needs(cls, options):
        return {"egg": options["base"]}

@register("egg")
class Egg(Hen):
    "Needs a hen."
    def __init__(self, problem, *, base=Ref("hen")):
        super().__init__(problem)
"""


def test_a_cycle_made_by_a_plugin_is_one_message(command, tmp_path):
    (tmp_path / "cycle.py").write_text(CYCLE)
    (tmp_path / "suite.yaml").write_text(GOOD.replace("- ce", "- hen"))
    done = command("run", "suite.yaml", "--plugin", "cycle.py", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "suite.yaml:6: methods[0]" in done.stderr and "a cycle: hen -> egg -> hen" in done.stderr


HIDDEN_CYCLE = (
    CYCLE.replace('base=Ref("egg")', "")
    .replace('base=Ref("hen")', "")
    .replace("*, )", ")")
    .replace('return {"egg": options["base"]}', 'return {"egg": Ref("egg" if cls.name == "hen" else "hen")}')
)


def test_a_cycle_that_only_needs_know_is_one_message(command, tmp_path):
    (tmp_path / "cycle.py").write_text(HIDDEN_CYCLE)
    (tmp_path / "suite.yaml").write_text(GOOD.replace("- ce", "- hen"))
    done = command("run", "suite.yaml", "--plugin", "cycle.py", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "suite.yaml:6: methods[0]: a cycle: hen -> egg -> hen" in done.stderr


def test_what_the_file_and_a_set_make_together_is_blamed_on_both(tmp_path, glyph_cache):
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD)
    with pytest.raises(LtbenchError, match=r"^--set recipie\.epochs=3: recipie: unknown key 'recipie'"):
        plan.make(suite.read(str(path), ["recipie.epochs=3"]), glyph_cache)
    with pytest.raises(LtbenchError, match=r"suite\.yaml:4 with --set recipe\.momentum=0: recipe: nesterov needs"):
        plan.make(suite.read(str(path), ["recipe.momentum=0"]), glyph_cache)
    with pytest.raises(LtbenchError, match=r"suite\.yaml:1 with --set data\.head=5: data: imbalance: imbalance 10"):
        plan.make(suite.read(str(path), ["data.head=5"]), glyph_cache)
    with pytest.raises(LtbenchError, match=r"^--set data\.classes=99: data\.classes: .* has 62, got 99"):
        plan.make(suite.read(str(path), ["data.classes=99"]), glyph_cache)
