"""Testing flows and durable functions: kits for unit tests with a virtual clock, an oracle, and Hypothesis strategies.

The strategies are in `headway.testing.strategies` and `headway.testing.flows`; they need Hypothesis
(`pip install "headway[testing]"`), the rest does not.
"""

from __future__ import annotations

from headway.testing.fakes import NEVER, after, fails, in_turn
from headway.testing.function_run import FunctionFailed, FunctionRun
from headway.testing.functions import FunctionTest, replay
from headway.testing.kit import FlowTest
from headway.testing.oracle import Oracle, OracleResult, run_oracle
from headway.testing.proofs import prove
from headway.testing.sandbox import NotDurable
from headway.testing.targets import check_target
from headway.testing.transports import check_transport

__all__ = [
    "NEVER",
    "FlowTest",
    "FunctionFailed",
    "FunctionRun",
    "FunctionTest",
    "NotDurable",
    "Oracle",
    "OracleResult",
    "after",
    "check_target",
    "check_transport",
    "fails",
    "in_turn",
    "prove",
    "replay",
    "run_oracle",
]
