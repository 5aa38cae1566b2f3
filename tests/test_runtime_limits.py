"""How many files the databases of a process may keep open."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from headway.runtime.limits import open_files_per_group

ASK = """
import resource
from headway.runtime.limits import raise_open_files
print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("allowed", "at_most", "expected"),
    [(256, 512, (512, 512, 512)), (512, 512, (512, 512, 512)), (256, 20_000, (10_240, 10_240, 20_000))],
)
def test_a_process_asks_for_as_many_as_it_may_have(allowed: int, at_most: int, expected: tuple[int, int, int]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < at_most:
        pytest.skip(f"this machine allows {hard} open files")
    child = subprocess.run(
        [sys.executable, "-c", ASK],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, at_most)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(map(int, child.stdout.split())) == expected


@pytest.mark.parametrize("groups", [1, 7, 16, 256])
@pytest.mark.parametrize("allowed", [64, 256, 1_024, 10_240, 1 << 20])
def test_all_groups_together_stay_within_half_of_what_is_allowed(allowed: int, groups: int) -> None:
    share = open_files_per_group(allowed, groups)
    assert 32 <= share <= 512
    assert share == 32 or share * groups <= allowed // 2
