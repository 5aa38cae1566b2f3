"""Signatures of webhooks, as Standard Webhooks 1.0.0 has them.

Two schemes. `v1` is HMAC-SHA-256 with a secret that both sides have, `whsec_...`. `v1a` is Ed25519: the sender signs
with a secret key, `whsk_...`, and receivers check with the public one, `whpk_...`, which lets nobody sign. What is
signed is the id, the time and the body. The time is that of the attempt, so that what was recorded long ago is not
taken for new. While a secret is rotated, there is a signature by each, also while a receiver moves from one scheme to
the other.

The standard library has no Ed25519: `cryptography` is imported when a key of that kind is used. A signature costs some
µs by `v1`, some 50 µs by `v1a`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Optional

from headway.basics.needed import needed
from headway.basics.secret import Secret
from headway.errors import UsageError

__all__ = ["PUBLIC", "SECRET_KEY", "SHARED", "Key", "Signer", "ed25519", "key_of", "signed_part", "v1"]

SHARED: Final = "whsec_"
SECRET_KEY: Final = "whsk_"
PUBLIC: Final = "whpk_"
_SIZES: Final = {SHARED: range(24, 65), SECRET_KEY: (32, 64), PUBLIC: (32,)}
"""Bytes. A secret key is its seed, or the seed and the public key behind it, as many libraries write it."""
_WANTED: Final = (
    f"expected {SHARED!r} and 24 to 64 bytes in base64, or {SECRET_KEY!r} and the 32 or 64 of a secret key of Ed25519"
)


class Key(NamedTuple):
    """A key as it was written."""

    kind: str
    """`whsec_`, `whsk_` or `whpk_`."""
    octets: bytes


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

    def secrets(self) -> list[str]:
        """What must not be shown. Never raises."""
        return [text for secret in self._secrets for text in secret.known()]

    def check(self) -> None:
        """Raises `UsageError` where a secret is missing or cannot be one, or the library that it needs is."""
        self.headers("check", b"")

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers of one attempt. Without a secret there is no signature among them."""
        seconds = str(int(self._now_s()))
        found = {"webhook-id": message_id, "webhook-timestamp": seconds}
        signed = signed_part(message_id, seconds, body)
        signatures = [_signature(key, signed, secret) for secret in self._secrets for key in self._keys_of(secret)]
        if signatures:
            found["webhook-signature"] = " ".join(signatures)
        return found

    def _keys_of(self, secret: Secret) -> list[Key]:
        keys = [key_of(text) for text in secret.read()]
        found = [key for key in keys if key is not None and key.kind != PUBLIC]
        if len(found) < len(keys):
            msg = f"{secret!r} cannot sign: {_WANTED}"
            raise UsageError(msg)
        return found


def signed_part(message_id: str, seconds: str, body: bytes) -> bytes:
    """What a signature is of."""
    return b"%b.%b.%b" % (message_id.encode(errors="surrogatepass"), seconds.encode(), body)


def v1(secret: bytes, signed: bytes) -> str:
    """The signature with a shared secret."""
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def ed25519(who: str) -> Any:
    """The module that has Ed25519. Raises `UsageError` where it is not installed."""
    needed("cryptography", "ed25519", who)
    from cryptography.hazmat.primitives.asymmetric import ed25519 as found

    return found


@lru_cache(maxsize=64)
def key_of(text: str) -> Optional[Key]:
    """The key that a text is; None where it is none.

    >>> key_of("whpk_" + "A" * 43 + "=").kind, key_of("whsec_short")
    ('whpk_', None)
    """
    for kind, sizes in _SIZES.items():
        if text.startswith(kind):
            try:
                octets = base64.b64decode(text.removeprefix(kind), validate=True)
            except (binascii.Error, ValueError):
                return None
            return Key(kind, octets) if len(octets) in sizes else None
    return None


def _signature(key: Key, signed: bytes, secret: Secret) -> str:
    if key.kind == SHARED:
        return v1(key.octets, signed)
    sign = _signing(key.octets)
    if sign is None:
        msg = f"{secret!r} cannot sign: the public key behind the secret one is that of another key"
        raise UsageError(msg)
    return "v1a," + base64.b64encode(sign(signed)).decode()


@lru_cache(maxsize=64)
def _signing(octets: bytes) -> Optional[Callable[[bytes], bytes]]:
    """What signs with a secret key; None where it stands before a public key that is not its own."""
    key = ed25519("a signing secret that begins with 'whsk_'").Ed25519PrivateKey.from_private_bytes(octets[:32])
    is_whole = octets[32:] in (b"", key.public_key().public_bytes_raw())
    sign: Callable[[bytes], bytes] = key.sign
    return sign if is_whole else None
