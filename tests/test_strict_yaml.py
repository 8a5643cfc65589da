"""The strict reader: what each spelling means, what is refused and on which line, and that nothing else gets out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import no_hang
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import strict_yaml
from ltbench.errors import LtbenchError, near
from ltbench.strict_yaml import dotted, parse, parse_value, read

SUITE = """\
# comment
data: {name: cifar100_lt, imbalance: 100}
backbone: resnet32
seeds: [0, 1, 2]
recipe: {name: ride200, epochs: 200, lr: 0.1, weight_decay: 5.0e-4, steps: [0.8, 0.9], augment: [crop, flip, rotate15]}
methods:
  - ce
  - crt: {base: ldam_drw}
  - ride_distill: {experts: 3, teacher: {ride: {experts: 6}}}
"""
SUITE_VALUE = {
    "data": {"name": "cifar100_lt", "imbalance": 100},
    "backbone": "resnet32",
    "seeds": (0, 1, 2),
    "recipe": {
        "name": "ride200",
        "epochs": 200,
        "lr": 0.1,
        "weight_decay": 5e-4,
        "steps": (0.8, 0.9),
        "augment": ("crop", "flip", "rotate15"),
    },
    "methods": (
        "ce",
        {"crt": {"base": "ldam_drw"}},
        {"ride_distill": {"experts": 3, "teacher": {"ride": {"experts": 6}}}},
    ),
}


def refusal(text: str) -> str:
    with pytest.raises(LtbenchError) as caught:
        parse(text, "s.yaml")
    message = str(caught.value)
    assert message.startswith("s.yaml:")
    assert "\n" not in message
    assert len(message) < 250
    return message


def test_suite_is_read_with_its_lines() -> None:
    document = parse(SUITE, "suites/x.yaml")
    assert document.value == SUITE_VALUE
    assert document.lines[()] == 2
    assert document.lines[("recipe", "lr")] == 5
    assert document.lines[("methods",)] == 6
    assert document.lines[("methods", 2)] == 9
    assert document.lines[("methods", 2, "ride_distill", "teacher", "ride")] == 9


def test_a_key_has_its_own_line_and_an_item_that_of_its_value() -> None:
    lines = parse("a:\n\n  b:\n    - 1\n\n    - c:\n        2\n", "s").lines
    assert lines == {(): 1, ("a",): 1, ("a", "b"): 3, ("a", "b", 0): 4, ("a", "b", 1): 6, ("a", "b", 1, "c"): 6}


def test_where_names_the_nearest_known_line_and_the_full_path() -> None:
    document = parse(SUITE, "suites/x.yaml")
    assert document.where(("methods", 2, "ride_distill")) == "suites/x.yaml:9: methods[2].ride_distill"
    assert document.where(("recipe", "momentum")) == "suites/x.yaml:5: recipe.momentum"
    assert document.where(("nothing", 3, "x")) == "suites/x.yaml:2: nothing[3].x"
    assert document.where(()) == "suites/x.yaml:2"


def test_dotted() -> None:
    assert dotted(("methods", 3, "ride")) == "methods[3].ride"
    assert dotted((0, 1, "a")) == "[0][1].a"
    assert dotted(()) == ""
    assert dotted(("a", "b\nc", "")) == "a.'b\\nc'.''"


VALUES: list[tuple[str, Any]] = [
    ("1e-3", 1e-3),
    ("1E5", 1e5),
    (".5", 0.5),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("5.0e-4", 5e-4),
    ("0.1", 0.1),
    ("-1", -1),
    ("+3", 3),
    ("0", 0),
    ("-0", 0),
    ("9223372036854775807", 2**63 - 1),
    ("-9223372036854775808", -(2**63)),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("false", False),
    ("False", False),
    ("FALSE", False),
    *((word, word) for word in ("no", "No", "yes", "on", "off", "y", "n", "tRUE", "12:30", "1:2:3", "2024-01-02")),
    *(
        (word, word)
        for word in ("2001-12-14t21:59:43Z", "1.2.3", "1e", "e5", ".", "-x", "0x", "_1", "1_a", "=", "infra")
    ),
    *((word, None) for word in ("null", "Null", "NULL", "~", "")),
    *((f"'{word}'", word) for word in ("1", "017", "true", "null", "", ".inf", "<<", "*a", "0x1F", "1_000")),
    ('"a\\tb\\u00e9"', "a\tb\u00e9"),
    ("|\n  a\n  1\n", "a\n1\n"),
    ("plain text on\n  two lines", "plain text on two lines"),
    ("text # comment", "text"),
    ("[]", ()),
    ("{}", {}),
    ("{a, b: }", {"a": None, "b": None}),
    ("[on, [1, {x: 2.0}]]", ("on", (1, {"x": 2.0}))),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_value(text: str, value: Any) -> None:
    found = parse(f"a: {text}", "s").value["a"]
    assert found == value
    assert type(found) is type(value)


REFUSED = [
    ("a: 1\nb: 017", 2, "'017' has a leading zero"),
    ("a: -08", 1, "has a leading zero"),
    ("a: 007.5", 1, "has a leading zero"),
    ("017: x", 1, "has a leading zero"),
    ("a: 0x1F", 1, "'0x1F' is not decimal"),
    ("a: 0o17", 1, "is not decimal"),
    ("a: 0b11", 1, "is not decimal"),
    ("a: 1_000", 1, "'_' between digits"),
    ("a:\n - .inf", 2, "'.inf' is not a finite number"),
    ("a: -.INF", 1, "not a finite number"),
    ("a: .NaN", 1, "not a finite number"),
    ("a: nan", 1, "not a finite number"),
    ("a: -Infinity", 1, "not a finite number"),
    ("a: 1e999", 1, "'1e999' is not a finite number"),
    ("a: 9223372036854775808", 1, "too large (2^63"),
    ("a: -9223372036854775809", 1, "too large"),
    ("a: 1\nb: 2\na: 3", 3, "the key 'a' is given twice (first on line 1)"),
    ("x:\n  - {a: 1,\n     'a': 3}", 3, "'a' is given twice (first on line 2)"),
    ("a: 1\n2: b", 2, "a key must be text, but '2' is not"),
    ("1.5: b", 1, "a key must be text"),
    ("~: b", 1, "a key must be text"),
    ("true: b", 1, "a key must be text"),
    ("? \n: 2", 1, "a key must be text, but '' is not"),
    ("{: 2}", 1, "a value is missing"),
    ("? [a]\n: 1", 1, "a key must be text, not a list or mapping"),
    ("a: 1\n{b: 1}: 1", 2, "a key must be text, not a list or mapping"),
    ("a: 1\nb: !!python/object:os.system x", 2, "tags are not used in suites (found 'tag:yaml.org"),
    ("a: !foo x", 1, "tags are not used"),
    ("a: !!str x", 1, "tags are not used"),
    ("a: ! x", 1, "tags are not used"),
    ("!!map {a: 1}", 1, "tags are not used"),
    ("!!str a: 1", 1, "tags are not used"),
    ("a: !e!x 1", 1, "tags are not used"),
    ("a: 1\nb: &x 1", 2, "anchors and aliases"),
    ("a: 1\nb: *x", 2, "anchors and aliases"),
    ("*x : 1", 1, "anchors and aliases"),
    ("&x a: 1", 1, "anchors and aliases"),
    ("a: &x [*x]", 1, "anchors and aliases"),
    ("a: *", 1, "quote it"),
    ("a: 1\n<<: {b: 1}", 2, "merge keys (<<)"),
    ("a: 1\n---\nb: 2", 2, "a second document"),
    ("a: 1\n...\nb: 2", 3, "after the end of the document"),
    ("%YAML 1.2\n---\na: 1", 1, "directives"),
    ("%TAG !e! tag:x,2000:\n---\na: 1", 1, "directives"),
    ("%OTHER x\n---\na: 1", 1, "directives"),
    ("", 1, "empty"),
    ("\ufeff", 1, "empty"),
    ("# only a comment\n\n", 1, "empty"),
    ("# c\n---\n", 2, "empty"),
    ("a: 1\nb: \x07", 2, "the character U+0007 is not allowed"),
    ("a: 1\r\nb: 1\r\n\0", 3, "U+0000"),
    ("a: \ud800", 1, "U+D800"),
    ("a: \x85", 1, "U+0085"),
    ("a: b\u2028c", 1, "U+2028"),
    ("a: \ufeff", 1, "U+FEFF"),
    ('a:\n  "b\\0c"', 2, "U+0000"),
    ('"\\ud800": 1', 1, "U+D800"),
    ('a: 1\nb: "\\UFFFFFFFF"', 2, "an escape or number is out of range"),
    ('a: "\\U00110000"', 1, "an escape or number is out of range"),
    # Where the column is known it follows the line.
    ("a: 1\nb: c: d", 2, "5: ': ' where no key can begin"),
    ("a:\n  b: 1\n   c: 2", 3, "5: ': ' where no key can begin"),
    ("a:\n\t- x", 2, "1: a tab: indent with spaces"),
    ("a: [1, 2\nb: 3", 2, "a ',' or the closing ']' is missing (in what begins on line 1)"),
    ("a: {b: 1", 1, "9: a ',' or the closing '}' is missing"),
    ("a: 'x\n\n", 3, "a quote is opened and never closed (in what begins on line 1)"),
    ("a: @x", 1, "4: text cannot begin with this character: quote it"),
    ("a: -", 1, "'- ' where no item can begin"),
    ("a:\n  - b\n c: d", 3, "wrong indentation"),
    ("- a\nb: 1", 2, "wrong indentation"),
    ("[a] b", 1, "after the end of the document"),
    ("a: }", 1, "a value is missing"),
    ('a: "\\q"', 1, "unknown escape character 'q'"),
    ("[" * 51 + "]" * 51, 1, "nested more than 50 deep"),
]


@pytest.mark.parametrize(("text", "line", "fragment"), REFUSED)
def test_refused(text: str, line: int, fragment: str) -> None:
    message = refusal(text)
    assert message.startswith(f"s.yaml:{line}:")
    assert fragment in message


def test_fifty_deep_is_read() -> None:
    value = parse("[" * 50 + "]" * 50, "s").value
    for _ in range(49):
        (value,) = value
    assert value == ()


HOSTILE = {
    "brackets": "[" * 100_000,
    "braces": "{" * 100_000,
    "block lists": "- " * 100_000,
    "explicit keys": "? " * 100_000,
    "flow mappings": "{a: " * 100_000,
    "mixed": "[{a: " * 100_000,
    "indentation": "".join(" " * n + "a:\n" for n in range(1_300)),
    "laughs": "a: &a [x,x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}]\n" for n in range(20)),
    "holds itself": "a: &a [*a]",
    "merge bomb": "b: {<<: [{x: 1}, {y: 2}]}",
    "python": "a: !!python/object/apply:os.system ['true']",
    "digits": "a: " + "1" * 900_000,
    "float digits": "a: " + "1" * 900_000 + ".5",
    "underscores": "a: " + "1_1" * 300_000,
    "exponent": "a: 1e" + "9" * 900_000,
    "open quote": "a: '" + "x" * 900_000,
    "long key": "? " + "x" * 400_000 + "\n: 1\n? " + "x" * 400_000 + "\n: 2",
    "comments": "#\n" * 490_000,
    "wide list": "[" + "a," * 490_000 + "]",
    "wide mapping": "".join(f"k{n}:\n" for n in range(120_000)),
    "directive": "%YAML 1." + "1" * 900_000 + "\n---\na",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_refused_and_hangs_nobody(name: str) -> None:
    with no_hang():
        refusal(HOSTILE[name])


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SUITE.replace("\n", "\r\n").encode())
    document = read(file)
    assert document.path == str(file)
    assert document.value == SUITE_VALUE
    assert document.lines[("methods", 2)] == 9


def file_refusal(path: str | Path) -> str:
    with pytest.raises(LtbenchError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:").strip()


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_refusal("no/./such.yaml") == "no such file"
    assert file_refusal(tmp_path) == "is a directory, not a file"
    assert "cannot be read" in file_refusal("a\0b")
    Path("plain").write_text("a: 1")
    assert "cannot be read" in file_refusal("plain/below.yaml")

    def locked(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", locked)  # file modes do not stop root
    assert file_refusal("plain") == "1: cannot be read: Permission denied"


def test_files_with_unusable_bytes(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    assert file_refusal(file) == "2: not UTF-8 text (byte 0xe9)"
    file.write_bytes("a: 1".encode("utf-16"))
    assert "not UTF-8" in file_refusal(file)
    file.write_bytes(b"")
    assert file_refusal(file).startswith("1: empty")
    file.write_bytes(b"a: 1\n#" + b"x" * strict_yaml.MAX_BYTES)
    assert file_refusal(file) == "1: the file is larger than 1 MB"
    file.write_bytes(b"a: 1\n#" + b"x" * (strict_yaml.MAX_BYTES - 6))
    assert read(file).value == {"a": 1}


def test_an_endless_file_is_not_read_whole() -> None:
    assert "larger than 1 MB" in file_refusal("/dev/zero")


def test_parse_value() -> None:
    assert parse_value("1e-3") == 1e-3
    assert parse_value(" off ") == "off"
    assert parse_value("null") is None
    assert parse_value("''") == ""
    assert parse_value("[0, {a: 1}]") == (0, {"a": 1})


@pytest.mark.parametrize(
    "text", ["", "  ", "# x", "a: b", "- a", "[1", "017", "&a 1", "!!str 1", "{a: 1, a: 2}", "\udcff"]
)
def test_parse_value_refuses(text: str) -> None:
    with pytest.raises(LtbenchError, match=r"^(?!value)"):
        parse_value(text)


def test_near() -> None:
    assert near("expert", ["experts", "teacher"]) == "did you mean 'experts'?"
    assert near("LR", ["lr", "epochs"]) == "did you mean 'lr'?"
    assert near("zzz", ["experts", "teacher"]) == ""
    assert near("x", []) == ""
    assert near("rid", ["ce", "ride_ea", "ride(experts=3)"]) == "did you mean 'ride(experts=3)'?"


def frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value


# JSON leaves DEL and the C1 controls as they are; those, the Unicode line ends and the BOM are refused by the reader.
texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=20
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.sampled_from(
        ["1", "017", "no", "null", "~", "<<", "*a", "&a", "!t", "a: b", "- a", "# c", "---", "1e3", "0x1F"]
    ),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(values, st.sampled_from([None, 2]))
def test_json_is_read_back_equal(value: Any, indent: int | None) -> None:
    found = parse(json.dumps(value, ensure_ascii=False, indent=indent), "s.json").value
    assert found == frozen(value)
    assert repr(found) == repr(frozen(value))  # 1, 1.0 and True are equal; -0.0 and 0.0 are too


GOOD = SUITE.encode()
edits = st.tuples(
    st.integers(0, len(GOOD)),  # where
    st.integers(0, 3),  # how many bytes go
    st.sampled_from([b"", *(bytes([byte]) for byte in b"\0\t\n\r \"'#%&*,-:<>?@[]`{|}!~0\\\xff\xc3")])
    | st.binary(max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(edits, min_size=1, max_size=6))
def test_a_mutated_suite_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: list[Any]) -> None:
    data = GOOD
    for start, gone, put in changes:
        data = data[:start] + put + data[start + gone :]
    file = tmp_path_factory.getbasetemp() / "mutated.yaml"
    file.write_bytes(data)
    with no_hang():
        try:
            read(file)
        except LtbenchError as error:
            assert str(error).startswith(f"{file}:")
