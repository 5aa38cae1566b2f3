"""What becomes of an error: a short text for people, an object for programs, and an exit code."""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress

import click

from headway.basics.tracebacks import user_frames
from headway.cli.escapes import printable_lines
from headway.cli.process import INTERRUPTED, discard_output
from headway.errors import HeadwayError, InternalError, ReaderGoneError, UserCodeError, public_class

__all__ = ["report"]

UNEXPECTED = InternalError.exit_code
REPORT = "This is an error of Headway itself: please report it, with the text above."


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell an error on stderr, with `as_json` also on stdout, and return the exit code that it means."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, (BrokenPipeError, ReaderGoneError)):
        # As of a program that the signal for it has ended: silent, since nobody listens.
        discard_output()
        return ReaderGoneError.exit_code
    if isinstance(error, click.Abort):
        name, message, code = "NotConfirmed", "not confirmed, so nothing was changed: answer y, or give --yes", 1
    elif isinstance(error, KeyboardInterrupt):
        name, message, code = (
            "Interrupted",
            "interrupted; started again, a run goes on from its last durable epoch",
            INTERRUPTED,
        )
    elif isinstance(error, click.ClickException):
        name, message, code = "UsageError", _usage(error), error.exit_code
    elif isinstance(error, HeadwayError):
        name, message, code = public_class(error).__name__, _told(error), error.exit_code
    else:
        text = "".join(traceback.format_exception(error)) + REPORT
        name, message, code = type(error).__name__, f"unexpected {type(error).__name__}\n{text}", UNEXPECTED
    with suppress(OSError):  # Nobody can be told that standard error cannot be written.
        print(f"headway: error: {printable_lines(message)}", file=sys.stderr, flush=True)
    with suppress(OSError):
        if as_json:
            print(json.dumps({"error": {"type": name, "message": message, "exit_code": code}}), flush=True)
    discard_output()
    return code


def _usage(error: click.ClickException) -> str:
    """What is wrong with the arguments, and where help is."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and context is not None:
        message += f"\nTry '{context.command_path} --help'."
    return message


def _told(error: HeadwayError) -> str:
    """The message, and what its reader needs beside it."""
    if isinstance(error, UserCodeError) and error.__cause__ is not None:
        return f"{error}\n{_cause(error.__cause__)}"
    if isinstance(error, InternalError):
        return f"{error}\n{REPORT}"
    return str(error)


def _cause(cause: BaseException) -> str:
    """The last frames in the flow's code. A worker process has sent its traceback as text."""
    text = str(cause)
    return text.rstrip() if text.startswith("in the worker process:") else user_frames(cause)
