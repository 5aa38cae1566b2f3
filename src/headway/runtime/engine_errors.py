"""What the engine says when it stops, told as errors of Headway: the one place that reads its words."""

from __future__ import annotations

from pathlib import Path

from bytewax._bytewax import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError

from headway.errors import ClusterError, CorruptStateError, InternalError
from headway.runtime.recovery_log import recovery_refusal, sqlite_words
from headway.runtime.voice import EngineVoice
from headway.state.files import RESTORE

__all__ = ["translated"]

_NOT_WHOLE = (NoPartitionsError, MissingPartitionsError, InconsistentPartitionsError)


def translated(error: BaseException, log: Path, voice: EngineVoice, *, clustered: bool) -> BaseException:
    """The error for what ended the engine; of a panic the cause is only in what the engine has said of it."""
    panicked = type(error).__name__ == "PanicException"  # It is no `Exception`, and cannot be imported.
    if not (panicked or isinstance(error, Exception)):
        return error
    text = str(error)
    said = f"{text} {voice.panic} {voice.errors}"
    if "Sqlite" in said:
        return recovery_refusal(log, sqlite_words(said))
    if isinstance(error, _NOT_WHOLE) or any(isinstance(other, _NOT_WHOLE) for other in voice.errors):
        msg = f"the recovery log in {log} is not whole ({text}): {RESTORE}"
        return CorruptStateError(msg)
    if "communication pipeline" in text or "Address already in use" in text:
        msg = f"the process could not join the cluster: {text}"
        return ClusterError(msg)
    if clustered:
        msg = f"the engine stopped, as it does when another process of the cluster is gone: {text}"
        return ClusterError(msg)
    msg = f"the engine stopped with {type(error).__name__}: {text}\n{voice.panic}".rstrip()
    return InternalError(msg)
