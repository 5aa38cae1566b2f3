"""Runs of the flows that follow stories: in the kit, through the command line, and what must come out."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tests.cluster_harness import FLOWS
from tests.cluster_harness import run as run_command

from headway.cli.main import main
from headway.declare.loading import FlowSpec, load_flow
from headway.generate.stories import StoryOptions, generate_stories
from headway.testing import FlowTest

DATA = Path(os.environ.get("HEADWAY_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Where the real logs are, if anywhere."""

WILD: dict[str, Any] = {"disorder_ms": 600_000, "partitions": 2}
"""Options of streams whose events come in wild disorder: they are sparse, and seconds would hardly touch them."""


def made(kind: str, directory: Path, **options: Any) -> Path:
    """A generated stream, in a folder of its own."""
    generate_stories(StoryOptions(kind, **{"events": 2_000, **options}), directory)
    return directory


def lines_of(*paths: Path) -> list[Any]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def bag(triggers: list[Any], *types: str) -> Counter[str]:
    """What counts of triggers of some types, in no order; of all types where none is given."""
    names = ("type", "subject", "time", "data")
    return Counter(
        json.dumps([line[name] for name in names], sort_keys=True)
        for line in triggers
        if not types or line["type"] in types
    )


def load(flow: str, sources: dict[str, list[Path]], **parameters: str) -> FlowTest:
    """The kit on a flow, with files as the partitions of its sources."""
    partitions = {source: [path.name for path in paths] for source, paths in sources.items()}
    return FlowTest(load_flow(FlowSpec(f"headway.flows.{flow}", parameters)), partitions=partitions)


def drained(flow: str, directory: Path, *sources: str, **parameters: str) -> FlowTest:
    """The kit after all of a stream; checks that nothing was late or could not be read."""
    paths = {source: sorted(directory.glob(f"{source}-*.jsonl")) for source in sources}
    test = load(flow, paths, input=str(directory / "*"), out_of_order="10m", **parameters)
    for source in sources:
        for path in paths[source]:
            for line in path.read_bytes().splitlines():
                test.send(source, line, partition=path.name)
    test.drain()
    assert not any(test.late(source) for source in sources)
    assert not test.dead_letters
    return test


def check_demo(flow: str, kind: str, directory: Path, *outputs: str) -> dict[str, Any]:
    """Run a flow as its docstring says, with nothing else; its triggers must be the expected ones."""
    summary = run_command(directory, FLOWS / f"{flow}.py", "--drain")
    demo = directory / ".headway" / f"{kind}-demo"
    assert main(["generate", "check", str(demo), *(str(directory / name) for name in outputs)]) == 0
    return summary


def check_workers(flow: str, kind: str, directory: Path, *outputs: str, **parameters: str) -> None:
    """Run a flow on a stream of four files in two processes; its triggers must be the expected ones."""
    stream = made(kind, directory / kind, partitions=4, seed=7, disorder_ms=WILD["disorder_ms"])
    settings = {"input": f"{stream}/{kind}-*.jsonl", "out_of_order": "10m", **parameters}
    arguments = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    run_command(directory, FLOWS / f"{flow}.py", *arguments, "--workers", 2, "--drain")
    assert main(["generate", "check", str(stream), *(str(directory / name) for name in outputs)]) == 0
