"""Entry point of the command `headway`, and of `python -m headway`."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Final

from headway.cli.main import main as run_command

__all__ = ["main"]

_ENGINE: Final = "headway-engine"


def main() -> int:
    """Run the command and return its exit code.

    Where the engine of a member of a cluster still waits for its peers, in a thread that nothing can end, the process
    is left at once: the interpreter may crash when it is taken apart under that thread.
    """
    code = run_command()
    if any(thread.name == _ENGINE for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # Closed, or none: there is nobody to tell.
                stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
