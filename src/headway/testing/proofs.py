"""Proving in a test that a flow recovers: `prove`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Optional, Union

from headway.declare.flow import Flow
from headway.declare.imported import spec_of
from headway.declare.loading import FlowSpec, load_flow
from headway.proving.prove import Proof, ProofOptions, prove_flow
from headway.proving.sample import Logs, given_sample, taken_sample

__all__ = ["prove"]


def prove(
    flow: Union[Flow, str, os.PathLike[str]],
    events: Union[Logs, int] = 1_000,
    *,
    parameters: Optional[Mapping[str, str]] = None,
    runs: int = 50,
    seed: int = 0,
    minutes: Optional[float] = None,
) -> Proof:
    """Run a flow undisturbed, then `runs` times with disturbances, and compare all that it leaves byte for byte.

    As `headway prove`, from a test. `flow` is a flow at the top level of a file, or that file's path or module's name,
    with values for its `parameters`. `events` are records by source and partition, dicts or bytes in the source's
    format; or how many are read from the beginnings of its inputs, about. The disturbances are drawn from `seed`, and
    stop after so many `minutes`. Takes some 0.5 s for each run, on two cores.

    Raises `AssertionError` when something differs, with what, where, and the plan that shows it; the error with which
    the flow itself fails; and `UsageError` for a flow that exists only in the memory of this process.

    >>> proof = prove("headway.flows.stalled_loans", {"loans": {"0": []}}, parameters={"input": "none"}, runs=1)
    >>> proof.fault is None
    True
    """
    spec = spec_of(flow) if isinstance(flow, Flow) else FlowSpec(os.fspath(flow), dict(parameters or {}))
    made = load_flow(spec)
    sample = taken_sample(made, events) if isinstance(events, int) else given_sample(made, events)
    proof = prove_flow(spec, made, sample, ProofOptions(runs, seed, minutes))
    if proof.fault is not None:
        fault = proof.fault
        msg = f"{made.name}: {fault.difference}\n{fault.meaning}\nplan: {fault.trial}\nevents: {fault.events}"
        raise AssertionError(msg)
    return proof
