"""`headway explain`."""

from __future__ import annotations

from typing import Optional

import click

from headway.cli.escapes import printable_lines
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say

__all__ = ["explain"]


@click.command(
    short_help="Show what a flow declares and how it will run.",
    epilog=examples(
        "headway explain flows/abandoned_carts.py",
        "headway explain flows/abandoned_carts.py --mermaid > plan.mmd",
        "headway explain flows/order_saga.py --machine life",
        "headway explain my_package.flows:orders --json",
    ),
)
@flow_argument
@set_option
@click.option("--mermaid", is_flag=True, help="Write a Mermaid flowchart, to be pasted into Markdown.")
@click.option("--machine", metavar="NAME", help="Write the state machine of an operator as a Mermaid state diagram.")
@json_option("Write everything as one JSON object.")
def explain(flow: str, settings: dict[str, str], mermaid: bool, machine: Optional[str], as_json: bool) -> None:
    """Show what a flow declares and how it will run. Runs nothing.

    FLOW is a Python file, or the name of a module; add :NAME where it has several flows. Shown are the
    parameters with their values, the steps with their types and lines, and the plan: steps that run
    together are in one stage, and events move between stages over exchanges (⇄), where the key changes. Triggers for a
    target wait where they are made (→). Of each output it says what its receiver can rely on.
    """
    if mermaid + as_json + (machine is not None) > 1:
        msg = "--mermaid, --machine and --json each write something else: choose one"
        raise click.UsageError(msg)
    from headway.cli.places import default_state_dir
    from headway.connectors.letters import dead_letters_of
    from headway.declare.loading import FlowSpec, load_flow
    from headway.explain.text import explain_json, explain_machine, explain_mermaid, explain_text
    from headway.plan.planner import compile_plan

    loaded = load_flow(FlowSpec(flow, settings))
    plan = compile_plan(loaded.graph, dead_letters=dead_letters_of(default_state_dir(loaded)))
    if as_json:
        import json

        say(json.dumps(explain_json(loaded, plan), indent=2))
    elif machine is not None:
        say(printable_lines(explain_machine(plan, machine)))
    else:
        text = explain_mermaid(loaded, plan) if mermaid else explain_text(loaded, plan)
        say(printable_lines(text))
