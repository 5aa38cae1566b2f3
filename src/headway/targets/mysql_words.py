"""What a server of MySQL or MariaDB, and the library, say of an error: whether it is of a row, and what to do."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final, Optional

from headway.basics.secret import hide

__all__ = ["is_of_a_row", "told"]

_OF_A_ROW: Final = frozenset(
    {
        *(1048, 1062, 1118, 1263, 1264, 1265, 1292, 1300, 1366, 1367, 1406, 1411, 1416, 1438, 1441, 1525, 1526, 1644),
        *(1216, 1217, 1369, 1451, 1452, 1690, 1748, 3140, 3141, 3156, 3819, 4025),
    }
)
"""Numbers of errors that say something about a row: nulls, ranges, lengths, constraints, and what triggers raise."""
_NEXT: Final = {
    1044: "GRANT the user what it needs on that database",
    1045: "check user and password in the url",
    1049: "check its name in the url, or make it with CREATE DATABASE",
    1142: "GRANT the user what it needs on that table",
    1698: "check user and password in the url; this user may be let in by the socket of its machine alone",
    3159: "the server asks for TLS: write ?ssl_ca=/path/ca.pem, or ?ssl=true, behind the database in the url",
}
"""What to do, by the number of an error."""
_NO_TLS: Final = 2026
"""What the library says of a server without TLS, where TLS was asked for."""
_UNKNOWN_ISSUERS: Final = frozenset({18, 19, 20, 21})
_OTHER_NAMES: Final = frozenset({62, 64})
"""Numbers that OpenSSL gives to certificates: signed by nobody that is known, and of another name or address."""


def is_of_a_row(error: Exception) -> bool:
    """Whether an error of the library says something about a row, which will be wrong whenever it comes."""
    import pymysql

    number = error.args[0] if error.args else None
    if isinstance(number, int):
        return number in _OF_A_ROW
    return isinstance(error, (pymysql.DataError, pymysql.ProgrammingError))  # It was not even sent.


def told(error: Exception, secrets: Sequence[str]) -> str:
    """What an error of the library says, in one line, with what to do where that is known, and without secrets."""
    number, text = error.args if len(error.args) == 2 else (None, str(error))
    shown = " ".join(str(text).split()) or type(error).__name__
    if number:
        shown = f"{shown} (error {number})"
    hint = _of_certificate(error) or _of_login(error) or _NEXT.get(number if isinstance(number, int) else 0)
    if number == _NO_TLS:
        hint = "make the server offer TLS, or leave it out of the url"
    return hide(f"{shown}: {hint}" if hint else shown, secrets)


def _of_certificate(error: Exception) -> Optional[str]:
    cause = getattr(error, "original_exception", None)
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    if cause.verify_code in _UNKNOWN_ISSUERS:
        return "no authority that we trust has signed the server's certificate: name the file of its own with ?ssl_ca="
    if cause.verify_code in _OTHER_NAMES:
        return "the server's certificate is for another name: write the host in the url as the certificate has it"
    return "the server's certificate is of no use: give it one that is"


def _of_login(error: Exception) -> Optional[str]:
    """The library raises this where a way to let users in needs another library."""
    if not isinstance(error, RuntimeError):
        return None
    if "cryptography" in str(error):
        return "pip install 'headway[mysql]' brings it; by TLS, ?ssl_ca=/path/ca.pem in the url, it is not needed"
    if "pynacl" in str(error):
        return "pip install 'pymysql[ed25519]' brings it"
    return None
