from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from headway.cli.main import main

FLOW = """
import pathlib
import time
import headway as hw

class Click(hw.Event):
    user: str
    at: hw.Time

class Seen(hw.State):
    clicks: int = 0

class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        ctx.timer("idle", event.at + 30)
        if event.at == boom:
            raise ValueError("boom")
        if slow:
            pathlib.Path("reached").write_text(event.user)
            time.sleep(0.2)

    def on_timer(self, state, timer, ctx):
        ctx.emit({"clicks": state.clicks})
        ctx.forget()

flow = hw.Flow("clicks")
boom = flow.param("boom", 0)
slow = flow.param("slow", False)
where = flow.param("to", "counted.jsonl")
log = flow.param("log", "clicks.jsonl")
clicks = flow.source("clicks", Click, hw.files(log), time="at")
output = hw.to_jsonl(where) if where else hw.to_stdout()
clicks.key_by("user").process("count", Count()).trigger("counted", output)
"""


def clicks(first: int, count: int) -> str:
    return "".join(json.dumps({"user": f"user{n % 50}", "at": n}) + "\n" for n in range(first, first + count))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(
        "headway.basics.compiled.notice", lambda: None
    )  # Whether the compiled part is on is tested elsewhere.
    Path("clicks.py").write_text(FLOW)
    Path("clicks.jsonl").write_text(clicks(1, 1_000))
    return tmp_path


def ended(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str, dict[str, str], list[str]]:
    """The headline, the facts by name and the notes of a run."""
    assert main(["run", "clicks.py", *args]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    # On a busy machine there may be a line of progress before.
    headline, *rest = [line for line in err.splitlines() if not re.match(r"clicks: [\d,]+ events? \(", line)]
    notes = [line.strip() for line in rest if line.startswith("  note: ")]
    facts = dict(line.strip().split("  ", 1) for line in rest if not line.startswith("  note: "))
    return headline, {name: value.strip() for name, value in facts.items()}, notes


def test_the_summary_says_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    headline, facts, notes = ended(capsys)
    assert headline == "clicks: the input is read to its end"
    assert list(facts) == ["events", "late", "counted", "dead letters", "state", "watermark"]
    assert facts["events"].startswith("1,000 in ")
    assert "in all" not in facts["events"]
    assert facts["counted"].endswith("to file counted.jsonl")
    assert facts["dead letters"] == "0  to files in .headway/clicks/dead-letters"
    assert facts["state"].endswith("in .headway/clicks")
    assert facts["watermark"] == "1970-01-01T00:00:00.999Z"
    assert notes and notes[0].endswith("for time to pass; --drain closes the books")


def test_the_next_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    ended(capsys)
    headline, facts, _ = ended(capsys)
    assert headline == "clicks: nothing new: the input had been read to its end"
    assert facts["events"].startswith("0 in ") and facts["events"].endswith("; 1,000 in all")
    with Path("clicks.jsonl").open("a") as log:
        log.write(clicks(1_001, 500))
    headline, facts, _ = ended(capsys, "--drain")
    assert headline == "clicks: resumed after 1,000 events; the books are closed: all timers have fired"
    assert facts["events"].startswith("500 in ") and facts["events"].endswith("; 1,500 in all")
    assert facts["state"].startswith("0 keys, 0 timers, 0 waiting")
    assert main(["run", "clicks.py"]) == 3


def test_as_json_there_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "clicks.py", "--json", "--state", "kept", "--epoch", "50ms", "--drain"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    triggers = len(Path("counted.jsonl").read_text().splitlines())
    assert triggers == told["triggers"] == told["outputs"]["counted"]["count"] > 0
    assert told["outputs"]["counted"]["to"] == "file counted.jsonl"
    expected = {"flow": "clicks", "status": "drained", "resumed": False, "events": 1_000, "events_total": 1_000}
    expected |= {
        "late": 0,
        "dead_letters": 0,
        "keys": 0,
        "rows": 0,
        "timers": 0,
        "waiting": 0,
        "workers": 1,
        "restarts": 0,
    }
    expected |= {"state_dir": "kept", "notices": []}
    assert {name: told[name] for name in expected} == expected


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "clicks.py", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_dead_letters_and_late_events_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("clicks.jsonl").write_text(clicks(1, 10) + "not json\n" + clicks(1, 1))
    _, facts, _ = ended(capsys)
    assert facts["dead letters"].startswith("1  to files in ")
    assert facts["late"] == "1"
    (letters,) = Path(".headway/clicks/dead-letters/clicks").iterdir()
    assert len(letters.read_text().splitlines()) == 1


def test_what_the_flow_prints_is_all_on_stdout(here: Path) -> None:
    done = command("run", "clicks.py", "--set", "to=", "--drain")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and {line["type"] for line in lines} == {"counted"}
    assert "clicks: the books are closed" in done.stderr


def test_an_error_of_the_flow_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "clicks.py", "--set", "boom=500", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("headway: error: ") and "'count'" in err and "'user0'" in err
    assert 'File "clicks.py"' in err and err.endswith("ValueError: boom\n")
    assert "src/headway" not in err


def test_a_missing_input_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "clicks.py", "--set", "log=nothing.jsonl", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "InputError"


def test_two_workers_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "clicks.py", "--json", "--drain"]) == 0
    alone = Path("counted.jsonl").read_bytes()
    Path("counted.jsonl").unlink()
    capsys.readouterr()
    done = command("run", "clicks.py", "--json", "--drain", "--state", "two", "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["workers"], told["events"], told["status"]) == (2, 1_000, "drained")
    assert Path("counted.jsonl").read_bytes() == alone


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "headway", *args], capture_output=True, text=True, check=False)


class Terminal:
    """The command in a process whose stderr is a terminal; ended with the block."""

    def __init__(self, *args: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headway", *args], stdout=subprocess.DEVNULL, stderr=slave, env=environment
        )
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def read_until(self, text: str) -> None:
        """Read until `text` has been shown."""
        while text not in self.seen:
            assert self._read(), f"{text!r} was never shown: {self.seen[-2000:]}"

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 30)
        assert ready, "nothing was shown for 30 seconds"
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            # How Linux tells that the other end is closed.
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    @property
    def screen(self) -> list[str]:
        """The lines that are left on the screen."""
        lines = [""]
        row = column = 0
        for text, up, erase in re.findall(r"([^\x1b]+)|\x1b\[(\d+)A|(\x1b\[2K)|\x1b\[\??[\d;]*[hlm]", self.seen):
            row -= int(up or 0)
            if erase:
                lines[row] = ""
            for char in text:
                if char == "\r":
                    column = 0
                elif char == "\n":
                    row += 1
                    lines += [""] * (row + 1 - len(lines))
                else:
                    lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
                    column += 1
        return [line for line in lines if line.strip()]


def wait_for(path: str) -> None:
    """Until another process has written something into a file."""
    for _ in range(1_500):
        if Path(path).exists() and Path(path).stat().st_size:
            return
        select.select([], [], [], 0.02)
    pytest.fail(f"{path} was not written in 30 seconds")


def test_a_panel_shows_the_run_and_is_cleared() -> None:
    with Terminal("run", "clicks.py", "--follow") as terminal:
        terminal.read_until("1,000   ")
        assert any("╭─ clicks ─" in line for line in terminal.screen)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
    assert "Ctrl-C stops" in terminal.seen
    assert terminal.screen[0] == "clicks: stopped; the next run goes on from here"
    assert not any("╭" in line or "│" in line for line in terminal.screen)


def test_sigterm_stops_gracefully() -> None:
    with Terminal("run", "clicks.py", "--follow", "--quiet", "--epoch", "50ms") as terminal:
        wait_for("counted.jsonl")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 0
    assert terminal.seen == ""
    assert main(["run", "clicks.py", "--quiet", "--drain"]) == 0
    lines = Path("counted.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 1_000


def test_a_second_interrupt_ends_it_at_once() -> None:
    with Terminal("run", "clicks.py", "--set", "slow=1") as terminal:
        wait_for("reached")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("Ctrl-C again ends it at once")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    assert terminal.screen == ["headway: error: interrupted; started again, a run goes on from its last durable epoch"]
