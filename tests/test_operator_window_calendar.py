"""Calendar windows: against SQL with time zones, and at the odd hours of zones against their definition."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.windows_harness import Row, bounds, logs_of, rows, sql, window_flow

import headway as hw
from headway.operators.windows.calendar import Calendar

DAY_MS = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Where midnight comes twice, DuckDB takes the second: see the odd zones below.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago", "UTC"]


def ms(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def windowers(zone: str) -> list[Calendar]:
    return [hw.daily(zone), hw.weekly(zone), hw.weekly(zone, starts_on="sunday"), hw.monthly(zone)]


WINDOWERS = st.sampled_from([windower for zone in ZONES for windower in windowers(zone)])

# Around the changes of the clocks in spring and autumn, and anywhere in two years.
TIMES = st.one_of(
    st.integers(ms("2024-03-08T00:00+00:00"), ms("2024-04-09T00:00+00:00")),
    st.integers(ms("2024-10-05T00:00+00:00"), ms("2024-11-05T00:00+00:00")),
    st.integers(ms("2023-01-01T00:00+00:00"), ms("2024-12-31T00:00+00:00")),
)

EVENTS = st.lists(
    st.fixed_dictionaries({"at": TIMES, "key": st.sampled_from("ab"), "value": st.integers(-9, 9)}), max_size=20
)


def start_sql(windower: Calendar) -> str:
    local = f"to_timestamp(t / 1000.0) at time zone '{windower.zone}'"
    if windower.unit == "week":
        shift = f"interval ({windower.starts_on}) days"
        return f"date_trunc('week', {local} - {shift}) + {shift}"
    return f"date_trunc('{windower.unit}', {local})"


@settings(SLOW, max_examples=100)
@given(found=EVENTS, windower=WINDOWERS)
def test_the_results_are_those_of_sql(found: list[Row], windower: Calendar) -> None:
    instant = f"epoch_ms(({{}}) at time zone '{windower.zone}')"
    query = (
        f"select key, {instant.format('s')}, {instant.format(f's + interval 1 {windower.unit}')}, count(*), "
        f"sum(value)::bigint from (select *, {start_sql(windower)} as s from events) group by key, s order by key, s"
    )
    assert bounds(rows(window_flow(windower), found)) == sql(query, found)


@settings(SLOW, max_examples=6)
@given(found=EVENTS, windower=WINDOWERS, where=conditions())
def test_the_engine_does_as_the_oracle(found: list[Row], windower: Calendar, where: Conditions) -> None:
    check(window_flow(windower), logs_of(found), where)


def test_days_have_23_24_or_25_hours() -> None:
    berlin = hw.daily("Europe/Berlin")
    for day, hours in (("2024-03-31", 23), ("2024-04-01", 24), ("2024-10-27", 25)):
        start = berlin.pane(ms(f"{day}T12:00+00:00"))
        assert berlin.first_end(start) - start == hours * 3_600_000
        assert berlin.start(berlin.first_end(start)) == start


ODD_ZONES = {
    "skips midnight": ("America/Sao_Paulo", "2018-11-04T03:00+00:00"),
    "skips from before midnight to after it": ("America/Toronto", "1919-03-31T04:00+00:00"),
    "has midnight twice": ("America/Havana", "2024-11-03T05:00+00:00"),
    "turns back a minute after midnight": ("America/St_Johns", "2010-11-07T02:00+00:00"),
    "left out a day": ("Pacific/Apia", "2011-12-30T10:00+00:00"),
    "had a day twice": ("Pacific/Kwajalein", "1969-10-01T00:00+00:00"),
}


@pytest.mark.parametrize("zone, around", ODD_ZONES.values(), ids=ODD_ZONES.keys())
def test_a_day_begins_when_its_date_is_first_seen(zone: str, around: str) -> None:
    windower, clock = hw.daily(zone), ZoneInfo(zone)
    # The definition: watch the clock minute by minute; a day begins when a later date than ever appears.
    first, last = ms(around) - 3 * DAY_MS, ms(around) + 3 * DAY_MS
    latest = (EPOCH + timedelta(milliseconds=first)).astimezone(clock).date()
    starts = []
    for instant in range(first, last, 60_000):
        day = (EPOCH + timedelta(milliseconds=instant)).astimezone(clock).date()
        if day > latest:
            latest = day
            starts.append(instant)
    assert len(starts) >= 4
    for start, end in itertools.pairwise(starts):
        for inside in (start, (start + end) // 2, end - 1):
            assert windower.pane(inside) == start
        assert windower.first_end(start) == end
        assert windower.start(end) == start
        assert windower.next_end(start) == end
