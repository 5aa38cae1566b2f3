"""Headway: a stream-processing workflow engine on bytewax and RocksDB.

Declare a flow, run it with `headway run FLOW`, test it with `headway.testing`.

>>> import headway as hw
>>> flow = hw.Flow("hello")
>>> greetings = flow.source("greetings", hw.Json, hw.items([{"at": 1, "name": "ann"}]), time="at")
>>> greetings.trigger("greeted", hw.to_list([]))
"""

import headway.compiled  # noqa: F401 - first, because it decides how the modules below are run.
from headway.connectors.files import files as files
from headway.connectors.jsonl import to_jsonl as to_jsonl
from headway.connectors.memory import items as items
from headway.connectors.memory import to_list as to_list
from headway.connectors.stdin import stdin as stdin
from headway.connectors.stdout import to_stdout as to_stdout
from headway.errors import FlowError as FlowError
from headway.errors import HeadwayError as HeadwayError
from headway.flow import Flow as Flow
from headway.flow import dead_letter as dead_letter
from headway.graph import INGESTION_TIME as INGESTION_TIME
from headway.letters import DeadLetter as DeadLetter
from headway.lookups import Lookup as Lookup
from headway.lookups import lookup as lookup
from headway.operators.absence import Absence as Absence
from headway.operators.absence import Absent as Absent
from headway.operators.aggregates.approximate import approx_distinct as approx_distinct
from headway.operators.aggregates.base import Aggregate as Aggregate
from headway.operators.aggregates.basic import count as count
from headway.operators.aggregates.basic import first as first
from headway.operators.aggregates.basic import last as last
from headway.operators.aggregates.basic import max as max  # noqa: A004 - read as hw.max
from headway.operators.aggregates.basic import min as min  # noqa: A004 - read as hw.min
from headway.operators.aggregates.custom import aggregate as aggregate
from headway.operators.aggregates.decay import decayed as decayed
from headway.operators.aggregates.decay import rate as rate
from headway.operators.aggregates.frequent import HeavyHitter as HeavyHitter
from headway.operators.aggregates.frequent import heavy_hitters as heavy_hitters
from headway.operators.aggregates.horizon import count_over as count_over
from headway.operators.aggregates.horizon import sum_over as sum_over
from headway.operators.aggregates.lists import Ranked as Ranked
from headway.operators.aggregates.lists import collect as collect
from headway.operators.aggregates.lists import distinct as distinct
from headway.operators.aggregates.lists import histogram as histogram
from headway.operators.aggregates.lists import top_k as top_k
from headway.operators.aggregates.quantiles import quantiles as quantiles
from headway.operators.aggregates.running import AggregateResult as AggregateResult
from headway.operators.aggregates.running import RunningAggregate as RunningAggregate
from headway.operators.aggregates.sums import mean as mean
from headway.operators.aggregates.sums import sum as sum  # noqa: A004 - read as hw.sum
from headway.operators.aggregates.variance import stddev as stddev
from headway.operators.aggregates.variance import variance as variance
from headway.operators.base import Context as Context
from headway.operators.base import Operator as Operator
from headway.operators.base import Timer as Timer
from headway.operators.conditions import where as where
from headway.operators.deadline import Deadline as Deadline
from headway.operators.deadline import DeadlineResult as DeadlineResult
from headway.operators.debounce import Debounce as Debounce
from headway.operators.dedup import Dedup as Dedup
from headway.operators.expiring import Expired as Expired
from headway.operators.expiring import Expiring as Expiring
from headway.operators.joins.asof import AsofJoin as AsofJoin
from headway.operators.joins.interval import IntervalJoin as IntervalJoin
from headway.operators.joins.results import Cogrouped as Cogrouped
from headway.operators.joins.results import Joined as Joined
from headway.operators.joins.results import Pair as Pair
from headway.operators.joins.results import TableChange as TableChange
from headway.operators.joins.results import WindowJoined as WindowJoined
from headway.operators.joins.table import TableJoin as TableJoin
from headway.operators.joins.window import Cogroup as Cogroup
from headway.operators.joins.window import WindowJoin as WindowJoin
from headway.operators.lag import Lag as Lag
from headway.operators.lag import Lagged as Lagged
from headway.operators.lifetimes import TimeToLive as TimeToLive
from headway.operators.lifetimes import ttl as ttl
from headway.operators.machine import StateMachine as StateMachine
from headway.operators.on_change import Changed as Changed
from headway.operators.on_change import OnChange as OnChange
from headway.operators.patterns.match import MatchPattern as MatchPattern
from headway.operators.patterns.pattern import Pattern as Pattern
from headway.operators.patterns.pattern import either as either
from headway.operators.patterns.pattern import once as once
from headway.operators.patterns.pattern import pattern as pattern
from headway.operators.patterns.results import Match as Match
from headway.operators.patterns.results import PartialMatch as PartialMatch
from headway.operators.patterns.rules import Rules as Rules
from headway.operators.patterns.skip import AfterMatch as AfterMatch
from headway.operators.patterns.skip import no_skip as no_skip
from headway.operators.patterns.skip import skip_past_last as skip_past_last
from headway.operators.patterns.skip import skip_to_first as skip_to_first
from headway.operators.patterns.skip import skip_to_last as skip_to_last
from headway.operators.patterns.skip import skip_to_next as skip_to_next
from headway.operators.rank import Rank as Rank
from headway.operators.rank import Ranking as Ranking
from headway.operators.rate_limit import RateLimit as RateLimit
from headway.operators.sequence_check import SequenceCheck as SequenceCheck
from headway.operators.sequence_check import SequenceGap as SequenceGap
from headway.operators.silence import Resumed as Resumed
from headway.operators.silence import Silence as Silence
from headway.operators.silence import Silent as Silent
from headway.operators.state_machine import IllegalEvent as IllegalEvent
from headway.operators.state_machine import RunStateMachine as RunStateMachine
from headway.operators.state_machine import Transition as Transition
from headway.operators.throttle import Throttle as Throttle
from headway.operators.windows.apply import WindowContents as WindowContents
from headway.operators.windows.calendar import daily as daily
from headway.operators.windows.calendar import monthly as monthly
from headway.operators.windows.calendar import weekly as weekly
from headway.operators.windows.early import every as every
from headway.operators.windows.results import WindowAggregates as WindowAggregates
from headway.operators.windows.results import WindowResult as WindowResult
from headway.operators.windows.windowers import count_window as count_window
from headway.operators.windows.windowers import cumulative as cumulative
from headway.operators.windows.windowers import session as session
from headway.operators.windows.windowers import sliding as sliding
from headway.operators.windows.windowers import tumbling as tumbling
from headway.running import RunSummary as RunSummary
from headway.running import run as run
from headway.schema import Event as Event
from headway.schema import Json as Json
from headway.schema import State as State
from headway.schema import Time as Time
from headway.streams import KeyedStream as KeyedStream
from headway.streams import Processed as Processed
from headway.streams import SourceStream as SourceStream
from headway.streams import Stream as Stream
from headway.times import duration_ms as duration_ms
from headway.times import format_time as format_time

__version__ = "0.1.0"

__all__ = [
    "INGESTION_TIME",
    "Absence",
    "Absent",
    "AfterMatch",
    "Aggregate",
    "AggregateResult",
    "AsofJoin",
    "Changed",
    "Cogroup",
    "Cogrouped",
    "Context",
    "DeadLetter",
    "Deadline",
    "DeadlineResult",
    "Debounce",
    "Dedup",
    "Event",
    "Expired",
    "Expiring",
    "Flow",
    "FlowError",
    "HeadwayError",
    "HeavyHitter",
    "IllegalEvent",
    "IntervalJoin",
    "Joined",
    "Json",
    "KeyedStream",
    "Lag",
    "Lagged",
    "Lookup",
    "Match",
    "MatchPattern",
    "OnChange",
    "Operator",
    "Pair",
    "PartialMatch",
    "Pattern",
    "Processed",
    "Rank",
    "Ranked",
    "Ranking",
    "RateLimit",
    "Resumed",
    "Rules",
    "RunStateMachine",
    "RunSummary",
    "RunningAggregate",
    "SequenceCheck",
    "SequenceGap",
    "Silence",
    "Silent",
    "SourceStream",
    "State",
    "StateMachine",
    "Stream",
    "TableChange",
    "TableJoin",
    "Throttle",
    "Time",
    "TimeToLive",
    "Timer",
    "Transition",
    "WindowAggregates",
    "WindowContents",
    "WindowJoin",
    "WindowJoined",
    "WindowResult",
    "__version__",
    "aggregate",
    "approx_distinct",
    "collect",
    "count",
    "count_over",
    "count_window",
    "cumulative",
    "daily",
    "dead_letter",
    "decayed",
    "distinct",
    "duration_ms",
    "either",
    "every",
    "files",
    "first",
    "format_time",
    "heavy_hitters",
    "histogram",
    "items",
    "last",
    "lookup",
    "max",
    "mean",
    "min",
    "monthly",
    "no_skip",
    "once",
    "pattern",
    "quantiles",
    "rate",
    "run",
    "session",
    "skip_past_last",
    "skip_to_first",
    "skip_to_last",
    "skip_to_next",
    "sliding",
    "stddev",
    "stdin",
    "sum",
    "sum_over",
    "to_jsonl",
    "to_list",
    "to_stdout",
    "top_k",
    "ttl",
    "tumbling",
    "variance",
    "weekly",
    "where",
]
