"""The dashboard, the alert rules and the page of documentation name what is exported, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.promql import Asked, asked_by

from headway.metrics.catalog import CATALOG, CATALOG_BY_NAME, Metric

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "metrics"
REFERENCE: Final = re.compile(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}")


def metric_of(name: str) -> tuple[Metric, set[str]]:
    """The metric of a name in an expression, and the labels that it has."""
    bare = re.sub(r"_(bucket|sum|count)$", "", name)
    found = CATALOG_BY_NAME.get(name) or CATALOG_BY_NAME[bare]
    return found, {"flow", *found.labels, *({"le"} if name.endswith("_bucket") else ())}


def check(asked: Asked, references: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """All metrics of an expression are there, with the labels that it uses."""
    assert asked.metrics
    known: set[str] = set()
    for name, chosen in asked.metrics.items():
        labels = metric_of(name)[1]
        assert chosen <= labels, f"{name} has no label {chosen - labels}"
        known |= labels
    assert asked.labels <= known
    assert references <= known, f"{references - known} of {sorted(asked.metrics)}"


def rules() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: the alert rules cannot be read")
    read = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return found


def test_every_rule_can_be_evaluated_and_says_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 10
    for rule in rules():
        texts = rule["annotations"]
        assert set(texts) == {"summary", "description"} and rule["labels"]["severity"] in ("warning", "critical")
        check(asked_by(rule["expr"]), set(REFERENCE.findall(texts["summary"] + texts["description"])))
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_every_panel_shows_what_there_is() -> None:
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["targets"]
        for target in panel["targets"]:
            check(asked_by(target["expr"]), set(REFERENCE.findall(target["legendFormat"])))
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard())))
    assert used == variables


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_everything_that_is_exported_is_looked_at() -> None:
    """A metric that stands in no panel and no rule is one that nobody needs; a few are for those who look closer."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    expressions += [rule["expr"] for rule in rules()]
    shown = {metric_of(name)[0].name for expression in expressions for name in asked_by(expression).metrics}
    closer = {"partitions", "state_rows", "delivered_total", "dropped_total", "ingest_queued_bytes"}
    closer |= {"ingest_under_way", "ingest_events_total", "ingest_duplicates_total", "queries_under_way", "watchers"}
    closer |= {"functions_stray_total"}
    assert {metric.name for metric in CATALOG} - shown == {f"headway_{name}" for name in closer}


def test_the_page_lists_each_metric_with_its_labels() -> None:
    rows = re.findall(
        r"^\| `(headway_\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", (ROOT / "docs/metrics.md").read_text(), re.M
    )
    found = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(rows) == len(found)
    assert found == {metric.name: (metric.kind, set(metric.labels)) for metric in CATALOG}


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(headway_events_total)",
        "headway_events_total[5m]",
        "sum by flow (headway_keys)",
        "sum(headway_keys",
        "headway_keys{flow=shop}",
        "headway_keys and 1",
        "rates(headway_events_total[5m])",
        "histogram_quantile(headway_keys, 0.5)",
        "1 + 1",
        "headway_keys }",
    ],
)
def test_the_reader_of_expressions_refuses_what_is_wrong(wrong: str) -> None:
    with pytest.raises(AssertionError):
        asked_by(wrong)
