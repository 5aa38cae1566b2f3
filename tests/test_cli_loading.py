from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from headway.declare.loading import FlowSpec, load_flow
from headway.errors import FlowError, UsageError

FLOW = """
import headway as hw

flow = hw.Flow("clicks")
limit = flow.param("limit", 3, help="how many")
clicks = flow.source("clicks", hw.Json, hw.items([]), time="at")
clicks.trigger("clicked", hw.to_list([]))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return tmp_path


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def refused(ref: str, kind: type[Exception] = FlowError, **parameters: str) -> str:
    with pytest.raises(kind) as caught:
        load_flow(FlowSpec(ref, parameters))
    return str(caught.value)


def test_a_file_gives_its_flow() -> None:
    assert load_flow(FlowSpec(write("clicks.py", FLOW))).name == "clicks"


def test_a_module_gives_its_flow() -> None:
    write("loading_package/__init__.py", "")
    write("loading_package/shared.py", "NAME = 'relative'")
    write("loading_package/clicks.py", "import headway as hw\nfrom .shared import NAME\nflow = hw.Flow(NAME)")
    assert load_flow(FlowSpec("loading_package.clicks")).name == "relative"
    assert load_flow(FlowSpec("loading_package.clicks:flow")).name == "relative"


def test_a_spec_survives_json() -> None:
    spec = FlowSpec("a.py:flow", {"limit": "5"})
    assert FlowSpec(**json.loads(json.dumps(asdict(spec)))) == spec
    assert (spec.target, spec.attribute) == ("a.py", "flow")


def test_the_file_is_read_afresh_each_time() -> None:
    for name in ("first", "other"):
        write("clicks.py", FLOW.replace('"clicks"', f'"{name}"', 1))
        assert load_flow(FlowSpec("clicks.py")).name == name
    assert not Path("__pycache__").exists()


def test_an_edited_module_is_read_afresh() -> None:
    for name in ("first", "other"):
        write("loading_fresh.py", FLOW.replace('"clicks"', f'"{name}"', 1))
        assert load_flow(FlowSpec("loading_fresh")).name == name


def test_annotations_of_a_file_resolve() -> None:
    text = FLOW + (
        "\nclass Click(hw.Event):\n    user: 'Who'\n    at: hw.Time\n"
        "\nclass Who(hw.Event):\n    name: str\n"
        "\nother = flow.source('other', Click, hw.items([]), time='at')\n"
    )
    event_type = load_flow(FlowSpec(write("typed.py", "from __future__ import annotations\n" + text))).graph
    from headway.graph import Port
    from headway.types.decoding import LineCodec

    click = LineCodec(event_type.types[Port("other")]).decode(b'{"user": {"name": "ann"}, "at": 3}')
    assert click.user.name == "ann"


def test_a_file_imports_what_lies_beside_it() -> None:
    write("flows/loading_beside.py", "NAME = 'beside'")
    write("flows/one.py", "import headway as hw\nfrom loading_beside import NAME\nflow = hw.Flow(NAME)")
    assert load_flow(FlowSpec("flows/one.py")).name == "beside"


def test_parameters_are_set() -> None:
    write("clicks.py", FLOW)
    assert load_flow(FlowSpec("clicks.py", {"limit": "7"})).parameters["limit"].value == 7
    assert load_flow(FlowSpec("clicks.py")).parameters["limit"].value == 3


def test_parameters_that_do_not_fit_are_refused() -> None:
    write("clicks.py", FLOW)
    assert "no parameter 'limt'; it has limit" in refused("clicks.py", UsageError, limt="7")
    assert "a whole number" in refused("clicks.py", UsageError, limit="many")


def test_the_only_flow_may_have_any_name() -> None:
    write("clicks.py", FLOW.replace("flow", "job"))
    assert load_flow(FlowSpec("clicks.py")).name == "clicks"


def test_one_of_several_flows_must_be_named() -> None:
    write("both.py", 'import headway as hw\na = hw.Flow("one")\nb = hw.Flow("two")\n')
    message = refused("both.py")
    assert "2 flows" in message
    assert "both.py:a" in message and "both.py:b" in message
    assert load_flow(FlowSpec("both.py:b")).name == "two"


def test_the_one_called_flow_is_preferred() -> None:
    write("both.py", 'import headway as hw\na = hw.Flow("one")\nflow = hw.Flow("two")\n')
    assert load_flow(FlowSpec("both.py")).name == "two"


def test_two_names_of_one_flow_are_one_flow() -> None:
    write("alias.py", 'import headway as hw\na = b = hw.Flow("one")\n')
    assert load_flow(FlowSpec("alias.py")).name == "one"


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("clicks.py:flw", "nothing called 'flw'; the flows in it: clicks.py:flow"),
        ("clicks.py:limit", "is a int, not a headway.Flow"),
        ("click.py", "did you mean clicks.py?"),
        ("flows/clicks.py", "did you mean clicks.py?"),
        ("nothing_like_it.py", "there is no file nothing_like_it.py (looked in"),
        ("nothing_like_it", "there is no file or module nothing_like_it"),
        ("nothing.like.it", "there is no file or module nothing.like.it"),
        ("notes.txt", "not a Python file"),
        ("folder", "is a folder, not a flow: name one of the files in it, such as folder/inside.py"),
        ("empty.py", "declares no flow: expected a line such as"),
    ],
)
def test_what_is_not_a_flow_is_refused(ref: str, text: str) -> None:
    write("clicks.py", FLOW)
    write("empty.py", "")
    write("notes.txt", "")
    write("folder/inside.py", "")
    assert text in refused(ref)


def test_an_error_in_the_flow_shows_its_lines_only() -> None:
    write("loading_helper.py", "def help():\n    return 1 / 0\n")
    write("broken.py", "import loading_helper\n\nloading_helper.help()\n")
    message = refused("broken.py")
    assert 'File "broken.py", line 3, in <module>' in message
    assert 'File "loading_helper.py", line 2, in help' in message
    assert message.endswith("ZeroDivisionError: division by zero")
    assert "importlib" not in message and "headway/declare/loading" not in message


def test_a_mistake_in_the_declaration_names_its_line() -> None:
    write("broken.py", 'import headway as hw\nflow = hw.Flow("x")\nflow.source("s", hw.Json, 7, time="at")\n')
    assert refused("broken.py").startswith("broken.py:3: source 's': 7 is not an input")


def test_a_syntax_error_shows_its_place() -> None:
    message = refused(write("broken.py", "flow = (\n"))
    assert 'File "broken.py", line 1' in message and "SyntaxError" in message


def test_a_missing_package_is_named() -> None:
    message = refused(write("broken.py", "import no_such_package_at_all\n"))
    assert "No module named 'no_such_package_at_all'" in message and "Is it installed" in message


def test_a_relative_import_in_a_file_says_what_to_do() -> None:
    assert "name its module instead" in refused(write("broken.py", "from .shared import NAME\n"))


def test_a_broken_package_is_not_a_missing_one() -> None:
    write("loading_broken/__init__.py", "import no_such_package_at_all\n")
    write("loading_broken/clicks.py", FLOW)
    assert "No module named 'no_such_package_at_all'" in refused("loading_broken.clicks")


def test_a_flow_that_exits_is_refused() -> None:
    assert "ends the program (exit 3)" in refused(write("broken.py", "import sys\nsys.exit(3)\n"))


def test_a_failed_import_leaves_nothing_behind() -> None:
    write("loading_half.py", FLOW)
    load_flow(FlowSpec("loading_half"))
    before = sys.modules["loading_half"]
    write("loading_half.py", "1 / 0")
    refused("loading_half")
    assert sys.modules["loading_half"] is before
