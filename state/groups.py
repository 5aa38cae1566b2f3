"""Key groups: which one a key belongs to, and the name under which the engine routes it."""

from __future__ import annotations

from typing import Final

from headway.basics.scanning import group_of
from headway.errors import UsageError

__all__ = ["MAX_GROUPS", "group_of", "routing_name", "worker_of"]

MAX_GROUPS: Final = 256
_WORD: Final = (1 << 64) - 1
_SIP: Final = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)

# bytewax gives a key to worker SipHash-1-3(UTF-8 of the key + 0xFF) modulo workers. Three characters per group
# make that hash equal to the group modulo 2520, the least common multiple of 1 to 10: plain names would load
# three workers with 7, 10 and 15 of 32 groups. Found by trying; the tests compute the hashes again.
_SUFFIXES: Final = (
    "bv4ccga5kmrfb7ig9aadfcwqcanahyca8hxgcucbxsfjxeajbkzaw6ahzau3anhchkcjedhvbdabtmbhgfenbhbevibx7dgm"
    "be6cwdaa5e22c3jg9kdqkcmhghkaw6a48dd9f47bbcccudaca8scuthttarinq3bgme7xahqbzzanvcgabqkenqb9vctndbe"
    "agqd6dbuccdjdisba8apbf6gas4aendk4g85b6mej4a6zekna4tiarbaga9sac9ac9af2chnh8itd5cahasiafna9ravceyh"
    "cnwb2qbabcvkcr6a9mcd3nqzbwpeu4bgqa4udfvasabu4a8fc9mbzsbxzfytanwb5ucmtasta3tdrqa72dkgbgies4awwbad"
    "aaxa72ertcttcwjapuc5uaeicc2eevcpnajpat3ppmahpejcanmaa3f8abnpaqkc3napfdnuaw4ee2bhpawshcpbjsc4tebb"
    "bufcrva3cbpadp7cticemeyzbrrbkvcj5b27bareaha3zcxqa4maqscq3b5fegsfp3btxaaxcteg2eanaah3g6hapcg6ea4s"
    "dzaegrgk6bnpapea7vazuamrb4qdykawkaynbvncz7cgibtcagaa6hapza4pa97dighynfytahvb5icmde93a6dawjanpb6s"
    "c2mcmhcjmbc5cf6chxafqfa3begbwdfywa5id9cgnjaahctjczad2maq4qqgbk8a3cdrwdw6bi4cbgccibqcb9vcd4diwdcx"
)


def routing_name(group: int) -> str:
    """The name by which the engine routes `group`; any worker count to 10 is evenly loaded.

    Raises `UsageError` for a group outside 0 to 255.

    >>> routing_name(7)
    '007-cwq'
    """
    if not 0 <= group < MAX_GROUPS:
        msg = f"key group {group} does not exist: groups are numbered 0 to {MAX_GROUPS - 1}"
        raise UsageError(msg)
    return f"{group:03d}-{_SUFFIXES[3 * group : 3 * group + 3]}"


def worker_of(group: int, workers: int) -> int:
    """Which of so many workers the engine gives a group to; some 20 µs.

    >>> [worker_of(group, 3) for group in range(6)]
    [0, 1, 2, 0, 1, 2]
    """
    return _siphash13(routing_name(group).encode() + b"\xff") % workers


def _siphash13(data: bytes) -> int:
    """SipHash-1-3 with the key zero: what the engine hashes names with."""
    v = _SIP
    padded = data.ljust(len(data) // 8 * 8 + 7, b"\0") + bytes([len(data) & 255])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v0, v1, v2, v3 = _sip_round(v[0], v[1], v[2], v[3] ^ word)
        v = (v0 ^ word, v1, v2, v3)
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(3):
        v = _sip_round(*v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _WORD
    v1 = _turned(v1, 13) ^ v0
    v0 = _turned(v0, 32)
    v2 = (v2 + v3) & _WORD
    v3 = _turned(v3, 16) ^ v2
    v0 = (v0 + v3) & _WORD
    v3 = _turned(v3, 21) ^ v0
    v2 = (v2 + v1) & _WORD
    v1 = _turned(v1, 17) ^ v2
    return v0, v1, _turned(v2, 32), v3


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _WORD
