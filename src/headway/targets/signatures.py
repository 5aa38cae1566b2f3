"""Signatures of webhooks, as Standard Webhooks 1.0.0 has them: `v1`, HMAC-SHA-256 with a shared secret.

A receiver computes the same over the id, the time and the body, and compares. The time is that of the attempt, so that
what was recorded long ago is not taken for new. While a secret is rotated, there is a signature by each.

The other scheme, `v1a`, signs with a key pair of Ed25519. The standard library has no Ed25519, so it is left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from headway.basics.secret import Secret
from headway.errors import UsageError

__all__ = ["Signer"]

_PREFIX: Final = "whsec_"
_BYTES_MIN, _BYTES_MAX = 24, 64


class Signer:
    """Signs bodies with one secret or several.

    >>> signer = Signer(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], now_s=lambda: 1614265330.5)
    >>> for name, value in signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}').items():
    ...     print(name, value)
    webhook-id msg_p5jXN8AQM9LWM0D4loKWxJek
    webhook-timestamp 1614265330
    webhook-signature v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
    """

    def __init__(self, secrets: Iterable[str], now_s: Callable[[], float]) -> None:
        self._secrets = [Secret(text, "signing secret") for text in secrets]
        self._now_s = now_s
        for secret in self._secrets:
            if secret.reference is None:
                self._keys_of(secret)

    def texts(self) -> list[str]:
        """The secrets of this moment. Raises `UsageError` where one is missing."""
        return [text for secret in self._secrets for text in secret.read()]

    def check(self) -> None:
        """Raises `UsageError` where a secret is missing or cannot be one."""
        for secret in self._secrets:
            self._keys_of(secret)

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers of one attempt. Without a secret there is no signature among them."""
        seconds = str(int(self._now_s()))
        found = {"webhook-id": message_id, "webhook-timestamp": seconds}
        signed = b"%b.%b.%b" % (message_id.encode(), seconds.encode(), body)
        signatures = [_sign(key, signed) for secret in self._secrets for key in self._keys_of(secret)]
        if signatures:
            found["webhook-signature"] = " ".join(signatures)
        return found

    def _keys_of(self, secret: Secret) -> list[bytes]:
        keys = [_key_of(text) for text in secret.read()]
        if not all(keys):
            wanted = f"{_PREFIX!r} and {_BYTES_MIN} to {_BYTES_MAX} bytes in base64"
            msg = f"{secret!r} cannot sign: expected {wanted}"
            raise UsageError(msg)
        return keys


def _sign(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@lru_cache(maxsize=64)
def _key_of(text: str) -> bytes:
    """The bytes of a secret, none where it cannot be one."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if text.startswith(_PREFIX) and _BYTES_MIN <= len(key) <= _BYTES_MAX else b""
