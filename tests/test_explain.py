from __future__ import annotations

import json
import re
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.explain.text import explain_json, explain_machine, explain_mermaid, explain_text
from headway.operators import RunStateMachine
from headway.plan.planner import compile_plan
from headway.plan.stages import Plan


class Click(hw.Event):
    user: str
    at: hw.Time
    page: str = "/"


class Seen(hw.State):
    clicks: int = 0


class Count(hw.Operator[Click, Seen]):
    sides = {"odd": Click}

    def on_event(self, state: Seen, event: Click, ctx: hw.Context) -> None:
        state.clicks += 1
        ctx.emit({"clicks": state.clicks})


class Whatever(hw.Operator[Any, hw.State]):
    pass


def shop() -> hw.Flow:
    """Two stages, with a branch, a merge, a side output and late events."""
    flow = hw.Flow("shop")
    flow.param("limit", 3, help="how many clicks are too many")
    web = flow.source("web", Click, hw.items([]), time="at", out_of_order="2s")
    app = flow.source("app", Click, hw.items([]), time=lambda click: click.at, idle_after="1m")
    buys, others = web.merge(app, name="all").branch(hw.where(page="/buy"), name="buys")
    others.map(str, name="forgotten")
    count = buys.key_by("user", name="by-user").process("count", Count())
    pages = count.filter(lambda value: value["clicks"] > 1, name="many").key_by("page", name="by-page")
    pages.process("pages", Whatever()).trigger("page.seen", hw.to_list([]))
    count.side("odd").to("odd", hw.to_jsonl("odd.jsonl"))
    web.late.to("late", hw.to_jsonl("late.jsonl"))
    return flow


def both(flow: hw.Flow) -> tuple[hw.Flow, Plan]:
    return flow, compile_plan(flow.graph, dead_letters=hw.to_jsonl("dead.jsonl"))


def dedent(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_the_plan_reads_like_a_tree() -> None:
    text = explain_text(*both(shop()))
    assert text[text.index("PLAN") :] == dedent(
        """
        PLAN  2 sources, 2 keyed stages, 4 outputs

        source web: items
        │  Click, time from at, up to 2s out of order
        ├─ on time
        │  └─ buys: filter
        │     └─ by-user: key_by user
        │        └─ ⇄ 0 to stage count, by by-user
        ├─ late
        │  └─ ⇄ 5 to output late
        └─ dead letters
           └─ ⇄ 6 to output dead-letters

        source app: items
        │  Click, time from a lambda, in order, idle after 1m
        ├─ on time
        │  └─ buys: filter
        │     └─ by-user: key_by user
        │        └─ ⇄ 1 to stage count, by by-user
        ├─ late: counted, and lead nowhere
        └─ dead letters
           └─ ⇄ 7 to output dead-letters

        stage count, keyed
        │  ⇄ 0 from web: Click, for count
        │  ⇄ 1 from app: Click, for count
        └─ 0 count: operator Count
           │  takes Click, gives Json; odd: Click
           │  keeps Seen for each key
           ├─ emitted
           │  └─ many: filter
           │     └─ by-page: key_by page
           │        └─ ⇄ 2 to stage pages, by by-page
           └─ side output odd
              └─ ⇄ 4 to output odd

        stage pages, keyed
        │  ⇄ 2 from count: Json, for pages
        └─ 0 pages: operator Whatever
           │  takes Any, gives Json
           │  keeps State for each key
           └─ emitted
              └─ ⇄ 3 to output page.seen

        output page.seen: trigger of type page.seen to list
           ⇄ 3 from pages: Json
           direct, ephemeral, at least once
           nothing waits, and what is there ends with the process

        output odd: plain JSON to file odd.jsonl
           ⇄ 4 from count.odd: Click
           direct, durable, exact
           nothing waits: an epoch is over when it is written

        output late: plain JSON to file late.jsonl
           ⇄ 5 from web.late: Click
           direct, durable, exact
           nothing waits: an epoch is over when it is written

        output dead-letters: plain JSON to file dead.jsonl
           ⇄ 6 from web.dead-letters: DeadLetter
           ⇄ 7 from app.dead-letters: DeadLetter
           direct, durable, exact
           nothing waits: an epoch is over when it is written
        """
    )


def test_the_steps_are_a_table() -> None:
    text = explain_text(*both(shop()))
    steps = text[text.index("STEPS") : text.index("PLAN")]
    rows = [re.split(r"\s{2,}", line.strip()) for line in steps.splitlines()[2:] if line.strip()]
    assert rows[0] == ["name", "kind", "reads", "gives", "declared at"]
    assert [row[:4] for row in rows[1:6]] == [
        ["web", "source", "-", "Click"],
        ["app", "source", "-", "Click"],
        ["all", "merge", "web, app", "Click"],
        ["buys", "filter", "all", "Click"],
        ["buys.else", "reject", "all", "Click"],
    ]
    assert all(re.fullmatch(r"tests/test_explain\.py:\d+|/.*test_explain\.py:\d+", row[4]) for row in rows[1:-1])
    assert "Not run, because nothing reads what they give: buys.else, forgotten" in steps


def test_parameters_show_value_default_and_help() -> None:
    assert "limit  3  how many clicks are too many" in explain_text(*both(shop()))
    from headway.declare.parameters import set_parameters

    with set_parameters({"limit": "5"}):
        flow = shop()
    assert "limit  5 (default 3)  how many clicks are too many" in explain_text(*both(flow))
    assert explain_json(*both(flow))["parameters"] == [
        {"name": "limit", "default": 3, "value": 5, "help": "how many clicks are too many"}
    ]


def test_a_flow_without_parameters_has_no_block_of_them() -> None:
    flow = hw.Flow("tiny")
    flow.source("s", hw.Json, hw.items([]), time=hw.INGESTION_TIME).to("out", hw.to_list([]))
    assert "PARAMETERS" not in explain_text(*both(flow))
    assert "time from INGESTION_TIME" in explain_text(*both(flow))


def test_the_diagram_has_boxes_and_arrows() -> None:
    diagram = explain_mermaid(*both(shop()))
    assert check_flowchart(diagram) == {
        ("web", "buys", ""),
        ("app", "buys", ""),
        ("buys", "by-user", ""),
        ("by-user", "count", "0: Click"),
        ("by-user", "count", "1: Click"),
        ("count", "many", ""),
        ("many", "by-page", ""),
        ("by-page", "pages", "2: Json"),
        ("pages", "page.seen", "3: Json, direct, ephemeral, at least once"),
        ("count", "odd", "4: Click, odd, direct, exact"),
        ("web", "late", "5: Click, late, direct, exact"),
        ("web", "dead-letters", "6: DeadLetter, dead-letters, direct, exact"),
        ("app", "dead-letters", "7: DeadLetter, dead-letters, direct, exact"),
    }
    titles = re.findall(r'subgraph box\d+\["([^"]*)"\]', diagram)
    assert titles[:4] == ["source web", "source app", "stage count", "stage pages"]


def test_an_edge_says_what_its_receiver_can_rely_on() -> None:
    def take(trigger: hw.Trigger[dict[str, int]]) -> None: ...

    flow = hw.Flow("edges")
    clicks = flow.source("clicks", hw.Json, hw.items([]), time="at").key_by("user")
    clicks.trigger("called", hw.call(take, name="call take"), waiting_max=500)
    clicks.trigger("told", hw.call(take, name="call take"), edge="indirect")
    clicks.trigger("stored", hw.sqlite("shop.db", "clicks"))
    clicks.trigger("printed", hw.to_stdout())
    text = explain_text(*both(flow))
    for lines in (
        [
            "direct, durable, effectively once by id",
            "at most 500 wait in the state of each process, then the flow reads",
        ],
        [
            "indirect, durable, effectively once by id",
            "at most 1,000,000 wait in the state of each process, then the old",
        ],
        ["direct, durable, exact", "at most 1,000,000 wait"],
        ["direct, durable, at least once", "lines wait in the state until their epoch is durable"],
    ):
        assert "\n   ".join(lines) in text
    assert "→ 1 to output called" in text and "→ 1 from called.relay: Json" in text
    [called, *_] = explain_json(*both(flow))["outputs"]
    assert {name: called[name] for name in ("edge", "durable", "guarantee", "delivered", "waiting_max")} == {
        "edge": "direct",
        "durable": True,
        "guarantee": "effectively once by id",
        "delivered": True,
        "waiting_max": 500,
    }
    assert "indirect, effectively once by id" in explain_mermaid(*both(flow))


def test_nothing_in_a_label_ends_it() -> None:
    flow = hw.Flow("odd")
    flow.source("s", hw.Json, hw.files('a"b<c>#d`[e]|f/*.jsonl'), time="at").to("out", hw.to_list([]))
    diagram = explain_mermaid(*both(flow))
    assert "files a#34;b#60;c#62;#35;d#96;#91;e#93;#124;f/*.jsonl" in diagram
    check_flowchart(diagram)


def check_flowchart(diagram: str) -> set[tuple[str, str, str]]:
    """Read the part of Mermaid's grammar that is used, and return the arrows between the names of nodes."""
    quoted = r'"((?:[^"\\`<>\n]|<br/>)*)"'
    names: dict[str, str] = {}
    arrows = set()
    depth = 0
    lines = diagram.splitlines()
    assert lines[0] == "flowchart TD"
    for line in map(str.strip, lines[1:]):
        if re.fullmatch(rf"subgraph box\d+\[{quoted}\]", line):
            depth += 1
        elif line == "end":
            depth -= 1
        elif node := re.fullmatch(rf"(n\d+)\[{quoted}\]", line):
            assert depth == 1 and node[1] not in names
            names[node[1]] = node[2].partition("<br/>")[0]
        else:
            arrow = re.fullmatch(rf"(n\d+) (?:-->|== {quoted} ==>|-- {quoted} -->) (n\d+)", line)
            assert arrow and depth == 0, line
            arrows.add((names[arrow[1]], names[arrow[4]], arrow[2] or arrow[3] or ""))
    assert depth == 0
    return arrows


@st.composite
def flows(draw: st.DrawFn) -> hw.Flow:
    """Any flow that can be declared, with up to a dozen steps."""
    flow = hw.Flow("any")
    sources = [flow.source(f"source{n}", Click, hw.items([]), time="at") for n in range(draw(st.integers(1, 2)))]
    plain: list[Any] = [*sources, *(source.late for source in sources)]
    keyed: list[Any] = [sources[0].key_by("user", name="first")]
    for number in range(draw(st.integers(0, 10))):
        name = f"step{number}"
        stream = draw(st.sampled_from([*plain, *keyed]))
        where = keyed if stream in keyed else plain
        kind = draw(st.sampled_from(["filter", "branch", "merge", "key_by", "process", "out"]))
        if kind == "filter":
            where.append(stream.filter(bool, name=name))
        elif kind == "branch":
            where.extend(stream.branch(bool, name=name))
        elif kind == "merge":
            where.append(stream.merge(draw(st.sampled_from(where)), name=name))
        elif kind == "key_by":
            keyed.append(stream.key_by(lambda value: "k", name=name))
        elif kind == "process" and where is keyed:
            keyed.append(stream.process(name, Whatever()))
        else:
            stream.to(name, hw.to_list([]))
    keyed[-1].to("end", hw.to_list([]))
    return flow


@given(flow=flows())
def test_every_step_and_every_exchange_is_shown(flow: hw.Flow) -> None:
    _, plan = both(flow)
    text, data = explain_text(flow, plan), explain_json(flow, plan)
    steps, tree = text[text.index("STEPS") : text.index("PLAN")], text[text.index("PLAN") :]
    arrows = check_flowchart(explain_mermaid(flow, plan))
    assert [line.split()[0] for line in steps.splitlines()[3 : 3 + len(flow.graph.nodes)]] == list(flow.graph.nodes)
    assert [step["name"] for step in data["steps"]] == list(flow.graph.nodes)
    assert [edge["id"] for edge in data["exchanges"]] == [edge.id for edge in plan.edges()]
    for edge in plan.edges():
        assert len(re.findall(rf"⇄ {edge.id} to (?:stage|output) {re.escape(edge.target)}\b", tree)) == 1
        assert len(re.findall(rf"⇄ {edge.id} from {re.escape(str(edge.producer))}:", tree)) == 1
        assert any(label.startswith(f"{edge.id}: ") for _, _, label in arrows)
    for name in [*(source.name for source in plan.sources), *(sink.name for sink in plan.sinks)]:
        assert re.search(rf"^(source|output) {re.escape(name)}:", tree, re.MULTILINE)
    for keyed in plan.stages:
        for rank, node in enumerate(keyed.operators):
            assert f"{rank} {node.name}: operator Whatever" in tree
    json.dumps(data)


def presses(operator: hw.Operator[Any, Any, Any]) -> tuple[hw.Flow, Plan]:
    flow = hw.Flow("lamps")
    keyed = flow.source("presses", hw.Json, hw.items([]), time="at").key_by("lamp")
    keyed.process("lamps", operator).trigger("lamp.changed", hw.to_list([]))
    return both(flow)


LAMP = hw.StateMachine("lamp", states=("off", "on"), initial="off", events="kind").on("off", "press", to="on")
LAMP = LAMP.timeout("on", after="5m", to="off")


@pytest.mark.parametrize("wrap", [lambda lamp: lamp, lambda lamp: hw.Expiring(lamp, hw.ttl("1d"))])
def test_a_state_machine_is_shown(wrap: Any) -> None:
    flow, plan = presses(wrap(RunStateMachine(LAMP)))
    assert explain_machine(plan, "lamps") == LAMP.mermaid()
    assert "runs the state machine lamp: 2 states, 2 rules, drawn by --machine lamps" in explain_text(flow, plan)
    [operator] = explain_json(flow, plan)["stages"][0]["operators"]
    assert operator["machine"] == {
        "name": "lamp",
        "states": ["off", "on"],
        "initial": "off",
        "final": [],
        "mermaid": LAMP.mermaid(),
    }


def test_what_runs_no_state_machine_has_none_to_show() -> None:
    flow, plan = both(shop())
    assert "state machine" not in explain_text(flow, plan)
    assert {operator["machine"] for stage in explain_json(flow, plan)["stages"] for operator in stage["operators"]} == {
        None
    }
    for name in ("count", "nothing"):
        with pytest.raises(hw.HeadwayError, match=f"no operator '{name}' of the flow 'shop' .*those that do: none"):
            explain_machine(plan, name)
    _, plan = presses(RunStateMachine(LAMP))
    with pytest.raises(hw.HeadwayError, match="those that do: lamps"):
        explain_machine(plan, "lamp")


def test_who_reads_the_wall_clock_is_told() -> None:
    for clock, is_read in (("event", False), ("wall", True)):
        time_to_live = hw.ttl("1d", clock=clock)  # type: ignore[arg-type]
        flow, plan = presses(hw.Expiring(RunStateMachine(LAMP), time_to_live))
        assert ("reads the wall clock" in explain_text(flow, plan)) is is_read
        assert explain_json(flow, plan)["stages"][0]["operators"][0]["wall_clock"] is is_read
