"""What an idempotency key may be: in the header `Idempotency-Key`, and wherever a client gives one."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["KEY", "KEY_MOST"]

KEY_MOST: Final = 255
"""How many characters it has at most."""
KEY: Final = re.compile("[!-~](?:[ -~]*[!-~])?")
"""Visible ASCII characters, with blanks between them."""
