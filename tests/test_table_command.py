"""`ltbench table`, as a user meets it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import calls
import make_records
import pytest
from make_records import write

from ltbench.tables import Options, load


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The results folder of make_records.five()."""
    return write(tmp_path_factory.mktemp("five"), *make_records.five()).parent


def cells(shown: str, label: str) -> list[str]:
    """The words of a row, as printed."""
    (line,) = (line for line in shown.splitlines() if line.startswith(label))
    return line.removeprefix(label).split()


@pytest.mark.parametrize(("kind", "name"), [("text", "80.txt"), ("json", "table.json"), ("csv", "table.csv")])
def test_the_command_prints_what_the_golden_file_says(command, five, kind, name):
    done = command("table", five, "--format", kind)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (make_records.GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["text", "md"])
def test_out_writes_a_file_and_prints_nothing(command, five, tmp_path, kind):
    out = tmp_path / "new" / "table"
    done = command("table", five, "--format", kind, "--out", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert out.read_text(encoding="utf-8") == (
        make_records.GOLDEN / ("80.txt" if kind == "text" else "table.md")
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["table.md", "table.tex", "table.csv", "table.json", "table.html"])
def test_the_ending_of_out_is_its_format(command, five, tmp_path, name):
    assert command("table", five, "--out", tmp_path / name).returncode == 0
    assert (tmp_path / name).read_text(encoding="utf-8") == (make_records.GOLDEN / name).read_text(encoding="utf-8")
    assert command("table", five, "--out", tmp_path / name, "--format", "md").returncode == 0, "what is said counts"
    assert (tmp_path / name).read_text(encoding="utf-8") == (make_records.GOLDEN / "table.md").read_text(
        encoding="utf-8"
    )


def test_a_bad_record_is_told_on_stderr_the_good_are_shown_and_the_exit_code_is_1(command, tmp_path):
    rows, made = make_records.five()
    folder = write(tmp_path, rows, made)
    bad = folder / f"{made[-1].stem}.json"
    bad.write_text("{")
    done = command("table", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"refused: {bad}: not a record") and done.stderr.count("\n") == 1
    assert cells(done.stdout, "ce  ")[:2] == ["3", "60.0±24.8"]
    assert cells(done.stdout, "ride(experts=3) ")[:4] == ["1", "60.0", "(1", "of"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "jsn"], "--format: unknown choice 'jsn'; did you mean 'json'?"),
        (["--baseline", "bbm"], "--baseline: unknown row 'bbm'; did you mean 'bbn'?"),
        (["--baseline", ""], "--baseline: unknown row ''"),
        (["--groups=-5,-9"], "--groups -5,-9: write numbers of images, from 0 on"),
        (["--groups", "100"], "--groups 100: write two numbers, as in 100,20"),
        (["--groups", "20,100"], "--groups 20,100: many > 20 and few < 100 overlap: lower the second"),
        (["--columns", "label,,n"], "--columns: unknown column ''"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(command, five, words, message):
    done = command("table", five, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_where_no_results_are_it_says_so(command, tmp_path):
    done = command("table", tmp_path / "absent")
    assert done.returncode == 2 and "no results here" in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_in_the_place_of_the_file_is_named(five, capsys, tmp_path):
    """The message named the file that is written beside it first."""
    done = calls.ltbench(capsys, "table", five, "--out", tmp_path)
    assert (
        done.code == 2
        and done.err == f"error: --out {tmp_path}: a folder is there; name a file, such as {tmp_path}/table.md\n"
    )


def test_a_reader_that_goes_away_makes_no_traceback(five):
    rest = f"{sys.executable} -m ltbench table {five} --format json"
    # the reader closes the pipe before anything is written
    done = subprocess.run(["bash", "-c", f"{rest} | true"], capture_output=True, text=True)
    assert done.stderr == ""
    done = subprocess.run(["bash", "-c", f"{rest} | head -1"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_terminal_without_the_sign_gets_another(five):
    done = calls.cold("table", five, COLUMNS="80", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == "" and "60.0?24.8" in done.stdout


def test_a_file_gets_all_columns_and_a_window_those_that_it_has_room_for(five):
    """Into a file, or a job's log, tables were cut to 80 columns."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    words = [sys.executable, "-m", "ltbench", "table", str(five)]
    for more, fits in (({}, True), ({"COLUMNS": "80"}, False)):
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment | more)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("No room here" not in done.stdout) == fits == ("train min" in done.stdout.splitlines()[1])


def test_a_file_gets_all_columns_where_the_command_is_typed_in_a_narrow_window(five, tmp_path):
    pty = pytest.importorskip("pty")
    termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    main, window = pty.openpty()
    fcntl.ioctl(window, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = [sys.executable, "-m", "ltbench", "table", str(five)]
    with open(tmp_path / "table.txt", "w") as file:
        subprocess.run(words, stdin=window, stdout=file, stderr=window, env=environment, check=True)
    subprocess.run(
        [*words, "--out", str(tmp_path / "out.txt")], stdin=window, stderr=window, env=environment, check=True
    )
    piped = subprocess.run(words, stdin=window, capture_output=True, text=True, env=environment, check=True).stdout
    os.close(window)
    os.close(main)
    for name in ("table.txt", "out.txt"):
        assert "No room here" not in (tmp_path / name).read_text()
    assert "No room here" in piped, "a pager shows it in that window"


ALL = """
import sys
from pathlib import Path
from rich.console import Console
from ltbench import writers
from ltbench.tables import Options, load
sys.stdout.reconfigure(encoding="utf-8")
folder = Path(sys.argv[1])
for options in (Options(), Options(metric="balanced", test_list="backward10", sort="gain")):
    board = load(folder, options)
    for kind in writers.FORMATS[1:]:
        print(writers.render(board, kind, options))
    writers.show(board, Console(file=sys.stdout, width=80), options)
"""
ENVIRONMENTS = [
    {"TZ": "UTC", "PYTHONHASHSEED": "1"},
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "2"},
    {"TZ": "America/St_Johns", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "3"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0", "PYTHONHASHSEED": "4"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONHASHSEED": "5"},
]


def test_the_same_records_give_the_same_bytes_wherever_it_is(five):
    printed = [
        subprocess.run(
            [sys.executable, "-c", ALL, str(five)], capture_output=True, check=True, env=os.environ | environment
        ).stdout
        for environment in ENVIRONMENTS
    ]
    assert len(printed[0]) > 5000 and len(set(printed)) == 1


def test_a_folder_that_may_only_be_read_is_enough(tmp_path):
    folder = write(tmp_path, *make_records.five())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    folder.chmod(0o555)
    try:
        board = load(folder)
    finally:
        folder.chmod(0o755)
    assert len(board.rows) == 3
    # root may write anywhere: nothing must have tried
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_only_shows_the_rows_that_are_named_and_the_baseline_and_says_so(five, capsys):
    done = calls.ltbench(capsys, "table", five, "--only", "bbn", "--format", "json")
    assert [row["label"] for row in json.loads(done.out)] == ["ce", "bbn"]
    done = calls.ltbench(capsys, "table", five, "--only", "ride", "--format", "md")
    assert "| ride(experts=3)" in done.out and "| ce" in done.out and "| bbn" not in done.out
    assert "Only the rows that --only names, and the baseline; the suite may have more." in done.out
    (row,) = load(five, Options(only=("ride(experts=3)",), baseline="ride(experts=3)")).rows
    assert row["label"] == "ride(experts=3)" and row["gain"] is None
    assert "--only names" not in calls.ltbench(capsys, "table", five).out
    done = calls.ltbench(capsys, "table", five, "--only", "rode")
    assert (
        done.code == 2
        and "--only: unknown row 'rode'; did you mean 'ride(experts=3)'? (allowed: ce, ride(experts=3), bbn)"
        in done.err
    )


def test_what_is_bold_is_the_best_of_the_block_shown_or_not(five):
    assert [row["best"] for row in load(five).rows] == [True, True, False]
    assert [row["best"] for row in load(five, Options(only=("ce",))).rows] == [True], (
        "not told apart from what is hidden"
    )


def test_suites_without_the_rows_that_are_named_are_left_out(tmp_path):
    rows, made = make_records.five()
    write(tmp_path, rows, made)
    write(tmp_path, rows[:1], made[:3], suite="other")
    assert {row["suite"] for row in load(tmp_path).rows} == {"toy", "other"}
    assert {row["suite"] for row in load(tmp_path, Options(only=("bbn",))).rows} == {"toy"}


def test_figures_and_report_take_only_too(five, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert calls.ltbench(capsys, "report", five, "--only", "ride", "--out", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert "Only the rows that --only names" in text and "bbn" not in text and "ride(" in text
    done = calls.ltbench(capsys, "plot", five, "--only", "bbn", "--out", tmp_path / "figures")
    assert done.code == 0 and "ride(" not in (tmp_path / "figures" / "toy" / "gain.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table",), "many > 250, medium 60..250, few < 60"),
        (("compare", "ce", "ride(experts=3)"), "many > 250, medium 60..250, few < 60 training images."),
        (("analyze",), "many 0, medium 2, few 1 (many > 250, medium 60..250, few < 60"),
        (("report", "--out", "page.html"), ""),
        (("plot", "--out", "figures"), ""),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_all_that_shows_groups_takes_other_ones(command, tmp_path, words, said):
    """A folder of one's own may have no class of more than 100 images."""
    made = [make_records.predicted(label, 0, (9, 5, 1)) for label in ("ce", "ride(experts=3)")]
    there = write(tmp_path / "results", [make_records.row([run]) for run in made], made)
    shown = command(*words, there, "--groups", "250,60", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert said in " ".join(shown.stdout.split())
    if words[0] == "report":
        assert "3: 0 many, 2 medium, 1 few" in (tmp_path / "page.html").read_text()
    if words[0] == "plot":
        assert command("plot", there, "--out", "plain", cwd=tmp_path).returncode == 0
        one, other = ((tmp_path / name / "toy" / "gain.svg").read_bytes() for name in ("figures", "plain"))
        assert one != other
    wrong = command(*words, there, "--groups", "60", cwd=tmp_path)
    assert wrong.returncode == 2 and "--groups 60: write two numbers" in wrong.stderr
