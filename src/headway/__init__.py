"""Headway: a stream-processing workflow engine on bytewax and RocksDB.

Declare a flow, run it with `headway run FLOW`, test it with `headway.testing`. What flows write is here; the types of
what operators emit are in `headway.results`, to name them in annotations. Importing this imports next to nothing: each
name costs its own module, when it is used first.

>>> import headway as hw
>>> flow = hw.Flow("hello")
>>> greetings = flow.source("greetings", hw.Json, hw.items([{"at": 1, "name": "ann"}]), time="at")
>>> greetings.trigger("greeted", hw.to_list([]))
"""

from typing import TYPE_CHECKING, Final

import headway.basics.compiled  # noqa: F401 - first, because it decides how the modules below are run.
from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.basics.times import duration_ms as duration_ms
    from headway.basics.times import format_time as format_time
    from headway.connectors.columns.output import to_parquet as to_parquet
    from headway.connectors.columns.source import parquet as parquet
    from headway.connectors.files import files as files
    from headway.connectors.jsonl import to_jsonl as to_jsonl
    from headway.connectors.kafka.source import kafka as kafka
    from headway.connectors.memory import items as items
    from headway.connectors.memory import to_list as to_list
    from headway.connectors.nats import nats as nats
    from headway.connectors.objects.source import object_store as object_store
    from headway.connectors.parts import record_headers as record_headers
    from headway.connectors.parts import record_key as record_key
    from headway.connectors.parts import record_offset as record_offset
    from headway.connectors.parts import record_partition as record_partition
    from headway.connectors.parts import record_time as record_time
    from headway.connectors.postgres_log import postgres_log as postgres_log
    from headway.connectors.postgres_table import postgres_table as postgres_table
    from headway.connectors.rabbit_stream import rabbitmq_stream as rabbitmq_stream
    from headway.connectors.records import Record as Record
    from headway.connectors.redis_stream import redis_stream as redis_stream
    from headway.connectors.stdin import stdin as stdin
    from headway.connectors.stdout import to_stdout as to_stdout
    from headway.connectors.then import then as then
    from headway.declare.flow import Flow as Flow
    from headway.declare.flow import dead_letter as dead_letter
    from headway.declare.streams import KeyedStream as KeyedStream
    from headway.declare.streams import Processed as Processed
    from headway.declare.streams import SourceStream as SourceStream
    from headway.declare.streams import Stream as Stream
    from headway.declare.views import state_of as state_of
    from headway.durable.flow import Functions as Functions
    from headway.errors import FlowError as FlowError
    from headway.errors import HeadwayError as HeadwayError
    from headway.errors import SignatureError as SignatureError
    from headway.functions.declared import durable_workflow as durable_workflow
    from headway.functions.failures import StepError as StepError
    from headway.functions.options import CallOptions as CallOptions
    from headway.functions.options import RetryPolicy as RetryPolicy
    from headway.graph import INGESTION_TIME as INGESTION_TIME
    from headway.inbox.queues.mqtt import mqtt as mqtt
    from headway.inbox.queues.nats_core import nats_core as nats_core
    from headway.inbox.queues.rabbit import rabbitmq_queue as rabbitmq_queue
    from headway.inbox.queues.redis_list import redis_list as redis_list
    from headway.inbox.queues.source import queue_source as queue_source
    from headway.inbox.source import http_source as http_source
    from headway.operators.absence import Absence as Absence
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
    from headway.operators.aggregates.frequent import heavy_hitters as heavy_hitters
    from headway.operators.aggregates.horizon import count_over as count_over
    from headway.operators.aggregates.horizon import sum_over as sum_over
    from headway.operators.aggregates.lists import collect as collect
    from headway.operators.aggregates.lists import distinct as distinct
    from headway.operators.aggregates.lists import histogram as histogram
    from headway.operators.aggregates.lists import top_k as top_k
    from headway.operators.aggregates.quantiles import quantiles as quantiles
    from headway.operators.aggregates.running import AggregateResult as AggregateResult
    from headway.operators.aggregates.sums import mean as mean
    from headway.operators.aggregates.sums import sum as sum  # noqa: A004 - read as hw.sum
    from headway.operators.aggregates.variance import stddev as stddev
    from headway.operators.aggregates.variance import variance as variance
    from headway.operators.base import Context as Context
    from headway.operators.base import Operator as Operator
    from headway.operators.base import Timer as Timer
    from headway.operators.conditions import where as where
    from headway.operators.deadline import Deadline as Deadline
    from headway.operators.debounce import Debounce as Debounce
    from headway.operators.dedup import Dedup as Dedup
    from headway.operators.expiring import Expiring as Expiring
    from headway.operators.joins.lookups import Lookup as Lookup
    from headway.operators.joins.lookups import lookup as lookup
    from headway.operators.lag import Lag as Lag
    from headway.operators.lifetimes import ttl as ttl
    from headway.operators.machine import StateMachine as StateMachine
    from headway.operators.on_change import OnChange as OnChange
    from headway.operators.patterns.pattern import Pattern as Pattern
    from headway.operators.patterns.pattern import either as either
    from headway.operators.patterns.pattern import once as once
    from headway.operators.patterns.pattern import pattern as pattern
    from headway.operators.patterns.skip import no_skip as no_skip
    from headway.operators.patterns.skip import skip_past_last as skip_past_last
    from headway.operators.patterns.skip import skip_to_first as skip_to_first
    from headway.operators.patterns.skip import skip_to_last as skip_to_last
    from headway.operators.patterns.skip import skip_to_next as skip_to_next
    from headway.operators.rank import Rank as Rank
    from headway.operators.rate_limit import RateLimit as RateLimit
    from headway.operators.sequence_check import SequenceCheck as SequenceCheck
    from headway.operators.silence import Silence as Silence
    from headway.operators.throttle import Throttle as Throttle
    from headway.operators.windows.calendar import daily as daily
    from headway.operators.windows.calendar import monthly as monthly
    from headway.operators.windows.calendar import weekly as weekly
    from headway.operators.windows.early import every as every
    from headway.operators.windows.results import WindowResult as WindowResult
    from headway.operators.windows.windowers import count_window as count_window
    from headway.operators.windows.windowers import cumulative as cumulative
    from headway.operators.windows.windowers import session as session
    from headway.operators.windows.windowers import sliding as sliding
    from headway.operators.windows.windowers import tumbling as tumbling
    from headway.running import run as run
    from headway.steps.declared import Steps as Steps
    from headway.steps.http import http_step as http_step
    from headway.steps.info import StepInfo as StepInfo
    from headway.steps.info import step_info as step_info
    from headway.steps.queues import Queue as Queue
    from headway.steps.topic import topic_step as topic_step
    from headway.targets.base import DONE as DONE
    from headway.targets.base import Answer as Answer
    from headway.targets.base import Delivery as Delivery
    from headway.targets.base import Guarantee as Guarantee
    from headway.targets.base import Limits as Limits
    from headway.targets.base import Outcome as Outcome
    from headway.targets.base import Target as Target
    from headway.targets.call import NeverDeliver as NeverDeliver
    from headway.targets.call import RetryLater as RetryLater
    from headway.targets.call import Trigger as Trigger
    from headway.targets.call import call as call
    from headway.targets.dbos import to_dbos as to_dbos
    from headway.targets.http import webhook as webhook
    from headway.targets.kafka import to_kafka as to_kafka
    from headway.targets.littlehorse import to_littlehorse as to_littlehorse
    from headway.targets.mqtt import to_mqtt as to_mqtt
    from headway.targets.mysql import to_mysql as to_mysql
    from headway.targets.nats import to_nats as to_nats
    from headway.targets.postgres import postgres as postgres
    from headway.targets.rabbit import to_rabbitmq as to_rabbitmq
    from headway.targets.rabbit_stream import to_rabbitmq_stream as to_rabbitmq_stream
    from headway.targets.redis_hash import to_redis_hash as to_redis_hash
    from headway.targets.redis_stream import to_redis_stream as to_redis_stream
    from headway.targets.resonate import to_resonate as to_resonate
    from headway.targets.restate import to_restate as to_restate
    from headway.targets.sqlite import sqlite as sqlite
    from headway.targets.temporal import to_temporal as to_temporal
    from headway.targets.verifying import verify_webhook as verify_webhook
    from headway.types.logs import Log as Log
    from headway.types.schema import Event as Event
    from headway.types.schema import Json as Json
    from headway.types.schema import State as State
    from headway.types.schema import Time as Time

__version__ = "0.1.0"

_HOMES: Final = {
    "connectors.columns.output": "to_parquet",
    "connectors.columns.source": "parquet",
    "connectors.files": "files",
    "connectors.jsonl": "to_jsonl",
    "connectors.kafka.source": "kafka",
    "connectors.memory": "items to_list",
    "connectors.nats": "nats",
    "connectors.objects.source": "object_store",
    "connectors.parts": "record_headers record_key record_offset record_partition record_time",
    "connectors.rabbit_stream": "rabbitmq_stream",
    "connectors.postgres_log": "postgres_log",
    "connectors.postgres_table": "postgres_table",
    "connectors.records": "Record",
    "connectors.redis_stream": "redis_stream",
    "connectors.stdin": "stdin",
    "connectors.stdout": "to_stdout",
    "connectors.then": "then",
    "errors": "FlowError HeadwayError SignatureError",
    "declare.flow": "Flow dead_letter",
    "declare.views": "state_of",
    "graph": "INGESTION_TIME",
    "inbox.queues.mqtt": "mqtt",
    "inbox.queues.nats_core": "nats_core",
    "inbox.queues.rabbit": "rabbitmq_queue",
    "inbox.queues.redis_list": "redis_list",
    "inbox.queues.source": "queue_source",
    "inbox.source": "http_source",
    "operators.joins.lookups": "Lookup lookup",
    "operators.absence": "Absence",
    "operators.aggregates.approximate": "approx_distinct",
    "operators.aggregates.base": "Aggregate",
    "operators.aggregates.basic": "count first last max min",
    "operators.aggregates.custom": "aggregate",
    "operators.aggregates.decay": "decayed rate",
    "operators.aggregates.frequent": "heavy_hitters",
    "operators.aggregates.horizon": "count_over sum_over",
    "operators.aggregates.lists": "collect distinct histogram top_k",
    "operators.aggregates.quantiles": "quantiles",
    "operators.aggregates.running": "AggregateResult",
    "operators.aggregates.sums": "mean sum",
    "operators.aggregates.variance": "stddev variance",
    "operators.base": "Context Operator Timer",
    "operators.conditions": "where",
    "operators.deadline": "Deadline",
    "operators.debounce": "Debounce",
    "operators.dedup": "Dedup",
    "operators.expiring": "Expiring",
    "operators.lag": "Lag",
    "operators.lifetimes": "ttl",
    "operators.machine": "StateMachine",
    "operators.on_change": "OnChange",
    "operators.patterns.pattern": "Pattern either once pattern",
    "operators.patterns.skip": "no_skip skip_past_last skip_to_first skip_to_last skip_to_next",
    "operators.rank": "Rank",
    "operators.rate_limit": "RateLimit",
    "operators.sequence_check": "SequenceCheck",
    "operators.silence": "Silence",
    "operators.throttle": "Throttle",
    "operators.windows.calendar": "daily monthly weekly",
    "operators.windows.early": "every",
    "operators.windows.results": "WindowResult",
    "operators.windows.windowers": "count_window cumulative session sliding tumbling",
    "targets.base": "DONE Answer Delivery Guarantee Limits Outcome Target",
    "targets.call": "NeverDeliver RetryLater Trigger call",
    "targets.dbos": "to_dbos",
    "targets.http": "webhook",
    "targets.kafka": "to_kafka",
    "targets.littlehorse": "to_littlehorse",
    "targets.mqtt": "to_mqtt",
    "targets.mysql": "to_mysql",
    "targets.nats": "to_nats",
    "targets.postgres": "postgres",
    "targets.rabbit": "to_rabbitmq",
    "targets.rabbit_stream": "to_rabbitmq_stream",
    "targets.redis_hash": "to_redis_hash",
    "targets.redis_stream": "to_redis_stream",
    "targets.resonate": "to_resonate",
    "targets.restate": "to_restate",
    "targets.sqlite": "sqlite",
    "targets.temporal": "to_temporal",
    "targets.verifying": "verify_webhook",
    "running": "run",
    "types.logs": "Log",
    "types.schema": "Event Json State Time",
    "durable.flow": "Functions",
    "steps.declared": "Steps",
    "steps.http": "http_step",
    "steps.topic": "topic_step",
    "steps.info": "StepInfo step_info",
    "steps.queues": "Queue",
    "functions.declared": "durable_workflow",
    "functions.failures": "StepError",
    "functions.options": "CallOptions RetryPolicy",
    "declare.streams": "KeyedStream Processed SourceStream Stream",
    "basics.times": "duration_ms format_time",
}

_names, __getattr__, __dir__ = _lazily(__name__, _HOMES)
__all__ = ["__version__", *_names]  # noqa: PLE0604 - all of them are texts.
