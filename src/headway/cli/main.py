"""The command line as a whole: the subcommands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

import click

from headway.cli.backup import backup
from headway.cli.commands import Commands
from headway.cli.connect import connect
from headway.cli.dead_letters import dead_letters
from headway.cli.demo import demo
from headway.cli.explain import explain
from headway.cli.failures import report
from headway.cli.functions import functions
from headway.cli.generate import generate
from headway.cli.ingest import ingest
from headway.cli.options import examples
from headway.cli.process import Interrupts, check_directory, open_standard_streams
from headway.cli.prove import prove
from headway.cli.run import run
from headway.cli.savepoint import savepoint
from headway.cli.serve import serve
from headway.cli.state import state
from headway.cli.triggers import triggers
from headway.cli.version import version
from headway.cli.why import why
from headway.cli.worker import worker

__all__ = ["headway", "main"]

EXAMPLES = examples(
    "headway run headway.flows.abandoned_carts",
    "headway run flows/abandoned_carts.py --drain --set after=1h --workers 2 --state .headway/after-1h",
    "headway explain flows/abandoned_carts.py",
    "headway generate shop events --events 1000000",
)
EXIT_CODES = """\b
Exit codes:
  0    done; also after a graceful stop by Ctrl-C or SIGTERM
  1    the flow's own code raised, a check found differences, there is nothing to show, or nobody said y
  2    a flow, an option or a parameter is wrong
  3    the state directory cannot be used
  4    an input cannot be read, or an output cannot be written
  5    workers could not start, or died too often
  70   an error of Headway itself: please report it
  130  ended by a second Ctrl-C, or by one outside of a run: the next run goes on from the last durable epoch
  141  the reader of standard output has gone, as `head` does: the next run goes on with what was not printed
"""


@click.group(
    cls=Commands,
    epilog=f"{EXAMPLES}\n\n{EXIT_CODES}",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", "show_version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def headway(ctx: click.Context, show_version: bool) -> None:
    """Stream processing in Python: durable triggers and decision state from logs of events.

    A flow is a Python file that declares where events come from, what is kept for each key, and which triggers
    go out. What a run has done is in its state directory: stop it at any time, and the next run goes on.
    """
    if show_version:
        ctx.invoke(version)
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif ctx.invoked_subcommand != version.name:
        check_directory()


COMMANDS = (
    run,
    serve,
    ingest,
    explain,
    connect,
    prove,
    generate,
    state,
    savepoint,
    backup,
    triggers,
    functions,
    worker,
    dead_letters,
    why,
    demo,
    version,
)
for command in COMMANDS:
    headway.add_command(command)


def main(args: Optional[Sequence[str]] = None) -> int:
    """Run the command line and return the exit code; errors are told on stderr, as JSON on stdout with `--json`."""
    given = list(sys.argv[1:] if args is None else args)
    interrupts = Interrupts()
    failure: Optional[BaseException] = None
    try:
        with interrupts.watched():
            open_standard_streams()
            # Not click's own main(): that would end the process at a closed pipe.
            with headway.make_context("headway", given) as context:
                headway.invoke(context)
            sys.stdout.flush()
    except BaseException as error:
        # What an interrupt has led to is no error of its own.
        failure = KeyboardInterrupt() if interrupts.count else error
    return 0 if failure is None else report(failure, as_json="--json" in given)
