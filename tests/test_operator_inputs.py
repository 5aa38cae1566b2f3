"""Operators with several inputs and with broadcasts, and triggers that revise earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check

import headway as hw
from headway.connectors.base import Input, Output
from headway.errors import UserCodeError
from headway.testing import FlowTest


class Payment(hw.Event):
    user: str
    at: hw.Time
    amount: int


class Profile(hw.Event):
    user: str
    at: hw.Time
    name: str


class Rule(hw.Event):
    at: hw.Time
    limit: int


class Known(hw.State):
    name: str = "?"


class Rules(hw.State):
    limit: int = 10


class Alert(hw.Event):
    name: str
    amount: int
    limit: int


class Score(hw.Operator[Payment, Known, Alert]):
    """Reports payments above the limit that holds at their time."""

    inputs = {"profiles": Profile}
    broadcasts = {"rules": Rule}
    shared_type = Rules

    def on_event(self, state: Known, event: Payment, ctx: hw.Context[Alert]) -> None:
        if event.amount > ctx.shared.limit:
            ctx.emit(Alert(state.name, event.amount, ctx.shared.limit))

    def on_profiles(self, state: Known, event: Profile, ctx: hw.Context[Alert]) -> None:
        state.name = event.name

    def on_rules(self, shared: Rules, event: Rule, ctx: hw.Context[Alert]) -> None:
        shared.limit = event.limit


def scores(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
    flow = hw.Flow("scores")
    payments = flow.source("payments", Payment, input_of("payments"), time="at", out_of_order=20)
    profiles = flow.source("profiles", Profile, input_of("profiles"), time="at", out_of_order=20)
    rules = flow.source("rules", Rule, input_of("rules"), time="at", out_of_order=20)
    alerts = payments.key_by("user").process(
        "score", Score(), profiles=profiles.key_by("user"), rules=rules.broadcast()
    )
    alerts.trigger("alert", output_of("out"), name="out")
    return flow


def in_memory() -> FlowTest:
    return FlowTest(scores(lambda name: hw.items([]), lambda name: hw.to_list([])))


def test_rules_and_profiles_of_a_time_apply_to_the_payments_of_that_time() -> None:
    test = in_memory()
    test.send("payments", Payment("ann", 5, 12))
    test.send("rules", Rule(5, 11))
    test.send("profiles", Profile("ann", 5, "Ann"))
    test.send("payments", Payment("ann", 4, 11))
    test.send("rules", Rule(6, 12))
    test.drain()
    assert [(t["subject"], t["data"]) for t in test.triggers()] == [
        ("ann", {"name": "?", "amount": 11, "limit": 10}),
        ("ann", {"name": "Ann", "amount": 12, "limit": 11}),
    ]


TIMES = st.integers(0, 20)
USERS = st.sampled_from(["a", "b", "c", ""])
PAYMENTS = st.lists(st.builds(lambda u, t, n: {"user": u, "at": t, "amount": n}, USERS, TIMES, st.integers(0, 30)))
PROFILES = st.lists(st.builds(lambda u, t, n: {"user": u, "at": t, "name": n}, USERS, TIMES, st.sampled_from("xyz")))
RULES = st.lists(st.builds(lambda t, n: {"at": t, "limit": n}, TIMES, st.integers(0, 30)), max_size=5)


def expected(payments: list[Any], profiles: list[Any], rules: list[Any]) -> list[Any]:
    """Whatever is in force at the time of a payment, by plain look-ups."""

    def last(versions: list[Any], at: int, default: Any) -> Any:
        known = [version for version in versions if version["at"] <= at]
        return max(enumerate(known), key=lambda item: (item[1]["at"], item[0]))[1] if known else default

    found = []
    for payment in payments:
        at = payment["at"]
        limit = last(rules, at, {"limit": 10})["limit"]
        name = last([p for p in profiles if p["user"] == payment["user"]], at, {"name": "?"})["name"]
        if payment["amount"] > limit:
            found.append((at, payment["user"], name, payment["amount"], limit))
    return sorted(found)


@settings(SLOW, max_examples=25)
@given(payments=PAYMENTS, profiles=PROFILES, rules=RULES, where=conditions())
def test_what_is_in_force_at_the_time_of_an_event_applies(
    payments: list[Any], profiles: list[Any], rules: list[Any], where: Conditions
) -> None:
    logs = {
        "payments": {"p": [*payments, {"user": "", "at": 50, "amount": 0}]},
        "profiles": {"q": [*profiles, {"user": "", "at": 50, "name": ""}]},
        "rules": {"r": [*rules, {"at": 50, "limit": 0}]},
    }
    written = check(scores, logs, where, drain=False)["out"]
    alerts = [(t["subject"], t["data"]["name"], t["data"]["amount"], t["data"]["limit"]) for t in written]
    assert sorted(alerts) == sorted(alert[1:] for alert in expected(payments, profiles, rules))


class Meddler(Score):
    """Does in a broadcast what only handlers of keys may do."""

    def on_rules(self, shared: Rules, event: Rule, ctx: hw.Context[Alert]) -> None:
        ctx.emit(Alert("", 0, 0))


def declared(operator: hw.Operator[Any, Any, Any], **inputs: Any) -> hw.Flow:
    flow = hw.Flow("f")
    rules = flow.source("rules", Rule, hw.items([]), time="at")
    payments = flow.source("payments", Payment, hw.items([]), time="at").key_by("user")
    profiles = flow.source("profiles", Profile, hw.items([]), time="at").key_by("user")
    streams: dict[str, Any] = {
        "rules": rules.broadcast(),
        "profiles": profiles,
        "plain": rules,
        "payments": payments,
    }
    given = {name: streams[stream] for name, stream in inputs.items()}
    payments.process("op", operator, **given).to("out", hw.to_list([]))
    return flow


def test_a_broadcast_handler_cannot_emit() -> None:
    test = FlowTest(declared(Meddler(), rules="rules", profiles="profiles"))
    for source, event in (("payments", Payment("a", 9, 0)), ("profiles", Profile("a", 9, ""))):
        test.send(source, event)
    with pytest.raises(UserCodeError, match=r"on_rules .* ctx\.emit in a handler of a broadcast input"):
        test.send("rules", Rule(5, 5))
        test.send("rules", Rule(9, 5))


class Unhandled(hw.Operator[Payment, Known]):
    inputs = {"profiles": Profile}


class Homeless(hw.Operator[Payment, Known]):
    broadcasts = {"rules": Rule}

    def on_rules(self, shared: Any, event: Rule, ctx: hw.Context[Any]) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("operator", "inputs", "text"),
    [
        (Score(), {"rules": "rules"}, r"Score needs profiles=a keyed stream, not None"),
        (Score(), {"rules": "profiles", "profiles": "profiles"}, r"Score needs rules=stream\.broadcast\(\)"),
        (Score(), {"rules": "rules", "profiles": "plain"}, r"needs profiles=a keyed stream"),
        (Score(), {"rules": "rules", "profiles": "payments"}, r"takes Profile, but the stream .* has Payment"),
        (
            Score(),
            {"rules": "rules", "profiles": "profiles", "more": "rules"},
            r"no further input 'more'; it has rules",
        ),
        (Unhandled(), {"profiles": "profiles"}, r"has an input 'profiles', but no method on_profiles"),
        (Homeless(), {"rules": "rules"}, r"shared_type = a State class"),
    ],
)
def test_the_message_says_which_input_is_wrong(
    operator: hw.Operator[Any, Any, Any], inputs: dict[str, str], text: str
) -> None:
    with pytest.raises(hw.FlowError, match=text):
        declared(operator, **inputs)


def test_shared_state_needs_broadcasts() -> None:
    class Reads(hw.Operator[Payment, Known]):
        def on_event(self, state: Known, event: Payment, ctx: hw.Context[Any]) -> None:
            ctx.emit({"shared": ctx.shared})

    test = FlowTest(declared(Reads()))
    test.send("payments", Payment("a", 1, 1))
    with pytest.raises(UserCodeError, match="has no broadcast inputs"):
        test.advance(to=1)


class Sums(hw.Operator[Payment, Known, hw.Json]):
    def on_event(self, state: Known, event: Payment, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"amount": event.amount, "at": event.at // 10})


def revised(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
    flow = hw.Flow("sums")
    payments = flow.source("payments", Payment, input_of("payments"), time="at", out_of_order=20)
    payments.key_by("user").process("sums", Sums()).trigger("sum", output_of("out"), name="out", id_by="at")
    return flow


@settings(SLOW, max_examples=15)
@given(payments=PAYMENTS, where=conditions())
def test_triggers_have_an_id_of_what_they_are_about(payments: list[Any], where: Conditions) -> None:
    written = check(revised, {"payments": {"p": payments}}, where)["out"]
    about = {line["id"]: (line["subject"], line["data"]["at"]) for line in written}
    assert len(about) == len(set(about.values()))
    assert all(about[line["id"]] == (line["subject"], line["data"]["at"]) for line in written)


def test_an_unknown_field_for_the_id_is_refused() -> None:
    flow = hw.Flow("f")
    payments = flow.source("payments", Payment, hw.items([]), time="at")
    with pytest.raises(hw.FlowError, match=r"id_by='start': Payment has no field 'start', its fields are user"):
        payments.trigger("t", hw.to_list([]), id_by="start")


def test_a_value_without_the_field_for_the_id_is_an_error() -> None:
    flow = hw.Flow("f")
    events = flow.source("events", hw.Json, hw.items([]), time="at")
    events.trigger("t", hw.to_list([]), id_by=("at", "missing"))
    with pytest.raises(UserCodeError, match=r"missing"):
        FlowTest(flow).send("events", {"at": 1})


class Keeper(hw.State):
    events: list[hw.Json] = []


class Keep(hw.Operator[hw.Json, Keeper]):
    """Keeps each event and goes on changing what it keeps."""

    def on_event(self, state: Keeper, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.events.append(event)
        for kept in state.events:
            kept["seen"] = kept.get("seen", 0) + 1
        ctx.emit({"seen": [kept["seen"] for kept in state.events]})


def keepers(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
    flow = hw.Flow("keepers")
    events = flow.source("events", hw.Json, input_of("events"), time="at", out_of_order=20)
    by_user = events.key_by("user")
    by_user.process("one", Keep()).to("first", output_of("first"))
    by_user.process("two", Keep()).to("second", output_of("second"))
    events.key_by("at").process("three", Keep()).to("third", output_of("third"))
    return flow


@settings(SLOW, max_examples=15)
@given(payments=PAYMENTS, where=conditions())
def test_operators_on_one_stream_do_not_share_its_events(payments: list[Any], where: Conditions) -> None:
    written = check(keepers, {"events": {"p": [*payments, {"user": "a", "at": 50}]}}, where, drain=False)
    assert sorted(line["seen"] for line in written["first"]) == sorted(line["seen"] for line in written["second"])


def test_a_side_output_cannot_be_called_main() -> None:
    class Wrong(hw.Operator[Payment, Known]):
        sides = {"main": hw.Json}

    with pytest.raises(hw.FlowError, match="side output 'main'"):
        declared(Wrong())
