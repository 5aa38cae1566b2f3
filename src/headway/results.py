"""What operators and runs give: the types to name in annotations, in tests, and where results are read again.

`hw.` itself has only `WindowResult` and `AggregateResult`, which flows derive classes from. Importing this imports none
of the others yet: each name costs its own module, when it is used first.

>>> from headway.results import Silent
>>> Silent({"at": 1_000}, since=1_000, due=61_000).due
61000
"""

from typing import TYPE_CHECKING, Final

from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.operators.absence import Absent as Absent
    from headway.operators.aggregates.frequent import HeavyHitter as HeavyHitter
    from headway.operators.aggregates.lists import Ranked as Ranked
    from headway.operators.deadline import DeadlineResult as DeadlineResult
    from headway.operators.expiring import Expired as Expired
    from headway.operators.joins.results import Cogrouped as Cogrouped
    from headway.operators.joins.results import Joined as Joined
    from headway.operators.joins.results import Pair as Pair
    from headway.operators.joins.results import TableChange as TableChange
    from headway.operators.joins.results import WindowJoined as WindowJoined
    from headway.operators.lag import Lagged as Lagged
    from headway.operators.on_change import Changed as Changed
    from headway.operators.patterns.results import Match as Match
    from headway.operators.patterns.results import PartialMatch as PartialMatch
    from headway.operators.rank import Ranking as Ranking
    from headway.operators.sequence_check import SequenceGap as SequenceGap
    from headway.operators.silence import Resumed as Resumed
    from headway.operators.silence import Silent as Silent
    from headway.operators.state_machine import IllegalEvent as IllegalEvent
    from headway.operators.state_machine import Transition as Transition
    from headway.operators.windows.apply import WindowContents as WindowContents
    from headway.operators.windows.results import WindowAggregates as WindowAggregates
    from headway.running import RunSummary as RunSummary
    from headway.types.letters import DeadLetter as DeadLetter
    from headway.types.outcomes import DeliveryOutcome as DeliveryOutcome

_HOMES: Final = {
    "types.letters": "DeadLetter",
    "types.outcomes": "DeliveryOutcome",
    "operators.absence": "Absent",
    "operators.aggregates.frequent": "HeavyHitter",
    "operators.aggregates.lists": "Ranked",
    "operators.deadline": "DeadlineResult",
    "operators.expiring": "Expired",
    "operators.joins.results": "Cogrouped Joined Pair TableChange WindowJoined",
    "operators.lag": "Lagged",
    "operators.on_change": "Changed",
    "operators.patterns.results": "Match PartialMatch",
    "operators.rank": "Ranking",
    "operators.sequence_check": "SequenceGap",
    "operators.silence": "Resumed Silent",
    "operators.state_machine": "IllegalEvent Transition",
    "operators.windows.apply": "WindowContents",
    "operators.windows.results": "WindowAggregates",
    "running": "RunSummary",
}

__all__, __getattr__, __dir__ = _lazily(__name__, _HOMES)
