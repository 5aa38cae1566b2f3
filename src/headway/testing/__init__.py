"""Testing flows and durable functions: kits for unit tests with a virtual clock, an oracle, and Hypothesis strategies.

The strategies are in `headway.testing.strategies` and `headway.testing.flows`; they need Hypothesis
(`pip install "headway[testing]"`), the rest does not. Importing this imports next to nothing: each name costs its own
module, when it is used first. Only `prove` needs the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.testing.fakes import NEVER as NEVER
    from headway.testing.fakes import after as after
    from headway.testing.fakes import fails as fails
    from headway.testing.fakes import in_turn as in_turn
    from headway.testing.function_run import FunctionFailed as FunctionFailed
    from headway.testing.function_run import FunctionRun as FunctionRun
    from headway.testing.functions import FunctionTest as FunctionTest
    from headway.testing.functions import replay as replay
    from headway.testing.kit import FlowTest as FlowTest
    from headway.testing.oracle import Oracle as Oracle
    from headway.testing.oracle import OracleResult as OracleResult
    from headway.testing.oracle import run_oracle as run_oracle
    from headway.testing.proofs import prove as prove
    from headway.testing.sandbox import NotDurable as NotDurable
    from headway.testing.targets import check_target as check_target
    from headway.testing.transports import check_transport as check_transport

_HOMES: Final = {
    "testing.fakes": "NEVER after fails in_turn",
    "testing.function_run": "FunctionFailed FunctionRun",
    "testing.functions": "FunctionTest replay",
    "testing.kit": "FlowTest",
    "testing.oracle": "Oracle OracleResult run_oracle",
    "testing.proofs": "prove",
    "testing.sandbox": "NotDurable",
    "testing.targets": "check_target",
    "testing.transports": "check_transport",
}

_names, __getattr__, __dir__ = _lazily(__name__, _HOMES)
__all__ = [*_names]  # noqa: PLE0604 - all of them are texts.
