"""Signatures of webhooks: both schemes, each judged by code that is not ours, and what a receiver refuses."""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import ed25519_reference as reference

import headway as hw
from headway.errors import UsageError
from headway.targets.signatures import Signer

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'headway[ed25519]'")

NOW_S = 1_700_000_000.9
SEED = bytes(range(32))
SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"cents":5}'
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


def text(kind: str, octets: bytes) -> str:
    return kind + base64.b64encode(octets).decode()


SECRET_KEY = text("whsk_", SEED)
PUBLIC = text("whpk_", reference.public_of(SEED))


def headers_by(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return Signer(secrets, lambda: NOW_S).headers("msg_1", body)


def verify(headers: dict[str, str], *keys: str, body: bytes = BODY, now_s: float = NOW_S) -> None:
    hw.verify_webhook(headers, body, keys, now_s=lambda: now_s)


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_the_judge_agrees_with_the_rfc(seed: str, public: str, message: str, signature: str) -> None:
    assert reference.public_of(bytes.fromhex(seed)).hex() == public
    assert reference.sign(bytes.fromhex(seed), bytes.fromhex(message)).hex() == signature
    assert reference.is_signed(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))
    assert not reference.is_signed(bytes.fromhex(public), b"other", bytes.fromhex(signature))


def test_a_signature_by_ed25519_is_that_of_the_rfc() -> None:
    found = headers_by(SECRET_KEY)["webhook-signature"]
    assert found == text("v1a,", reference.sign(SEED, b"msg_1.1700000000." + BODY))


def test_a_secret_key_may_have_its_public_key_behind_it() -> None:
    assert headers_by(text("whsk_", SEED + reference.public_of(SEED))) == headers_by(SECRET_KEY)
    with pytest.raises(UsageError, match="<signing secret \\*\\*\\*> cannot sign: the public key behind"):
        headers_by(text("whsk_", SEED + bytes(32)))


def test_while_a_secret_is_rotated_there_is_a_signature_by_each(tmp_path: Path) -> None:
    """Also over both kinds; a receiver needs one key of either kind."""
    file = tmp_path / "secrets"
    file.write_text(f"{SHARED}\n{SECRET_KEY}\n")
    other_seed = bytes(32)
    found = headers_by(f"file:{file}", text("whsk_", other_seed))
    schemes = [one.partition(",")[0] for one in found["webhook-signature"].split(" ")]
    assert schemes == ["v1", "v1a", "v1a"]
    for key in (SHARED, PUBLIC, text("whpk_", reference.public_of(other_seed))):
        verify(found, key)
        verify(found, text("whpk_", reference.public_of(bytes([7]) * 32)), key)
    with pytest.raises(
        hw.SignatureError, match="no signature of the webhook 'msg_1' \\(v1, v1a\\) is by one of the 1 keys"
    ):
        verify(found, text("whpk_", reference.public_of(bytes([7]) * 32)))


@pytest.mark.parametrize("secret", [SHARED, SECRET_KEY])
def test_what_was_changed_is_refused(secret: str) -> None:
    key = SHARED if secret == SHARED else PUBLIC
    found = headers_by(secret)
    verify({name.title(): value for name, value in found.items()}, key)
    signature = found["webhook-signature"]
    for changed, said in (
        ({"webhook-id": "msg_2"}, "no signature"),
        ({"webhook-timestamp": "1700000001"}, "no signature"),
        ({"webhook-timestamp": "soon"}, "'soon', is none: expected seconds since 1970"),
        ({"webhook-timestamp": "-5"}, "'-5', is none"),
        (
            {"webhook-signature": signature.replace("v1a,", "v1,") if secret == SECRET_KEY else f"{signature}="},
            "no sig",
        ),
        ({"webhook-signature": signature[:-6]}, "no signature"),
        ({"webhook-signature": "v2,x ü , v1a,=== v1a"}, "no signature"),
        ({"webhook-signature": ""}, "is not signed: it has no header webhook-signature"),
        ({"webhook-id": ""}, "is not signed: it has no header webhook-id"),
    ):
        with pytest.raises(hw.SignatureError, match=said):
            verify({**found, **changed}, key)
    with pytest.raises(hw.SignatureError, match="no signature"):
        verify(found, key, body=BODY + b" ")


def test_what_is_old_is_refused() -> None:
    found = headers_by(SHARED)
    for now_s in (NOW_S + 299, NOW_S - 299):
        verify(found, SHARED, now_s=now_s)
    with pytest.raises(hw.SignatureError, match="the webhook is 302 s old, and 300 s are tolerated"):
        verify(found, SHARED, now_s=1_700_000_302)
    with pytest.raises(hw.SignatureError, match="302 s from the future"):
        verify(found, SHARED, now_s=1_699_999_698)
    hw.verify_webhook(found, BODY, SHARED, tolerance="1h", now_s=lambda: NOW_S + 3_000)


@given(st.text(), st.text(), st.binary())
def test_no_message_at_all_raises_anything_else(message_id: str, signature: str, body: bytes) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": "1700000000", "webhook-signature": signature}
    with pytest.raises(hw.SignatureError):
        verify(headers, SHARED, PUBLIC, body=body)


@pytest.mark.parametrize("secret", [PUBLIC, "whsk_short", text("whsk_", bytes(31)), text("whsk_", bytes(48)), "whsk_ü"])
def test_keys_that_cannot_sign(secret: str) -> None:
    with pytest.raises(UsageError, match=r"cannot sign: expected 'whsec_' .* or 'whsk_' and the 32 or 64") as raised:
        hw.webhook("https://shop.example/", secret=secret)
    assert secret not in str(raised.value)


@pytest.mark.parametrize("keys", [[SECRET_KEY], [text("whpk_", bytes(31))], ["swordfish"], [""], []])
def test_keys_that_check_nothing(keys: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        verify(headers_by(SHARED), *keys)
    assert "swordfish" not in str(raised.value) and SECRET_KEY not in str(raised.value)


def test_who_lacks_the_library_is_told_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start of a run: a flow can be declared without, and other secrets need none."""
    pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")
    from headway.targets import signatures

    signatures._signing.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography", None)
    target = hw.webhook("https://shop.example/", secret=SECRET_KEY)
    with pytest.raises(
        UsageError, match=r"begins with 'whsk_' needs cryptography, .* pip install 'headway\[ed25519\]'"
    ):
        target.check()
    with pytest.raises(
        UsageError, match=r"begins with 'whpk_' needs cryptography, .* pip install 'headway\[ed25519\]'"
    ):
        verify({**headers_by(SHARED), "webhook-signature": "v1a,x"}, PUBLIC)
    hw.webhook("https://shop.example/", secret=SHARED).check()
    verify(headers_by(SHARED), SHARED)


def test_the_standards_own_library_agrees() -> None:
    found: Any = pytest.importorskip(
        "standardwebhooks", reason="standardwebhooks is not installed: it checks signatures"
    )
    headers = Signer([SECRET_KEY, SHARED], time.time).headers("msg_1", BODY)
    found.Webhook(SHARED).verify(BODY, headers)
