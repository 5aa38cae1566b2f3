"""Testing flows: the kit for unit tests with a virtual clock, the oracle behind it, and Hypothesis strategies.

The strategies are in `headway.testing.strategies` and `headway.testing.flows`; they need Hypothesis
(`pip install "headway[testing]"`), the rest does not.
"""

from __future__ import annotations

from headway.testing.kit import FlowTest
from headway.testing.oracle import Oracle, OracleResult, run_oracle
from headway.testing.targets import check_target

__all__ = ["FlowTest", "Oracle", "OracleResult", "check_target", "run_oracle"]
