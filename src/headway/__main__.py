"""Entry point of the command `headway`, and of `python -m headway`."""

from __future__ import annotations

import sys

from headway.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
