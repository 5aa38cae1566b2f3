"""Key groups: which one a key belongs to, and the name under which the engine routes it."""

from __future__ import annotations

from typing import Final

from headway.basics.scanning import group_of
from headway.errors import UsageError

__all__ = ["MAX_GROUPS", "group_of", "routing_name"]

MAX_GROUPS: Final = 256

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
