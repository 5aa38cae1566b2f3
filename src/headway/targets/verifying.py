"""The other side of a webhook: whether it comes from whom it says, and just now."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from headway.basics.secret import Secret, SecretText
from headway.basics.times import Duration, duration_ms
from headway.errors import SignatureError, UsageError
from headway.targets.signatures import PUBLIC, SECRET_KEY, SHARED, Key, ed25519, key_of, signed_part, v1

__all__ = ["verify_webhook"]

_SIGNATURES_MAX: Final = 32
"""How many signatures of one message are looked at: each costs some µs, and anybody may send a list of them."""


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    key: SecretText,
    *,
    tolerance: Duration = "5m",
    now_s: Callable[[], float] = time.time,
) -> None:
    """Check the signature of a webhook that was received, by Standard Webhooks, and return if it is genuine.

    `headers` and `body` are those of the request, the body as the bytes that came. `key` is the secret that the sender
    shares (`whsec_...`) or the sender's public key (`whpk_...`, needs the extra `ed25519`), best as `env:NAME` or
    `file:/path`; several while one is rotated. One signature by one of them is enough. `tolerance` is by how much the
    sender's clock may differ from `now_s()`, epoch seconds: what is older may have been recorded and sent again.

    A sender may send the same webhook again: its header `webhook-id` tells. Takes some 10 µs with a shared secret, some
    150 µs with a public key. Raises `SignatureError` for a message that is not genuine, `UsageError` for a key that
    cannot be one.

    >>> headers = {
    ...     "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    ...     "webhook-timestamp": "1614265330",
    ...     "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ... }
    >>> secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    >>> verify_webhook(headers, b'{"test": 2432232314}', secret, now_s=lambda: 1614265350.0)
    """
    keys = _keys_of([key] if isinstance(key, str) else key)
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not found.get(name)]
    if missing:
        msg = f"the webhook is not signed: it has no header {' and no '.join(missing)}"
        raise SignatureError(msg)
    _check_time(found["webhook-timestamp"], duration_ms(tolerance, what="tolerance") / 1_000, now_s())
    signed = signed_part(found["webhook-id"], found["webhook-timestamp"], body)
    given = found["webhook-signature"].split()[:_SIGNATURES_MAX]
    if not any(_is_by(one, signature, signed) for one in keys for signature in given):
        schemes = ", ".join(sorted({signature.partition(",")[0][:10] for signature in given}))
        msg = (
            f"no signature of the webhook {found['webhook-id']!r:.100} ({schemes}) is by one of the {len(keys)} keys: "
            "it was changed on its way, or signed with another key"
        )
        raise SignatureError(msg)


def _keys_of(texts: Sequence[str]) -> list[Key]:
    found: list[Key] = []
    for secret in [Secret(text, "webhook key") for text in texts]:
        for text in secret.read():
            key = key_of(text)
            if key is None or key.kind == SECRET_KEY:
                msg = (
                    f"{secret!r} checks nothing: expected {SHARED!r} and 24 to 64 bytes in base64, or {PUBLIC!r} and 32"
                )
                raise UsageError(msg)
            found.append(key)
    if not found:
        msg = "there is no webhook key: a message cannot be checked with none"
        raise UsageError(msg)
    return found


def _check_time(text: str, tolerance_s: float, now_s: float) -> None:
    if not (text.isascii() and text.isdigit()):
        msg = f"the time of the webhook, {text!r:.40}, is none: expected seconds since 1970"
        raise SignatureError(msg)
    age_s = now_s - int(text)
    if abs(age_s) > tolerance_s:
        side = "old" if age_s > 0 else "from the future"
        msg = f"the webhook is {abs(age_s):.0f} s {side}, and {tolerance_s:.0f} s are tolerated: see the clocks"
        raise SignatureError(msg)


def _is_by(key: Key, signature: str, signed: bytes) -> bool:
    if key.kind == SHARED:
        return hmac.compare_digest(v1(key.octets, signed).encode(), signature.encode(errors="surrogatepass"))
    scheme, _, text = signature.partition(",")
    if scheme != "v1a":
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519("a webhook key that begins with 'whpk_'").Ed25519PublicKey.from_public_bytes(key.octets).verify(
            base64.b64decode(text, validate=True), signed
        )
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True
