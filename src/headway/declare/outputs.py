"""Where streams lead to: outputs that are written, and targets that triggers are delivered to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from headway.basics.declaring import Was, declaring, fail, former_names, place
from headway.basics.times import Duration
from headway.connectors.base import Output
from headway.graph import INGESTION_TIME, KeyByNode, OperatorNode, Port, SinkNode, StatelessNode
from headway.operators.options import positive_ms
from headway.operators.relay import Relay, content_key
from headway.targets.base import Target
from headway.targets.delivered import Delivered, Delivering, Edge, OnFailure
from headway.types.schema import field_names, type_label

if TYPE_CHECKING:
    from headway.declare.flow import Flow
    from headway.declare.streams import Stream
    from headway.types.outcomes import DeliveryOutcome

__all__ = ["OutputSteps"]


class OutputSteps:
    """The ends of a stream."""

    _flow: Flow
    _port: Port

    @property
    def type(self) -> Any:
        """The type of the stream's values."""
        raise NotImplementedError

    def trigger(
        self,
        type: str,
        to: Union[Output, Target],
        *,
        name: Optional[str] = None,
        id_by: Union[str, Sequence[str], None] = None,
        edge: Optional[Edge] = None,
        on_failure: Optional[OnFailure] = None,
        give_up_after: Optional[Duration] = None,
        retry_first: Optional[Duration] = None,
        retry_longest: Optional[Duration] = None,
        waiting_max: Optional[int] = None,
        was: Was = (),
    ) -> None:
        """Make each value a durable trigger: a CloudEvents 1.0 event of this `type`.

        `subject` is the key, `time` the event time, `data` the value; the id is a hash of flow, step, key,
        event time and ordinal, so that the same log gives the same ids. `name` is the step's (default: `type`).
        With `id_by`, one field of the value or several, the id is a hash of flow, step, key and these fields:
        values of a key that agree on them are revisions of one result, and a receiver keeps the last.
        `was` is the name that the step had before, or several; under a new name new triggers have other ids.

        `to` is an output, such as `hw.to_jsonl("triggers.jsonl")`, which is written in the order of time; or a target,
        such as `hw.webhook("https://shop.example/hooks")`, to which triggers are delivered. A delivery begins when the
        trigger's epoch is durable on every worker. Triggers of one key leave one after the other. One that fails is
        tried again after `retry_first` (default 1 s), then after twice that, and so on up to `retry_longest` (10 min);
        where the receiver says when to come again, then. Attempts and times outlive restarts.

        What comes of one that goes on failing says `on_failure`: with `"block"`, the default, the triggers of its key
        wait for it; with `"skip"` it is given up `give_up_after` its first attempt, at once where the receiver will
        never take it, and is kept for `headway triggers redrive`. At most `waiting_max` triggers (default 1,000,000)
        wait in each process. Beyond that, on a `"direct"` edge (the default) the flow stops reading until some are
        delivered. An `"indirect"` edge never holds up anything: its oldest are given up.

        A value with a field `traceparent` (W3C trace context) has it carried on to the receiver.

        Options of delivery are refused for outputs. A trigger that waits costs a row of the state, and no memory.
        """
        if not isinstance(type, str) or not type:
            fail(f'a trigger needs a type, such as "cart.abandoned", not {type!r}')
        given = {
            "edge": edge,
            "on_failure": on_failure,
            "give_up_after": give_up_after,
            "retry_first": retry_first,
            "retry_longest": retry_longest,
            "waiting_max": waiting_max,
        }
        options = {option: value for option, value in given.items() if value is not None}
        label = name or type
        if not isinstance(to, Target):
            if options:
                fail(f"{label!r}: {', '.join(options)} belong to delivery, but {_shown(to)} is not delivered to")
            self._sink(label, to, was, type, self._id_fields(id_by))
            return
        with declaring():
            delivering = _delivering(label, options)
            to.takes(type, self.type)
        keyed = self._flow.graph.keyed[self._port]
        output = Delivered(to, delivering, has_keys=keyed)
        self._sink(
            label, output, was, type, self._id_fields(id_by), self._beside_its_key(label, former_names(label, was))
        )
        self._flow._delivered.setdefault(self._port, []).append(label)

    def deliveries(self, name: Optional[str] = None) -> Stream[DeliveryOutcome]:
        """What became of this stream's triggers: an event for each that was delivered or given up.

        So a flow can react, as with an e-mail where a webhook was given up. Outcomes are a source of the flow, named
        `NAME.deliveries`, with ingestion time: each is durable in a log of the state directory before the trigger's row
        is removed, and is there once by the trigger's id (within an hour, and the last 100,000 of a worker). Outcomes
        behind the end of a bounded run's input are read by the next run. Costs some 10 µs for each delivery.

        Declared behind the `trigger(TYPE, TARGET)` of this stream; `name` is that step's, where there are several.

        >>> import headway as hw
        >>> flow = hw.Flow("carts")
        >>> carts = flow.source("carts", hw.Json, hw.items([]), time="at").key_by("cart")
        >>> carts.trigger("cart.seen", hw.webhook("https://shop.example/hooks"), on_failure="skip")
        >>> dead = carts.deliveries().filter(hw.where(outcome="dead"))
        >>> dead.key_by("type").trigger("delivery.failed", hw.to_list([]))
        """
        from headway.declare.streams import Stream
        from headway.inbox.runlog import RunLogInput
        from headway.types.outcomes import DeliveryOutcome

        flow = self._flow
        names = flow._delivered.get(self._port, [])
        if name is None and len(names) == 1:
            name = names[0]
        sink = flow.graph.nodes.get(name or "")
        if name not in names or not isinstance(sink, SinkNode) or not sink.delivered:
            known = ", ".join(map(repr, names)) or "none"
            given = "" if name is None else repr(name)
            fail(
                f"deliveries({given}) tells what became of triggers that are delivered, and the stream {self._port} "
                f"delivers by {known}{': name one of them' if names else ''}"
            )
        label = f"{name}.deliveries"
        if sink.delivered.reported is None:
            former = tuple(f"{one}.deliveries" for one in sink.was)
            log = RunLogInput(label, f"deliveries of {name}", former=former)
            sink.delivered.reported = log
            flow.source(label, DeliveryOutcome, log, time=INGESTION_TIME, was=former)
        return Stream(flow, Port(label))

    def start(
        self,
        function: Any,
        *,
        id: Any,  # noqa: A002 - what a function's id is called everywhere
        args: Optional[Callable[[Any], Any]] = None,
        name: Optional[str] = None,
        edge: Optional[Edge] = None,
    ) -> None:
        """Start a durable function for each value, in a flow that is a group of functions (`hw.Functions`).

        `id` is a field of the value, or a function of it: a second start with an id is answered as the function's
        `id_reuse` says. `args` gives the arguments, as a tuple, or a dict by their names; without it the value is the
        one argument. `name` is the step's (default: `start-` and the function's name). A start leaves at once and is
        made once, whatever crashes. See `docs/functions.md`.

        Raises `FlowError` in a flow that has no functions, and for a function that is not one of them.
        """
        with declaring():
            self._flow._start_from(self, function, id, args, name or "", edge or "direct")

    def to(self, name: str, output: Output, *, was: Was = ()) -> None:
        """Write each value as plain JSON, without an envelope. `name` is the step's, `was` one that it had before."""
        self._sink(name, output, was)

    def _id_fields(self, id_by: Union[str, Sequence[str], None]) -> Optional[tuple[str, ...]]:
        if id_by is None:
            return None
        names = (id_by,) if isinstance(id_by, str) else tuple(id_by)
        if not names:
            fail("id_by=() names no field: give one or more, such as id_by=('start', 'end'), or leave it out")
        known = field_names(self.type)
        for name in names:
            if not isinstance(name, str) or (known is not None and name not in known):
                fields = f"its fields are {', '.join(known)}" if known else "give the names of fields"
                fail(f"id_by={id_by!r}: {type_label(self.type)} has no field {name!r}, {fields}")
        return names

    def _sink(
        self,
        name: str,
        output: Output,
        was: Was,
        trigger_type: Optional[str] = None,
        id_by: Optional[tuple[str, ...]] = None,
        port: Optional[Port] = None,
    ) -> None:
        if not isinstance(output, Output):
            if isinstance(output, Target):
                fail(f"{name!r}: {output.describe()} takes triggers: write stream.trigger(TYPE, TARGET)")
            fail(f"{name!r}: {output!r} is not an output: use hw.to_jsonl(...), hw.to_stdout() or hw.to_list([])")
        for other in self._flow.graph.nodes.values():
            if isinstance(other, SinkNode) and output.clashes(other.output):
                fail(
                    f"{name!r}: {output.describe()} is written by {other.name!r} already ({other.where}): merge the "
                    "streams, or give each a file of its own"
                )
        with declaring():
            output = output.of_values(self.type, in_triggers=trigger_type is not None)
        node = SinkNode(name, place(), port or self._port, output, trigger_type, id_by, was=former_names(name, was))
        self._flow._add(node, None, keyed=False)

    def _beside_its_key(self, name: str, was: Sequence[str]) -> Port:
        """The port of this stream where its values are in the key group of their key, made if there is none."""
        graph = self._flow.graph
        node = graph.nodes[self._port.node]
        while isinstance(node, StatelessNode):
            node = graph.nodes[node.upstream.node]
        if isinstance(node, OperatorNode):
            return self._port
        port, value_type = self._port, self.type
        if not graph.keyed[port]:
            key = KeyByNode(f"{name}.key", place(), port, content_key)
            port = self._flow._add(key, value_type, keyed=True)
        former = tuple(f"{one}.relay" for one in was)
        relay = OperatorNode(f"{name}.relay", place(), port, Relay[Any]().bind(value_type), was=former)
        return self._flow._add(relay, value_type, keyed=True)


def _shown(output: object) -> str:
    return output.describe() if isinstance(output, Output) else repr(output)


def _delivering(label: str, options: dict[str, Any]) -> Delivering:
    edge = options.get("edge", "direct")
    on_failure = options.get("on_failure", "block")
    if edge not in ("direct", "indirect"):
        fail(f'{label!r}: edge={edge!r} must be "direct" or "indirect"')
    if on_failure not in ("block", "skip"):
        fail(f'{label!r}: on_failure={on_failure!r} must be "block" or "skip"')
    give_up_after = options.get("give_up_after")
    if give_up_after is not None and on_failure != "skip":
        fail(f'{label!r}: give_up_after={give_up_after!r} goes with on_failure="skip": nothing is given up without')
    waiting_max = options.get("waiting_max", Delivering.waiting_max)
    if type(waiting_max) is not int or waiting_max < 1:
        fail(f"{label!r}: waiting_max={waiting_max!r} must be a number of triggers, at least 1")
    times: dict[str, Any] = {
        f"{option}_ms": positive_ms(options[option], option)
        for option in ("give_up_after", "retry_first", "retry_longest")
        if option in options
    }
    made = Delivering(edge=edge, on_failure=on_failure, waiting_max=waiting_max, **times)
    if made.retry_longest_ms < made.retry_first_ms:
        fail(f"{label!r}: retry_longest is {made.retry_longest_ms} ms, less than retry_first, {made.retry_first_ms} ms")
    return made
