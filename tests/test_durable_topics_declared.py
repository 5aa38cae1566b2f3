"""What topic steps may be declared to be, and what a reply has to hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional

import pytest

import headway as hw
from headway.durable.meanings import calls_of
from headway.durable.messages import Resolve
from headway.durable.state import FunctionState, TopicCall
from headway.durable.topics import TopicCalls
from headway.errors import FlowError, UsageError
from headway.functions.history import Answered, Called, encode


def test_what_is_refused() -> None:
    to, replies = hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl")
    for given, said in (
        ({"name": "a b"}, "its name is made of letters"),
        ({"to": 5}, "to=5 takes no requests"),
        ({"replies": "replies"}, "replies='replies' is no input"),
        ({"name": "_quote"}, "starting with a letter or digit"),
        ({"key": ""}, "key='' names no member"),
        ({"key": "arguments"}, "key='arguments' is another member of its requests"),
        ({"key": "traceparent"}, "key='traceparent' is another member of its requests"),
        ({"value": "key"}, "must be three members"),
        ({"timeout": "soon"}, "timeout"),
        ({"returns": complex}, "the result of topic step 'quote'"),
    ):
        with pytest.raises(FlowError, match=said):
            hw.topic_step(**{"name": "quote", "to": to, "replies": replies, **given})  # type: ignore[arg-type]
    step = hw.topic_step("quote", to, replies, key="id")
    with pytest.raises(UsageError, match="the member 'id' of a request says whose it is"):
        step.encode_arguments(id=5)
    with pytest.raises(UsageError, match="the member 'traceparent' of a request is the trace context"):
        step.encode_arguments(traceparent="00-1")
    with pytest.raises(UsageError, match="all by name, as the members of a JSON object, or all by position"):
        step.encode_arguments(1, item="lamp")
    assert step.request("f/1#0.1", step.encode_arguments(1, "x"), "00-1") == {
        "id": "f/1#0.1.quote",
        "traceparent": "00-1",
        "arguments": [1, "x"],
    }


@pytest.mark.parametrize(("returns", "value"), [(Any, None), (int, None), (Optional[int], b"null")])
def test_a_reply_without_its_value(returns: Any, value: Optional[bytes]) -> None:
    """It is the result only where the declared type says that there may be none."""
    to, replies = hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl")
    step = hw.topic_step("quote", to, replies, value="cents", returns=returns)
    reply = step.reply({"key": "buy/1#0.1.quote", "price": 7})
    if value is not None:
        assert (reply.value, reply.failure) == (value, None)
        return
    assert reply.failure is not None and reply.failure.non_retryable
    assert "the reply lacks the member 'cents', which is the result: it has key, price" in reply.failure.message


class Counted(list[bytes]):
    """A history that counts how many of its entries are read."""

    reads = 0

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        return super().__getitem__(index)

    def __reversed__(self) -> Any:
        for entry in super().__reversed__():
            self.reads += 1
            yield entry


def test_a_reply_costs_the_same_in_a_long_history() -> None:
    step = hw.topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"))
    topics = TopicCalls({"quote": step})
    history = Counted([encode(Called(number, "step", "quote")) for number in range(1, 201)])
    state = FunctionState(topics={str(number): TopicCall(entry=number - 1) for number in range(1, 201)})
    state.history = history  # type: ignore[assignment]
    ctx: Any = SimpleNamespace(time=5, cancel=lambda name: None)
    for number in range(1, 201):
        ended, reason = topics.reply(state, Resolve(0, number, step="quote"), ctx)
        assert (ended, reason) == (Answered(5, number), "")
    assert history.reads == 200
    assert calls_of(state, [7, 199])[0].number == 199
    assert history.reads < 500, "what is cancelled together is looked for once"
