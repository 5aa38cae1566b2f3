from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.cli.failures import report
from headway.cli.main import COMMANDS, headway, main
from headway.cli.options import DURATION, MOMENT, SIZE
from headway.errors import InternalError, UserCodeError

FLOW = """
import headway as hw

flow = hw.Flow("clicks")
limit = flow.param("limit", 3, help="how many clicks are too many")
clicks = flow.source("clicks", hw.Json, hw.items([]), time="at")
clicks.trigger("clicked", hw.to_list([]))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "clicks.py").write_text(FLOW)
    return tmp_path


class Shell:
    """Calls the command and keeps what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *args: str) -> int:
        code = main(args)
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_alone_it_prints_its_help(shell: Shell) -> None:
    assert shell() == 0
    alone = shell.out
    assert shell("--help") == 0
    assert shell.out == alone
    for text in (
        "Usage: headway",
        "headway run flows/abandoned_carts.py --drain",
        "Exit codes:",
        "130  ended by a second",
    ):
        assert text in alone


def _all_commands(found: Any, name: str = "") -> Iterator[str]:
    if name:
        yield name
    for inner in getattr(found, "commands", {}).values():
        yield from _all_commands(inner, f"{name} {inner.name}".strip())


@pytest.mark.parametrize("command", list(_all_commands(headway)))
def test_every_command_and_option_has_help(shell: Shell, command: str) -> None:
    assert shell(*command.split(), "--help") == 0
    found: Any = headway
    for name in command.split():
        found = found.commands[name]
    assert found.help
    assert all(param.help for param in found.params if isinstance(param, click.Option))
    assert "..." not in shell.out.partition("Commands:")[2]


def test_the_version_is_told(shell: Shell) -> None:
    assert shell("version") == 0
    assert shell.out.startswith("headway 0.1.0 (Python 3.")
    told = shell.out
    assert shell("--version") == 0
    assert shell.out == told


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["rnu"], 2, "there is no command 'rnu'; did you mean 'run'?"),
        (["clicks.py"], 2, "to run a flow: headway run clicks.py"),
        (
            ["xyzzy"],
            2,
            f"there are {', '.join(str(known.name) for known in COMMANDS)}",
        ),
        (["generate", "shpo"], 2, "did you mean 'shop'?"),
        (["--jsn"], 2, "--jsn"),
        (["run"], 2, "Missing argument 'FLOW'"),
        (["run", "clicks.py", "--worker", "2"], 2, "--workers"),
        (["run", "clicks.py", "--workers", "0"], 2, "1<=x<=64"),
        (["run", "clicks.py", "--set", "limit"], 2, "'limit' has no '=': write --set NAME=VALUE"),
        (["run", "clicks.py", "--set", "=5"], 2, "'=5' has no '='"),
        (["run", "clicks.py", "--set", "limit=5", "--set", "limit=6"], 2, "'limit' is given twice: '5' and '6'"),
        (["run", "clicks.py", "--set", "limt=5"], 2, "has no parameter 'limt'; it has limit"),
        (["run", "clicks.py", "--set", "limit=many"], 2, "a whole number (default 3)"),
        (["run", "clicks.py", "--epoch", "soon"], 2, "'soon' is not a length of time"),
        (["run", "clicks.py", "--epoch", "9ms"], 2, "9ms is too short: it must be 10ms or longer"),
        (["run", "clicks.py", "--hang-after", "10ms"], 2, "must be 2000ms or longer"),
        (["run", "clicks.py", "--cache", "lots"], 2, "'lots' is not a size: write bytes with a unit"),
        (["run", "clicks.py", "--drain", "--follow"], 2, "choose one of the two"),
        (["run", "clicks.py", "--state", "clicks.py"], 2, "is a file"),
        (["run", "clicks.py", "--process", "0"], 2, "No such option '--process'"),
        (["run", "click.py"], 2, "did you mean clicks.py?"),
        (["run", "no/such/flow.py"], 2, "there is no file no/such/flow.py"),
        (["explain", "clicks.py:flo"], 2, "clicks.py:flow"),
        (["generate", "shop", "events", "--late", "2"], 2, "late = 2.0 cannot be used: expected a share from 0 to 0.9"),
        (["generate", "shop", "events", "--start", "noon"], 2, "'noon' is not a time"),
        (["generate", "shop", "clicks.py"], 2, "is a file"),
        (["generate", "check", "nothing", "clicks.py"], 2, "does not exist"),
        (["generate", "check", ".", "clicks.py"], 4, "cannot read expected.jsonl: No such file or directory"),
        (["state", "ls"], 2, "give a flow or a state directory"),
        (["state", "ls", "--state", ".", ".", "c"], 3, "not a state directory"),
        (["state", "ls", "."], 3, "."),
        (["state", "get", "clicks.py", "x", "y"], 3, ".headway/clicks"),
    ],
)
def test_a_mistake_is_one_clear_message(shell: Shell, args: list[str], code: int, text: str) -> None:
    assert shell(*args) == code
    assert shell.out == ""
    assert shell.err.startswith("headway: error: ")
    assert text in shell.err
    assert "Traceback" not in shell.err


def test_a_mistake_is_an_object_with_json(shell: Shell) -> None:
    assert shell("run", "clicks.py", "--set", "limt=5", "--json") == 2
    error = json.loads(shell.out)["error"]
    assert error["type"] == "UsageError" and error["exit_code"] == 2
    assert "limt" in error["message"] and error["message"] in shell.err
    assert shell("run", "clicks.py", "--nonsense", "--json") == 2
    assert json.loads(shell.out)["error"]["exit_code"] == 2
    for options in (["--mermaid"], ["--machine", "life"]):
        assert shell("explain", "clicks.py", "--json", *options) == 2
        assert "choose one" in json.loads(shell.out)["error"]["message"]


def test_json_is_refused_where_the_flow_writes_to_stdout(shell: Shell) -> None:
    Path("clicks.py").write_text(FLOW.replace("hw.to_list([])", "hw.to_stdout()"))
    assert shell("run", "clicks.py", "--json") == 2
    assert "so does the output 'clicked' of the flow" in json.loads(shell.out)["error"]["message"]


def test_an_unexpected_error_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("gone")
    except KeyError as error:
        assert report(error, as_json=True) == 70
    out, err = capsys.readouterr()
    assert "unexpected KeyError" in err and "Traceback" in err and "please report it" in err
    assert json.loads(out)["error"]["type"] == "KeyError"


def test_an_internal_error_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(InternalError("rows are upside down"), as_json=False) == 70
    assert "rows are upside down\nThis is an error of Headway itself" in capsys.readouterr().err


def test_an_error_of_the_flows_code_shows_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def handler() -> None:
        raise ValueError("boom")

    try:
        try:
            handler()
        except ValueError as cause:
            raise UserCodeError("on_event failed") from cause
    except UserCodeError as error:
        assert report(error, as_json=False) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "headway: error: on_event failed"
    assert lines[-2:] == ['    raise ValueError("boom")', "ValueError: boom"]


def test_an_interrupt_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(KeyboardInterrupt(), as_json=False) == 130
    assert "goes on from its last durable epoch" in capsys.readouterr().err


def test_a_question_that_is_not_answered_by_y_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(click.Abort(), as_json=False) == 1
    assert "not confirmed, so nothing was changed: answer y, or give --yes" in capsys.readouterr().err


def test_explain_in_three_forms(shell: Shell) -> None:
    assert shell("explain", "clicks.py", "--set", "limit=5") == 0
    assert "limit  5 (default 3)  how many clicks are too many" in shell.out
    assert "output dead-letters: plain JSON to files in .headway/clicks/dead-letters" in shell.out
    assert shell("explain", "clicks.py", "--mermaid") == 0
    assert shell.out.startswith("flowchart TD\n")
    assert shell("explain", "clicks.py", "--json") == 0
    assert json.loads(shell.out)["flow"] == "clicks"
    assert not Path(".headway").exists()


def test_explain_draws_a_state_machine(shell: Shell) -> None:
    assert shell("explain", "headway.flows.order_saga", "--machine", "life") == 0
    assert shell.out.startswith("stateDiagram-v2\n    [*] --> new\n")
    assert "    shipped --> lost : after 7d\n" in shell.out
    assert shell("explain", "clicks.py", "--machine", "life") == 2
    assert "no operator 'life' of the flow 'clicks' runs a state machine" in shell.err


def test_a_reader_that_closes_early_is_no_error() -> None:
    code = "import sys; from headway.cli.main import main; sys.exit(main(['explain', 'clicks.py']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_help_and_version_import_neither_engine_nor_state() -> None:
    code = (
        "import sys; from headway.cli.main import main; main(['--help']); main(['run', '--help']); main(['version']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'bytewax', 'rocksdict', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_is_also_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "headway", "rnu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "did you mean 'run'?" in done.stderr


@given(number=st.integers(0, 2**40), unit=st.sampled_from(["", "B", "KiB", "MiB", "GiB", "kB", "MB", "gib"]))
def test_sizes_are_read(number: int, unit: str) -> None:
    scale = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6}[unit.lower()]
    assert SIZE.convert(f"{number}{unit}", None, None) == number * scale
    assert SIZE.convert(f" {number} {unit} ", None, None) == number * scale


def test_durations_and_times_are_read() -> None:
    assert DURATION.convert("1h30m", None, None) == 5_400_000
    assert MOMENT.convert("2026-01-01T00:00:00Z", None, None) == 1_767_225_600_000
    assert MOMENT.convert("1767225600000", None, None) == 1_767_225_600_000
