"""What is refused where a target is declared, and what is looked at before a run; secrets, and events as messages."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.targets_harness import delivery_of

import headway as hw
from headway.basics.dsn import Dsn
from headway.basics.secret import Secret, hide
from headway.errors import UsageError
from headway.targets.answers import retry_after_s
from headway.targets.cloudevents import batched, binary, percent_encoded, structured

URL = "https://shop.example/hooks"
texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_percent_encoding_can_be_taken_back(text: str) -> None:
    encoded = percent_encoded(text)
    assert all("!" <= character <= "~" and character != '"' for character in encoded)
    assert unquote(encoded) == text


@given(subject=texts, number=st.integers(0, 10**6))
def test_events_are_json_with_all_attributes(subject: str, number: int) -> None:
    """The same attributes in each mode; an attribute that would be empty is not there."""
    delivery = replace(delivery_of(number), subject=subject)
    event = msgspec.json.decode(structured(delivery).body)
    assert msgspec.json.decode(batched([delivery, delivery]).body) == [event, event]
    headers = {name.removeprefix("ce-"): unquote(value) for name, value in binary(delivery).headers.items()}
    del headers["content-type"]
    assert headers == {name: event[name] for name in event if name not in ("data", "datacontenttype")}
    assert ("subject" in event) is bool(subject) and event.get("subject", "") == subject


def test_a_list_has_the_id_of_what_is_in_it() -> None:
    first, second = delivery_of(1), delivery_of(2)
    assert batched([first, second]).id == batched([first, replace(second, attempt=5)]).id != batched([first]).id


@given(st.text() | st.integers().map(str), st.floats(-1e12, 1e12))
def test_retry_after_is_never_out_of_range(text: str, now_s: float) -> None:
    found = retry_after_s(text, now_s)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "shop.example/hooks"}, "is no address of an HTTP service"),
        ({"url": "ftp://shop.example/"}, "is no address of an HTTP service"),
        ({"url": "http://"}, "is no address of an HTTP service"),
        ({"url": "http://shop.example:99999/"}, "is no address of an HTTP service"),
        ({"url": "http://shop.example/a b"}, "is no address of an HTTP service"),
        ({"url": "http://shop.example/\r\nx: 1"}, "is no address of an HTTP service"),
        ({"url": "https://ann:swordfish@shop.example/"}, "has a name or a password in it"),
        ({"url": URL + "#part"}, "has a part behind #"),
        ({"url": ""}, "is empty"),
        ({"secret": "whsec_short"}, "<signing secret \\*\\*\\*> cannot sign: expected 'whsec_' and 24 to 64 bytes"),
        ({"secret": "swordfish"}, "cannot sign"),
        ({"secret": [""]}, "signing secret is empty"),
        ({"mode": "other"}, "mode='other' is none"),
        ({"headers": {"ce-id": "x"}}, "'ce-id' is set by Headway itself"),
        ({"headers": {"Content-Length": "5"}}, "is set by Headway itself"),
        ({"headers": {"x y": "5"}}, "is no name of a header"),
        ({"headers": {"x": "swordfish\r\ny: 1"}}, "the value of 'x' is no text of one line"),
        ({"timeout": "soon"}, "timeout 'soon' is not a length of time"),
        ({"timeout": 0}, "timeout=0 is out of range"),
        ({"timeout": "2h"}, "timeout='2h' is out of range: expected a length of time from 1ms to 1h"),
        ({"concurrency": 0}, "concurrency=0 is out of range: expected a whole number from 1 to 10,000"),
        ({"concurrency": 2.5}, r"concurrency=2\.5 is out of range: expected a whole number"),
        ({"concurrency": True}, "concurrency=True is out of range"),
        ({"rate": -1}, r"rate=-1 is out of range: expected a number from 0\.001 to 10,000,000"),
        ({"mode": "batched", "batch": 0}, "batch=0 is out of range"),
        ({"mode": "batched", "batch": 2.0}, r"batch=2\.0 is out of range: expected a whole number"),
        ({"answers": {99: "done"}}, "answers: 99"),
        ({"answers": {409: "perhaps"}}, "answers: 409: 'perhaps' says nothing"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        hw.webhook(**{"url": URL, **options})
    assert "swordfish" not in str(raised.value) and raised.value.__cause__ is None


def test_what_is_looked_at_before_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("httptools", reason="httptools is not installed")
    for options, said in (
        ({"secret": "env:NO_SUCH"}, "no signing secret: the environment variable 'NO_SUCH' is not set"),
        ({"secret": f"file:{tmp_path}/none"}, "none cannot be read (No such file or directory)"),
        ({"secret": f"file:{tmp_path}"}, "cannot be read (Is a directory)"),
        ({"headers": {"X": "Bearer env:NO_SUCH"}}, "no header 'X': the environment variable"),
        ({"url": "env:NO_SUCH"}, "no url: the environment variable"),
    ):
        with pytest.raises(UsageError) as raised:
            hw.webhook(**{"url": URL, **options}).check()  # type: ignore[arg-type]
        assert said in str(raised.value)
    monkeypatch.setenv("BAD", "swordfish")
    for options in ({"secret": "env:BAD"}, {"url": "env:BAD"}):
        with pytest.raises(UsageError) as raised:
            hw.webhook(**{"url": URL, **options}).check()  # type: ignore[arg-type]
        assert "swordfish" not in str(raised.value) and "env:BAD" in str(raised.value)


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (lambda: hw.webhook(URL), "httptools", "http"),
        (lambda: hw.postgres("postgresql://db.example/shop", "carts"), "psycopg", "postgres"),
    ],
)
def test_who_lacks_the_extra_is_told(make: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start of the run: a flow can be declared and explained without."""
    target = make()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module}, which is not installed: pip install 'headway\[{extra}\]'"):
        target.check()


def test_a_secret_in_a_file_that_is_a_link(tmp_path: Path) -> None:
    """Mounted secrets change by a link that leads elsewhere; the file itself stays as it is."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}-secret\n")
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "link"
    link.symlink_to("one")
    secret = Secret(f"file:{link}", "token")
    assert secret.read() == ["one-secret"]
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert secret.read() == ["two-secret"]
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps(secret)


@given(st.lists(texts, max_size=3), texts)
def test_hidden_secrets_are_hidden(secrets: list[str], text: str) -> None:
    shown = hide("".join([text, *secrets, text]), secrets)
    for secret in secrets:
        assert len(secret) < 4 or secret not in shown or secret in "***" * 5


def test_names_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for dsn, shown in (
        ("postgresql://ann:swordfish@db.example/shop", "db.example/shop"),
        ("postgres://ann:sword@fish@a.example:1,b.example:2/shop?password=swordfish", "a.example:1,b.example:2/shop"),
        ("postgresql:///shop", "local/shop"),
        ("host=db.example port=5433 dbname='shop' password='sword fish'", "db.example:5433/shop"),
        ("env:DATABASE_URL", "env:DATABASE_URL"),
    ):
        found = Dsn(dsn)
        assert found.shown == shown and "sword" not in repr(found.__dict__)
    for target in (hw.webhook(URL + "?token=swordfish&v=1"), hw.webhook(URL + "?swordfish")):
        assert "swordfish" not in repr(target) + target.name
    assert hw.webhook("env:SHOP_URL").name == "http env:SHOP_URL"
    assert hw.webhook(URL, name="carts").name == "carts"
