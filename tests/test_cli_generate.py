from __future__ import annotations

import json
import stat
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.cli.compare import compare
from headway.cli.generate import shop
from headway.cli.main import main
from headway.errors import InputError
from headway.generate import ShopOptions, generate_shop, shop_events
from headway.generate.demo import earlier_stream
from headway.types.decoding import LineCodec
from headway.types.schema import Json


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(directory: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def test_a_stream_is_written_as_its_options_say(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--events", "500", "--out-of-order", "3s", "--after", "10m", "--late", "0.05", "--partitions", "2"]
    assert main(["generate", "shop", "events", *options, "--seed", "7", "--start", "2026-02-03T00:00:00Z"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("events holds 500 events, ")
    wanted = ShopOptions(
        events=500, disorder_ms=3000, after_ms=600_000, late=0.05, partitions=2, seed=7, start_ms=1_770_076_800_000
    )
    generate_shop(wanted, "same")
    assert content("events") == content("same")


def test_there_is_an_option_for_each_field() -> None:
    assert {field.name for field in fields(ShopOptions)} <= {param.name for param in shop.params}


def test_without_options_it_is_the_default_stream() -> None:
    assert main(["generate", "shop", "plain", "--quiet"]) == 0
    assert earlier_stream(Path("plain"), ShopOptions()) is not None


def test_a_stream_that_is_there_is_not_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["generate", "shop", "events", "--events", "100"]
    assert main(args) == 0
    before = {path.name: path.stat().st_mtime_ns for path in Path("events").iterdir()}
    assert main(args) == 0
    assert "already holds this stream: 100 events" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in Path("events").iterdir()} == before


def test_another_stream_is_replaced_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "shop", "events", "--events", "100", "--quiet"]) == 0
    other = ["generate", "shop", "events", "--events", "200", "--quiet"]
    assert main(other) == 4
    assert "already holds" in capsys.readouterr().err
    assert main([*other, "--overwrite"]) == 0
    assert capsys.readouterr() == ("", "")
    assert earlier_stream(Path("events"), ShopOptions(events=200)) is not None


def test_what_a_stream_holds_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["generate", "shop", "events", "--events", "100", "--json"]
    assert main(args) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["events"] == 100 and made["directory"] == "events" and made["options"]["users"] == 10_000
    assert main(args) == 0
    assert json.loads(capsys.readouterr().out) == made


def trigger(cart: dict[str, object]) -> str:
    return json.dumps({"specversion": "1.0", "id": "x", "type": "cart.abandoned", **cart, "due_ms": None})


def test_the_right_triggers_pass_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    report = generate_shop(ShopOptions(events=2_000), "events")
    carts = [json.loads(line) for line in Path("events/expected.jsonl").read_text().splitlines()]
    Path("triggers.jsonl").write_text("".join(trigger(cart) + "\n" for cart in reversed(carts)))
    assert main(["generate", "check", "events", "triggers.jsonl"]) == 0
    assert capsys.readouterr().out == f"{report.abandoned} abandoned carts, all as expected\n"
    assert main(["generate", "check", "events/expected.jsonl", "triggers.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "equal": True,
        "expected": report.abandoned,
        "found": report.abandoned,
        "missing": [],
        "surplus": [],
    }


def test_differences_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    cart = {"subject": "ann", "time": "2026-01-01T00:00:00.000Z", "data": {"items": {"s1": 1}, "total": 2.5}}
    Path("expected.jsonl").write_text(json.dumps(cart) + "\n")
    Path("triggers.jsonl").write_text(trigger({**cart, "data": {"items": {"s1": 2}, "total": 5}}) + "\n")
    assert main(["generate", "check", "expected.jsonl", "triggers.jsonl"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "not as expected: 1 abandoned carts expected, 1 found; 1 missing, 1 not expected",
        '  - 2026-01-01T00:00:00.000Z  ann  {"items": {"s1": 1}, "total": 2.5}',
        '  + 2026-01-01T00:00:00.000Z  ann  {"items": {"s1": 2}, "total": 5}',
        "  (- is missing, + is not expected)",
    ]
    Path("many.jsonl").write_text("".join(trigger({**cart, "subject": f"u{n}"}) + "\n" for n in range(30)))
    assert main(["generate", "check", "expected.jsonl", "many.jsonl"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "  ... and 21 more (- is missing, + is not expected)"


def test_what_is_no_cart_is_refused() -> None:
    Path("expected.jsonl").write_text("")
    Path("triggers.jsonl").write_text('{"subject": "ann"}\n')
    with pytest.raises(InputError, match=r"triggers.jsonl:1 is not a cart"):
        compare(Path("expected.jsonl"), Path("triggers.jsonl"))
    Path("triggers.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"triggers.jsonl:1 is not a cart"):
        compare(Path("expected.jsonl"), Path("triggers.jsonl"))


CARTS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 2)), max_size=8)


@given(wanted=CARTS, found=CARTS)
def test_a_comparison_counts_like_multisets(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, str, int]], found: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("carts")
    for name, carts in (("wanted", wanted), ("found", found)):
        lines = [json.dumps({"time": time, "subject": user, "data": data}) + "\n" for time, user, data in carts]
        (folder / name).write_text("".join(lines))
    outcome = compare(folder / "wanted", folder / "found")
    assert outcome.equal == (Counter(wanted) == Counter(found))
    assert len(outcome.missing) == (Counter(wanted) - Counter(found)).total()
    assert len(outcome.surplus) == (Counter(found) - Counter(wanted)).total()
    assert outcome.as_text().startswith("not as expected") != outcome.equal


def test_the_demo_is_made_when_it_is_first_read() -> None:
    source = shop_events(events=300, seed=3)
    assert not Path(".headway").exists()
    names = source.partitions()
    assert names == [f"shop-{number:04d}.jsonl" for number in range(4)]
    generate_shop(ShopOptions(events=300, seed=3), "same")
    assert content(".headway/shop-demo") == content("same")
    assert [path.name for path in Path(".headway").iterdir()] == ["shop-demo"]
    lines = 0
    for name in names:
        reader = source.open(name, None, follow=False)
        while (chunk := reader.read(1 << 20)) is not None:
            lines += len(chunk.decode(LineCodec(Json)).events)
        reader.close()
    assert lines == 300


def test_the_demo_is_kept_while_it_fits_and_made_anew_otherwise() -> None:
    demo = Path(".headway/shop-demo")
    shop_events(events=100).partitions()
    made = demo.stat().st_ino
    shop_events(events=100).partitions()
    assert demo.stat().st_ino == made
    shop_events(events=200).partitions()
    assert earlier_stream(demo, ShopOptions(events=200)) is not None
    (demo / "shop-0002.jsonl").unlink()
    shop_events(events=200).partitions()
    assert (demo / "shop-0002.jsonl").is_file()
    (demo / "summary.json").write_text("{")
    shop_events(events=200).partitions()
    assert earlier_stream(demo, ShopOptions(events=200)) is not None


def test_the_demo_can_be_read_by_others(here: Path) -> None:
    (here / "plain").mkdir()
    shop_events(events=10).partitions()
    assert stat.S_IMODE(Path(".headway/shop-demo").stat().st_mode) == stat.S_IMODE(Path("plain").stat().st_mode)
