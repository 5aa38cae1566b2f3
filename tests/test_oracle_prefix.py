"""The oracle over random flows: logs fed bit by bit, in any order of partitions, give what the whole logs give."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.testing.flows import FlowCase, build_flow, flow_cases
from headway.testing.oracle import Oracle, OracleResult, run_oracle

Pieces = list[dict[str, dict[str, list[bytes]]]]


@st.composite
def cases_in_pieces(draw: st.DrawFn) -> tuple[FlowCase, Pieces]:
    case = draw(flow_cases())
    pieces: Pieces = [{source: {name: [] for name in logs} for source, logs in case.logs.items()}]
    left = {(source, name): list(lines) for source, logs in case.logs.items() for name, lines in logs.items()}
    while places := sorted(place for place, lines in left.items() if lines):
        source, name = draw(st.sampled_from(places))
        count = draw(st.integers(1, len(left[source, name])))
        pieces.append({source: {name: left[source, name][:count]}})
        left[source, name] = left[source, name][count:]
    return case, pieces


def ordered(result: OracleResult) -> dict[str, Any]:
    """All of a result; late events and dead letters by partition, between which they have no order."""
    return {
        "outputs": result.outputs,
        "rows": result.rows,
        "late": {name: sorted(map(repr, events)) for name, events in result.late.items()},
        "dead": {
            name: sorted(letters, key=lambda letter: letter.partition) for name, letters in result.dead_letters.items()
        },
    }


@settings(max_examples=200, deadline=None)
@given(cases_in_pieces(), st.booleans())
def test_pieces_give_what_the_whole_gives(drawn: tuple[FlowCase, Pieces], drain: bool) -> None:
    case, pieces = drawn
    oracle = Oracle(case.flow())
    for piece in pieces:
        oracle.feed(piece)
    if drain:
        oracle.drain()
    assert ordered(oracle.result()) == ordered(run_oracle(case.flow(), case.logs, drain=drain))


@settings(max_examples=40, deadline=None)
@given(flow_cases())
def test_a_spec_is_plain_data(case: FlowCase) -> None:
    import json

    again = FlowCase(json.loads(json.dumps(case.spec)), case.logs)
    assert run_oracle(again.flow(), case.logs, drain=True) == run_oracle(case.flow(), case.logs, drain=True)
    assert again.outputs == [name for name in build_flow(case.spec, *_memory(case)).graph.nodes if name in case.outputs]


def _memory(case: FlowCase) -> Any:
    from headway.connectors.memory import items, to_list

    return {name: items([]) for name in case.logs}, lambda name: to_list([])
