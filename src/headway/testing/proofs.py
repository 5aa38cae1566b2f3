"""Proving in a test that a flow recovers: `prove`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Optional, Union

from headway.declare.flow import Flow
from headway.declare.imported import as_imported, spec_of
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import UsageError
from headway.proving.proof import Proof, again_command
from headway.proving.prove import ProofOptions, prove_flow
from headway.proving.sample import Logs, given_sample, taken_sample
from headway.proving.scope import check_steps

__all__ = ["prove"]


def prove(
    flow: Union[Flow, str, os.PathLike[str]],
    events: Union[Logs, int] = 1_000,
    *,
    parameters: Optional[Mapping[str, str]] = None,
    runs: int = 50,
    seed: int = 0,
    minutes: Optional[float] = None,
    run_steps: bool = False,
) -> Proof:
    """Run a flow undisturbed, then `runs` times with disturbances, and compare all that it leaves byte for byte.

    As `headway prove`, from a test. `flow` is a flow at the top level of a file, or that file's path or module's name,
    with values for its `parameters`. `events` are records by source and partition, dicts or bytes in the source's
    format; or how many are read from the beginnings of its inputs, about. Where files of a source begin with a header,
    the first record of a partition that is bytes is the header. The disturbances are drawn from `seed`, and stop after
    so many `minutes`. Steps of durable functions run for real, many times, and only with `run_steps`. Takes some 0.5 s
    for each run, on two cores.

    Raises `AssertionError` when something differs, with what, where, and the plan that shows it, and also when there
    was nothing to compare; the error with which the flow itself fails; and `UsageError` for a flow that exists only in
    the memory of this process, for `parameters` of a flow object, which has them already, and for a flow with steps
    that may not be run.

    >>> loans = [{"case": "L1", "activity": "created", "time": 1_700_000_000_000}]
    >>> prove("headway.flows.stalled_loans", {"loans": {"0": loans}}, parameters={"input": "none"}, runs=1).holds
    True
    """
    if isinstance(flow, Flow):
        if parameters is not None:
            msg = (
                f"prove(flow, parameters={dict(parameters)!r}): flow {flow.name!r} has its parameters already; give "
                "the path of its file, or the name of its module, to set others"
            )
            raise UsageError(msg)
        spec = spec_of(flow)
    else:
        spec = FlowSpec(os.fspath(flow), dict(parameters or {}))
    with as_imported(spec):
        made = load_flow(spec)
    check_steps(made, may_run=run_steps)
    sample = taken_sample(made, events) if isinstance(events, int) else given_sample(made, events)
    proof = prove_flow(spec, made, sample, ProofOptions(runs, seed, minutes, run_steps=run_steps))
    if proof.fault is not None:
        fault = proof.fault
        shows = f"plan: {fault.trial}\nevents: {fault.events}"
        if isinstance(events, int):
            shows = f"see it again with\n  {again_command(spec, fault, events, run_steps=run_steps)}"
        msg = f"{made.name}: {fault.difference}\n{fault.meaning}\n{shows}"
        raise AssertionError(msg)
    if not proof.holds:
        msg = f"{made.name}: nothing was proven: {proof.nothing}"
        raise AssertionError(msg)
    return proof
