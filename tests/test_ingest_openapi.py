"""The OpenAPI document is valid, says what is true, and whatever is made after it is answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.ingest_harness import Running, running
from tests.web_harness import ask

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
checks = pytest.importorskip("schemathesis.specs.openapi.checks", reason="schemathesis is not installed")
validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shop")) as found:
        yield found


def test_it_is_valid(shop: Running) -> None:
    found = ask(shop.at, "GET", "/openapi.json")
    assert found.headers["content-type"] == "application/json"
    validator.validate(found.json)
    assert found.json["openapi"] == "3.1.0"
    assert found.json["components"]["schemas"]["Order"]["required"] == ["id", "at"]
    assert "security" not in found.json


def test_it_says_what_is_true(shop: Running) -> None:
    """Requests that fit the document, and others: never a 5xx, and each answer is one that is described."""
    schema = schemathesis.openapi.from_url(f"http://{shop.at}/openapi.json")
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                response = case.call()
                assert response.status_code < 500, response.text
                # What a schema cannot say: the years of a text, a key that was used for other content.
                case.validate_response(response, excluded_checks=[checks.positive_data_acceptance])
                statuses.add(response.status_code)

            check()
    assert {200, 422} <= statuses
