"""The keyed operators: what Headway ships, built on the same public API that a flow's own operators use.

`hw.` has those that are passed to `process`. Here are the others, which steps of streams make, such as `interval_join`
an `IntervalJoin`: to test one by itself, or to derive from it. Importing this imports none of them yet.
"""

from typing import TYPE_CHECKING, Final

from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.operators.aggregates.running import RunningAggregate as RunningAggregate
    from headway.operators.joins.asof import AsofJoin as AsofJoin
    from headway.operators.joins.interval import IntervalJoin as IntervalJoin
    from headway.operators.joins.table import TableJoin as TableJoin
    from headway.operators.joins.window import Cogroup as Cogroup
    from headway.operators.joins.window import WindowJoin as WindowJoin
    from headway.operators.lifetimes import TimeToLive as TimeToLive
    from headway.operators.patterns.match import MatchPattern as MatchPattern
    from headway.operators.patterns.rules import Rules as Rules
    from headway.operators.patterns.skip import AfterMatch as AfterMatch
    from headway.operators.state_machine import RunStateMachine as RunStateMachine

_HOMES: Final = {
    "operators.aggregates.running": "RunningAggregate",
    "operators.joins.asof": "AsofJoin",
    "operators.joins.interval": "IntervalJoin",
    "operators.joins.table": "TableJoin",
    "operators.joins.window": "Cogroup WindowJoin",
    "operators.lifetimes": "TimeToLive",
    "operators.patterns.match": "MatchPattern",
    "operators.patterns.rules": "Rules",
    "operators.patterns.skip": "AfterMatch",
    "operators.state_machine": "RunStateMachine",
}

__all__, __getattr__, __dir__ = _lazily(__name__, _HOMES)
