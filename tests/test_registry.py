"""Methods by name, from wherever they come; and what can be read off their signatures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval

from ltbench import Method, Ref, register, registry, sources
from ltbench.errors import LtbenchError
from ltbench.registry import OptionError, describe, get, load_plugin, resolve

pytestmark = pytest.mark.usefixtures("own_registry")

PLUGIN = '''\
"""Methods of one's own."""

from ltbench import Method, register


@register("{name}")
class Mine(Method):
    """Mine."""

    def __init__(self, problem, *, size: int = 3):
        super().__init__(problem)
'''


def plugin(folder: Path, text: str = PLUGIN, name: str = "my_method") -> Path:
    path = folder / "own.py"
    path.write_text(text.replace("{name}", name))
    return path


# Names


def test_a_clash_names_both():
    with pytest.raises(LtbenchError) as caught:

        @register("ce")
        class Other(Method):
            """Another."""

    assert "method 'ce' is already registered by ltbench.methods.ce.CE; " in str(caught.value)
    assert f"{__name__}.test_a_clash_names_both.<locals>.Other must take another name" in str(caught.value)
    assert sources.origin(get("ce")) == "ltbench.methods.ce.CE", "the first one stays"


@pytest.mark.parametrize("name", ["", "CE", "1st", "_x", "a-b", "a b", "ride(experts=3)", "é", "x" * 41, "a\n", "../x"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(LtbenchError, match="1 to 40 of a-z, 0-9 and _, and begins with a letter"):
        register(name)(type("Other", (Method,), {}))
    assert name not in registry.available()


@pytest.mark.parametrize("name", ["x", "x" * 40, "m2_0"])
def test_a_good_name_is_taken_and_known_to_its_class(name):
    cls = register(name)(type("Other", (Method,), {}))
    assert get(name) is cls and cls.name == name


def test_a_function_is_no_method():
    with pytest.raises(LtbenchError, match=r"method 'other': other is no subclass of ltbench\.Method"):

        @register("other")
        def other(problem):
            return problem


def test_what_is_no_method_is_refused():
    with pytest.raises(LtbenchError, match=r"method 'other': .*Other is no subclass of ltbench\.Method"):

        @register("other")
        class Other:
            """No method."""


def test_an_unknown_method_names_the_nearest_and_all():
    with pytest.raises(LtbenchError, match=r"unknown method 'ridee'; did you mean 'ride'\? \(allowed: .*bbn, ce, "):
        get("ridee")


# Entry points


@pytest.fixture
def installed(monkeypatch, own_registry):
    """Make some entry points be there."""

    def install(**loaders) -> None:
        points = [SimpleNamespace(name=name, load=load) for name, load in loaders.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "ltbench.methods" else [])
        monkeypatch.setattr(registry, "_BROKEN", {})
        registry._load_builtins.cache_clear()

    yield install
    registry._load_builtins.cache_clear()


def broken() -> None:
    raise ImportError("no module named 'nonsense'")


def test_an_entry_point_is_loaded_once(installed):
    calls = []
    installed(theirs=lambda: calls.append(register("theirs")(type("Theirs", (Method,), {}))))
    assert get("theirs") is calls[0] and "theirs" in registry.available() and len(calls) == 1


def test_a_broken_entry_point_is_named_only_where_a_method_is_not_found(installed):
    installed(theirs=broken, good=lambda: register("good")(type("Good", (Method,), {})))
    assert get("ce") and get("good") and "theirs" not in registry.available()
    with pytest.raises(LtbenchError) as caught:
        get("theirs")
    first, second = str(caught.value).splitlines()
    assert first.startswith("unknown method 'theirs'")
    assert second == "the entry point theirs could not be loaded: ImportError: no module named 'nonsense'"


def test_an_entry_point_whose_options_cannot_be_read_ends_no_listing(installed):
    class Theirs(Method):
        """Of somebody's package."""

        def __init__(self, problem, **options):
            super().__init__(problem)

    installed(theirs=lambda: register("theirs")(Theirs))
    assert "theirs" not in registry.available() and get("ce")
    with pytest.raises(
        LtbenchError, match=r"the entry point theirs could not be loaded: .*\*\*options holds options that"
    ):
        get("theirs")


def test_an_entry_point_that_clashes_is_told_at_once(installed):
    installed(theirs=lambda: register("ce")(type("Theirs", (Method,), {})))
    with pytest.raises(LtbenchError, match="'ce' is already registered"):
        registry.available()


@pytest.mark.parametrize(("attribute", "value"), [("version", "2"), ("version", 1.5), ("paper", 3), ("shown", "s")])
def test_an_attribute_of_another_type_is_refused(attribute, value):
    with pytest.raises(LtbenchError, match=f"method 'odd': {attribute} must be of type .*, got {value!r}"):
        register("odd")(type("Odd", (Method,), {attribute: value}))


# Plugins


def test_the_same_file_by_another_path_is_no_clash(tmp_path, monkeypatch):
    path = plugin(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in ("own.py", "./own.py", str(path)):
        load_plugin(given)
    assert get("my_method")


def test_two_files_of_one_name_are_two_plugins(tmp_path):
    for i in (1, 2):
        (tmp_path / str(i)).mkdir()
        load_plugin(str(plugin(tmp_path / str(i), name=f"mine{i}")))
    assert get("mine1").__init__.__code__.co_filename != get("mine2").__init__.__code__.co_filename


def test_a_dotted_module_is_a_plugin(tmp_path, monkeypatch):
    (tmp_path / "toy_pack").mkdir()
    (tmp_path / "toy_pack" / "__init__.py").write_text("")
    plugin(tmp_path / "toy_pack", name="dotted")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugin("toy_pack.own")
    assert sources.origin(get("dotted")) == "toy_pack.own.Mine" and sources.plugin_hash(get("dotted"))


BROKEN = {
    "syntax": ("import os\n\ndef broken(:\n", "own.py:3: SyntaxError: "),
    "raises": ("x = 1\n\n\ny = x / 0\n", "own.py:4: ZeroDivisionError: division by zero"),
    "raises further down": ("import json\n\njson.loads('{')\n", "own.py:3: JSONDecodeError: "),
    "lacks a module": ("import nonsense_there_is_not\n", "own.py:1: No module named 'nonsense_there_is_not'"),
    "lacks a name": ("from ltbench import Methd\n", "own.py:1: cannot import name 'Methd'"),
    "clashes": (PLUGIN.replace("{name}", "ce"), "own.py: method 'ce' is already registered by ltbench.methods.ce.CE"),
    "bad name": (PLUGIN.replace("{name}", "My"), "own.py: method 'My': a name is"),
    "no text": ("\0", "own.py"),
    "registers nothing": (
        PLUGIN.replace('@register("{name}")\n', ""),
        'own.py registers no method: put @register("name") over its class',
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_plugin_is_named_with_its_line(tmp_path, what):
    text, message = BROKEN[what]
    path = plugin(tmp_path, text)
    with pytest.raises(LtbenchError) as caught:
        load_plugin(str(path))
    assert str(caught.value).startswith(f"--plugin {path.parent}/{message}"), caught.value


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("absent.py", "no such file"),
        ("no/such/folder/absent.py", "no such file"),
        ("nonsense_there_is_not", "No module named 'nonsense_there_is_not'"),
        ("json.nonsense", "No module named 'json.nonsense'"),
    ],
)
def test_a_plugin_that_is_not_there_is_named_once(given, why):
    with pytest.raises(LtbenchError) as caught:
        load_plugin(given)
    assert str(caught.value) == f"--plugin {given}: {why}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ny = x / 0\n", "own.py:2 (own_helper_bad.py:2): ZeroDivisionError: division by zero"),
        ("import nonsense_there_is_not\n", "own.py:2 (own_helper_bad.py:1): No module named 'nonsense_there_is_not'"),
        ("\n\ndef broken(:\n", "own.py:2 (own_helper_bad.py:3): SyntaxError: "),
        ("import json\njson.loads('{')\n", "own.py:2 (own_helper_bad.py:2): JSONDecodeError: "),
    ],
)
def test_a_line_of_a_helper_is_named_beside_the_line_that_imports_it(tmp_path, own_registry, text, said):
    (tmp_path / "own_helper_bad.py").write_text(text)
    path = plugin(tmp_path, "import json\nimport own_helper_bad\n")
    with pytest.raises(LtbenchError) as caught:
        load_plugin(str(path))
    assert str(caught.value).startswith(f"--plugin {tmp_path}/{said}"), caught.value


def test_a_line_of_a_dotted_module_is_named_too(tmp_path, monkeypatch):
    plugin(tmp_path, "x = 1\ny = x / 0\n").rename(tmp_path / "toy_dividing.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LtbenchError, match=r"^--plugin toy_dividing:2: ZeroDivisionError: division by zero$"):
        load_plugin("toy_dividing")


def test_a_module_that_registers_nothing_is_told_but_one_that_was_loaded_before_is_not(tmp_path, monkeypatch):
    (tmp_path / "toy_two").mkdir()
    (tmp_path / "toy_two" / "__init__.py").write_text("from . import own\n")
    plugin(tmp_path / "toy_two", name="within")
    (tmp_path / "toy_idle.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for given in ("toy_two", "toy_two", "toy_two.own"):
        load_plugin(given)
    with pytest.raises(LtbenchError, match=r"^--plugin json registers no method"):  # though it is loaded
        load_plugin("json")
    with pytest.raises(LtbenchError, match=r"^--plugin toy_idle registers no method: put @register\(\"name\"\) over"):
        load_plugin("toy_idle")


def test_a_plugin_whose_helper_registers_may_be_named_twice(tmp_path, own_registry):
    plugin(tmp_path, name="by_helper").rename(tmp_path / "own_helper_registers.py")
    path = plugin(tmp_path, "import own_helper_registers\n")
    for given in (path, tmp_path / "." / "own.py"):
        load_plugin(str(given))
    assert get("by_helper")


def test_a_file_given_without_its_ending_is_offered(tmp_path, monkeypatch):
    plugin(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LtbenchError, match=r"^--plugin own: No module named 'own'; did you mean 'own\.py'\?$"):
        load_plugin("own")


def test_a_plugins_mistake_is_one_message_without_traceback(command, tmp_path):
    plugin(tmp_path, "def broken(:\n")
    done = command("show", "ce", "--plugin", "own.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --plugin own.py:1: SyntaxError: ") and done.stderr.count("\n") == 1


# Options


@pytest.fixture
def sample(own_registry):
    @register("sample")
    class Sample(Method):
        """Has options of every kind."""

        def __init__(
            self,
            problem,
            *,
            count: Annotated[int, Interval(ge=1, le=6)] = 3,
            rate: Annotated[float, Ge(0)] = 0.5,
            kind: Literal["linear", "cosine"] = "linear",
            flag: bool = False,
            times: tuple[float, ...] = (0.5, 0.75),
            base: Ref = Ref("ride", {"experts": 2}),
            loose=7,
        ):
            super().__init__(problem)

    yield Sample
    registry._model.cache_clear()


def test_options_are_read_off_the_signature(sample):
    assert {option.name: option.default for option in describe(sample)} == {
        "count": 3, "rate": 0.5, "kind": "linear", "flag": False, "times": [0.5, 0.75],
        "base": {"ride": {"experts": 2}}, "loose": 7,
    }  # fmt: skip
    kinds = {option.name: option.type for option in describe(sample)}
    assert kinds["base"] == "method" and kinds["loose"] == "int"
    assert "int" in kinds["count"] and "1" in kinds["count"] and "6" in kinds["count"], "its limits, too"


def test_defaults_are_filled_in_down_to_the_base(sample):
    full = resolve("sample", {"rate": 1})
    assert list(full) == ["count", "rate", "kind", "flag", "times", "base", "loose"]
    assert full["rate"] == 1.0 and type(full["rate"]) is float
    assert full["base"].method == "ride" and full["base"].options["experts"] == 2
    assert full["base"].options["head"] == "cosine", "its own defaults, too"
    assert resolve("sample", full) == full


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"count": 0}, ("count",), "must be greater than or equal to 1, got 0"),
        ({"count": 7}, ("count",), "must be less than or equal to 6, got 7"),
        ({"count": 2.0}, ("count",), "must be a whole number, got 2.0"),
        ({"count": True}, ("count",), "must be a whole number, got True"),
        ({"count": "2"}, ("count",), "got '2'"),
        ({"count": None}, ("count",), "got None"),
        ({"rate": -0.1}, ("rate",), "must be greater than or equal to 0, got -0.1"),
        ({"rate": float("inf")}, ("rate",), "must be a finite number"),
        ({"kind": "cosin"}, ("kind",), "must be 'linear' or 'cosine', got 'cosin'; did you mean 'cosine'?"),
        ({"flag": 1}, ("flag",), "got 1"),
        ({"contu": 1}, ("contu",), "unknown option of sample 'contu'; did you mean 'count'?"),
        ({"base": "rid"}, ("base",), "unknown method 'rid'; did you mean 'ride'?"),
        ({"base": 3}, ("base",), "a method is a name, or one name with its options indented below it, got 3"),
        ({"base": {"ce": {}, "bbn": {}}}, ("base",), "a method is a name, or one name with its options"),
        ({"base": {"ride": 3}}, ("base", "ride"), "the options of ride must be a mapping, got 3"),
        ({"base": {"ride": {"experts": 9}}}, ("base", "ride", "experts"), "must be less than or equal to 6, got 9"),
    ],
)
def test_a_refused_option_is_named_with_its_path(sample, given, path, message):
    with pytest.raises(OptionError) as caught:
        resolve("sample", given)
    ((where, said),) = caught.value.faults
    assert where == path and message in said


def test_all_faults_are_told_at_once(sample):
    with pytest.raises(OptionError) as caught:
        resolve("sample", {"count": 9, "rate": -1, "typo": 1, "base": {"ride": {"experts": 0}}})
    assert {path for path, _ in caught.value.faults} == {("count",), ("rate",), ("typo",), ("base", "ride", "experts")}


def test_an_option_without_a_default_is_the_authors_mistake_and_named():
    @register("demanding")
    class Demanding(Method):
        """Asks for too much."""

        def __init__(self, problem, *, size: int):
            super().__init__(problem)

    with pytest.raises(LtbenchError, match=r"Demanding: option 'size' has no default"):
        resolve("demanding", {})


def test_defaults_that_name_one_another_are_a_cycle():
    for name, other in (("one", "two"), ("two", "one")):

        @register(name)
        class Ring(Method):
            """Needs the other."""

            def __init__(self, problem, *, base: Ref = Ref(other)):
                super().__init__(problem)

    with pytest.raises(LtbenchError, match="a cycle: one -> two -> one"):
        resolve("one", {})


def test_a_method_without_options_has_none():
    assert resolve("bbn", {}) == {} and list(describe(get("bbn"))) == []
    with pytest.raises(OptionError, match=r"unknown option of bbn 'size' \(allowed: none\)"):
        resolve("bbn", {"size": 1})


def test_the_default_of_a_ref_is_one():
    class Second(Method):
        def __init__(self, problem, *, base: Ref = "ce"):
            super().__init__(problem)

    with pytest.raises(LtbenchError, match=r"Second: option 'base': its default is no Ref: write Ref\('ce'\)"):
        registry.signature(Second)


def test_a_relative_import_in_a_file_is_told_how_it_is_written(tmp_path):
    (tmp_path / "mine.py").write_text("from .ce import CE\n")
    with pytest.raises(
        LtbenchError, match=r"mine.py:1: .*relative import.*; a file imports ltbench's methods as `from l"
    ):
        load_plugin(str(tmp_path / "mine.py"))
