"""What the shop generator writes: sizes, shares, order, determinism, files and errors."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import zstandard

from headway.errors import OutputError, UsageError
from headway.generate.shop import Report, ShopOptions, generate_shop


class Shop(msgspec.Struct):
    user: str
    kind: Literal["view", "add", "remove", "checkout"]
    at: int
    sku: str = ""
    price: float = 0.0


def decoded(line: bytes) -> Shop | None:
    try:
        return msgspec.json.decode(line, type=Shop)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_lines(report: Report) -> list[list[bytes]]:
    """The lines of each partition."""
    contents = [path.read_bytes() for path in report.files]
    assert all(content.endswith(b"\n") or not content for content in contents)
    return [content.split(b"\n")[:-1] for content in contents]


def read_events(report: Report) -> list[list[Shop]]:
    """The well-formed events of each partition."""
    return [[event for line in lines if (event := decoded(line))] for lines in read_lines(report)]


def digest(report: Report) -> str:
    names = sorted(path.name for path in report.directory.iterdir())
    return hashlib.sha256(b"".join((report.directory / name).read_bytes() for name in names)).hexdigest()


def generate(directory: Path, **options: Any) -> Report:
    return generate_shop(ShopOptions(**options), directory)


def gap_behind_ms(events: list[Shop]) -> list[int]:
    """For each event, how far it stands behind the newest one before it."""
    gaps = []
    newest_ms = 0
    for event in events:
        gaps.append(max(newest_ms - event.at, 0))
        newest_ms = max(newest_ms, event.at)
    return gaps


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A stream in which everything goes wrong now and then."""
    return generate(tmp_path_factory.mktemp("rough"), events=20_000, late=0.03, duplicates=0.05, corrupt=0.02)


def test_events_are_exactly_as_many_as_wanted_whatever_goes_wrong(rough: Report) -> None:
    lines = [line for partition in read_lines(rough) for line in partition]
    events = [line for line in lines if decoded(line)]
    assert len(set(events)) == rough.events == 20_000
    assert len(events) == rough.events + rough.duplicates
    assert len(lines) == rough.lines == rough.events + rough.duplicates + rough.corrupt


@pytest.mark.parametrize("events", [1, 2, 3, 10, 4_095, 4_096, 4_097, 9_000])
def test_exact_for_any_number_of_events(tmp_path: Path, events: int) -> None:
    report = generate(tmp_path, events=events, late=0.2, rate=300)
    lines = [line for partition in read_lines(report) for line in partition]
    assert report.events == len(set(lines)) == len(lines) == events


def test_line_is_as_documented(rough: Report) -> None:
    with_article = rb'"kind": "(view|add|remove)", "at": \d{13}, "sku": "s\d{4}", "price": \d{1,3}\.\d\d'
    without = rb'"kind": "(view|checkout)", "at": \d{13}'
    form = re.compile(rb'\{"user": "u\d{6}", (' + with_article + rb"|" + without + rb")\}")
    for line in (line for partition in read_lines(rough) for line in partition if decoded(line)):
        assert form.fullmatch(line), line


def test_article_has_one_price(rough: Report) -> None:
    prices = defaultdict(set)
    for event in (event for events in read_events(rough) for event in events if event.sku):
        prices[event.sku].add(event.price)
    assert len(prices) == 1_000
    assert all(len(each) == 1 for each in prices.values())


def test_user_is_in_one_partition_and_partitions_share_the_users(rough: Report) -> None:
    users = [{event.user for event in events} for events in read_events(rough)]
    assert sum(map(len, users)) == len(set.union(*users)) == rough.users
    assert min(map(len, users)) > 0.8 * rough.users / 4


def test_times_of_a_user_are_distinct(tmp_path: Path) -> None:
    report = generate(tmp_path, events=10_000, users=2, rate=800, hot=0.5, partitions=1)
    times = Counter((event.user, event.at) for event in read_events(report)[0])
    assert max(times.values()) == 1


@pytest.mark.parametrize("disorder_ms", [0, 1, 5, 2_000, 60_000])
def test_disorder_stays_within_the_bound(tmp_path: Path, disorder_ms: int) -> None:
    report = generate(tmp_path, events=8_000, disorder_ms=disorder_ms, duplicates=0.1, rate=200, partitions=2)
    gaps = [gap for events in read_events(report) for gap in gap_behind_ms(events)]
    assert max(gaps) <= max(disorder_ms - 1, 0)
    assert disorder_ms < 5 or max(gaps) > 0.5 * disorder_ms


@pytest.mark.parametrize("disorder_ms", [0, 300])
def test_late_events_are_late_and_no_others(tmp_path: Path, disorder_ms: int) -> None:
    report = generate(tmp_path, events=20_000, disorder_ms=disorder_ms, late=0.05, duplicates=0.05)
    gaps = [gap for events in read_events(report) for gap in gap_behind_ms(events)]
    assert sum(gap > disorder_ms for gap in gaps) == report.late
    assert report.late == pytest.approx(0.05 * 20_000, rel=0.15)


def test_duplicates_are_the_same_line_again_at_once_or_later(rough: Report) -> None:
    assert rough.duplicates == pytest.approx(0.05 * 20_000, rel=0.15)
    at_once = later = 0
    for lines in read_lines(rough):
        last_at = {line: number for number, line in enumerate(lines) if decoded(line)}
        distances = [last_at[line] - number for number, line in enumerate(lines) if last_at.get(line, number) != number]
        at_once += distances.count(1)
        later += len(distances) - distances.count(1)
    assert at_once + later == rough.duplicates
    assert min(at_once, later) > 0.2 * rough.duplicates


def test_corrupt_lines_are_of_all_kinds_and_no_decoder_takes_them(rough: Report) -> None:
    corrupt = [line for lines in read_lines(rough) for line in lines if not decoded(line)]
    assert len(corrupt) == rough.corrupt == pytest.approx(0.02 * 20_000, rel=0.25)
    assert all(corrupt)
    kinds = Counter(map(corruption, corrupt))
    assert set(kinds) == {"no object", "not UTF-8", "no time", "wrong time", "cut short", "broken"}
    assert min(kinds.values()) > 0.08 * rough.corrupt


def corruption(line: bytes) -> str:
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError:
        return "broken" if line.endswith(b"}") else "cut short"
    if not isinstance(record, dict):
        return "no object"
    return "wrong time" if "at" in record else "no time"


def test_report_and_summary_tell_what_is_there(rough: Report) -> None:
    partitions = read_events(rough)
    times = [event.at for events in partitions for event in events]
    assert (rough.first_ms, rough.last_ms) == (min(times), max(times))
    newest = {path.name: max(event.at for event in events) for path, events in zip(rough.files, partitions)}
    assert rough.watermarks == {name: newest_ms - 2_001 for name, newest_ms in newest.items()}
    assert rough.bytes == sum(path.stat().st_size for path in rough.files)
    assert rough.abandoned == len((rough.directory / "expected.jsonl").read_text().splitlines()) > 500
    summary = json.loads((rough.directory / "summary.json").read_text())
    assert summary.pop("options") == {each.name: each.default for each in fields(ShopOptions)} | {
        "events": 20_000,
        "late": 0.03,
        "duplicates": 0.05,
        "corrupt": 0.02,
    }
    assert summary == rough.as_dict()


def test_partition_without_users_is_an_empty_file(tmp_path: Path) -> None:
    report = generate(tmp_path, events=100, users=1, partitions=2)
    assert sorted(path.stat().st_size > 0 for path in report.files) == [False, True]
    assert sum(watermark is None for watermark in report.watermarks.values()) == 1


def test_rate_is_met_from_the_start(tmp_path: Path) -> None:
    report = generate(tmp_path, events=10_000, rate=50, users=1_000_000, comebacks=0)
    times = sorted(event.at for events in read_events(report) for event in events)
    assert times[-1] - times[0] == pytest.approx(200_000, rel=0.05)
    assert times[5_000] - times[0] == pytest.approx(100_000, rel=0.1)


def test_start(tmp_path: Path) -> None:
    report = generate(tmp_path, events=1_000, start_ms=0)
    assert 0 < report.first_ms < 5_000


def test_sessions_have_the_wanted_length_and_pauses(tmp_path: Path) -> None:
    report = generate(
        tmp_path, events=30_000, users=10_000_000, session_events=5, pause_ms=4_000, comebacks=0, disorder_ms=0
    )
    assert report.events / report.sessions == pytest.approx(5, rel=0.05)
    last_ms: dict[str, int] = {}
    pauses_ms = []
    for event in (event for events in read_events(report) for event in events):
        if event.user in last_ms and event.at - last_ms[event.user] < 60_000:
            pauses_ms.append(event.at - last_ms[event.user])
        last_ms[event.user] = event.at
    assert sum(pauses_ms) / len(pauses_ms) == pytest.approx(4_000, rel=0.05)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_share_of_sessions_that_leave_a_cart(tmp_path: Path, share: float) -> None:
    report = generate(tmp_path, events=20_000, users=10_000_000, abandoned=share, looking=0.3, comebacks=0, rate=2)
    # The sessions that the end of the stream cuts short leave carts too: about 40 of 2,000 are under way.
    assert share - 0.03 < report.abandoned / report.sessions < share + 0.05


def test_comebacks_are_pauses_around_and_beyond_the_due_time(tmp_path: Path) -> None:
    report = generate(
        tmp_path, events=40_000, users=10_000_000, comebacks=0.2, looking=0, abandoned=0, rate=2, disorder_ms=0
    )
    changed_ms: dict[str, int] = {}
    beyond_ms = []
    for event in (event for events in read_events(report) for event in events):
        silence_ms = event.at - changed_ms.get(event.user, event.at) - 1_800_000
        if silence_ms >= 0:
            beyond_ms.append(silence_ms)
        if event.kind in ("add", "remove"):
            changed_ms[event.user] = event.at
        elif event.kind == "checkout" or silence_ms >= 0:
            changed_ms.pop(event.user, None)
    # Not every session gets so far that something is in the cart before its pause.
    assert 0.1 < len(beyond_ms) / report.sessions < 0.2
    assert beyond_ms.count(0) > 0.15 * len(beyond_ms)
    assert beyond_ms.count(1) > 0.15 * len(beyond_ms)
    assert sum(gap > 600_000 for gap in beyond_ms) > 0.2 * len(beyond_ms)


def test_looking_only(tmp_path: Path) -> None:
    report = generate(tmp_path, events=2_000, looking=1, abandoned=0)
    assert {event.kind for events in read_events(report) for event in events} == {"view"}
    assert report.abandoned == 0


def test_hot_user_has_its_share(tmp_path: Path) -> None:
    report = generate(tmp_path, events=20_000, hot=0.4)
    events = Counter(event.user for events in read_events(report) for event in events)
    assert events["u000000"] == pytest.approx(0.4 * 20_000, rel=0.1)
    assert events.most_common(2)[1][1] < 100


def test_skew_follows_zipf(tmp_path: Path) -> None:
    report = generate(tmp_path, events=40_000, users=1_000, skew=1.0, session_events=1, pause_ms=1)
    events = Counter(event.user for events in read_events(report) for event in events)
    harmonic = sum(1 / rank for rank in range(1, 1_001))
    for rank in (1, 2, 3, 10):
        assert events[f"u{rank - 1:06d}"] == pytest.approx(40_000 / rank / harmonic, rel=0.12)


def test_same_options_give_the_same_bytes_and_others_do_not(tmp_path: Path) -> None:
    options = {"events": 3_000, "late": 0.02, "duplicates": 0.02, "corrupt": 0.02, "skew": 0.8, "hot": 0.1}
    digests = [digest(generate(tmp_path / str(n), seed=seed, **options)) for n, seed in enumerate((1, 1, 2, 3))]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_bytes_are_the_same_on_every_python_and_with_every_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from headway.generate.shop import *;"
        "mishaps = dict(late=0.02, duplicates=0.02, corrupt=0.02);"
        "generate_shop(ShopOptions(events=2_000, rate=5, hot=0.1, skew=0.9, **mishaps), sys.argv[1])"
    )
    for seed in ("1", "2"):
        target = tmp_path / seed
        subprocess.run([sys.executable, "-c", code, str(target)], check=True, env={"PYTHONHASHSEED": seed})
        content = b"".join(path.read_bytes() for path in sorted(target.glob("*.jsonl")))
        assert hashlib.sha256(content).hexdigest() == "54d01dc749ca2d708e23fb04897febae5a11e36e4004b8b93a8bfe0df5b83d26"


def test_disorder_and_repetition_do_not_change_the_story(tmp_path: Path) -> None:
    calm = generate(tmp_path / "calm", events=5_000, disorder_ms=0)
    rough = generate(tmp_path / "rough", events=5_000, disorder_ms=9_000, corrupt=0.1)
    assert (calm.directory / "expected.jsonl").read_bytes() == (rough.directory / "expected.jsonl").read_bytes()


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_compressed_partitions_hold_the_same_lines(tmp_path: Path, compress: str) -> None:
    plain = generate(tmp_path / "plain", events=9_000)
    packed = generate(tmp_path / "packed", events=9_000, compress=compress)
    for one, other in zip(plain.files, packed.files, strict=True):
        assert other.name == one.name + {"gzip": ".gz", "zstd": ".zst"}[compress]
        assert unpacked(other) == one.read_bytes()
    assert packed.bytes < plain.bytes / 2


def unpacked(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return zstandard.ZstdDecompressor().stream_reader(BytesIO(path.read_bytes())).read()


def test_progress_goes_up_to_the_number_of_events(tmp_path: Path) -> None:
    seen: list[int] = []
    generate_shop(ShopOptions(events=30_000, late=0.05), tmp_path, progress=seen.append)
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == 30_000


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("peak memory is read from /proc")
    code = (
        "import sys; from headway.generate.shop import *;"
        "generate_shop(ShopOptions(events=int(sys.argv[2]), late=0.01, skew=0.5), sys.argv[1]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks_kb = []
    for events in (60_000, 300_000):
        command = [sys.executable, "-c", code, str(tmp_path / str(events)), str(events)]
        peaks_kb.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    # A stream held in memory would add 240,000 lines of 133 bytes, 32 MB.
    assert peaks_kb[1] - peaks_kb[0] < 3_000


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("events", 0, "a whole number from 1"),
        ("events", 1.5, "a whole number"),
        ("events", True, "a whole number"),
        ("users", -3, "a whole number from 1"),
        ("rate", 0, "from 0.001"),
        ("rate", float("nan"), "from 0.001"),
        ("rate", "20/s", "a number"),
        ("skew", -0.1, "a Zipf exponent"),
        ("start_ms", -1, "epoch milliseconds"),
        ("session_events", 0, "a whole number from 1"),
        ("pause_ms", 0, "a whole number from 1"),
        ("after_ms", 10**12, "a year"),
        ("disorder_ms", -1, "a whole number from 0"),
        ("late", 0.95, "a share from 0 to 0.9"),
        ("hot", 1, "a share from 0 to 0.9"),
        ("duplicates", 1.1, "a share from 0 to 1"),
        ("corrupt", -0.1, "a share from 0 to 1"),
        ("abandoned", 2, "a share from 0 to 1"),
        ("looking", 0.9, "together with abandoned = 0.3"),
        ("comebacks", 2, "a share from 0 to 1"),
        ("partitions", 10_001, "at most 10000"),
        ("compress", "rar", "one of none, gzip, zstd"),
        ("seed", -1, "a whole number from 0"),
    ],
)
def test_unusable_option_is_refused(name: str, value: object, expectation: str) -> None:
    with pytest.raises(UsageError, match=f"{name} = {re.escape(repr(value))} cannot.*{re.escape(expectation)}"):
        ShopOptions(**{name: value})  # type: ignore[arg-type]


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"corrupt = 0\.3 .* late = 0\.4, duplicates = 0\.4"):
        ShopOptions(late=0.4, duplicates=0.4, corrupt=0.3)
    with pytest.raises(UsageError, match=r"users = 1 .* at least 2 with hot = 0\.5"):
        ShopOptions(users=1, hot=0.5)
    with pytest.raises(UsageError, match=r"rate = 2000 .* the busiest one would make 1000"):
        ShopOptions(rate=2_000, hot=0.5)
    with pytest.raises(UsageError, match=r"rate = 600 .* one user"):
        ShopOptions(rate=600, users=1)
    with pytest.raises(UsageError, match=r"pause_ms = 86400000 .* sessions under way"):
        ShopOptions(rate=1_000, pause_ms=86_400_000)


def test_every_option_has_a_help_text() -> None:
    for option in fields(ShopOptions):
        assert option.metadata["help"].endswith("."), option.name


def test_earlier_stream_is_kept_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    first = generate(tmp_path, events=100, partitions=3)
    (tmp_path / "notes.txt").write_text("mine")
    before = digest(first)
    with pytest.raises(OutputError, match=r"already holds 5 files of an earlier stream, like expected\.jsonl"):
        generate(tmp_path, events=100, partitions=1)
    assert digest(first) == before
    generate_shop(ShopOptions(events=100, partitions=1, compress="gzip"), tmp_path, overwrite=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["expected.jsonl", "notes.txt", "shop-0000.jsonl.gz", "summary.json"]
