"""The OpenAPI document is one, and the server does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.views_harness import finished, serving, transfers
from tests.web_harness import ask


def test_the_document_is_openapi_with_the_schemas_of_the_views(tmp_path: Path) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="the extra `dev` is not installed")
    with serving(finished(tmp_path, transfers(10))) as server:
        document = ask(server, "GET", "/openapi.json").json
    validator.validate(document)
    one = document["paths"]["/v1/views/accounts/{key}"]["get"]["responses"]["200"]
    assert one["content"]["application/json"]["schema"]["properties"]["value"] == {
        "$ref": "#/components/schemas/Account"
    }
    assert set(document["components"]["schemas"]["Account"]["properties"]) == {"n", "cents"}
    shown = document["paths"]["/v1/views/last-booking/{key}"]["get"]["responses"]["200"]
    value = shown["content"]["application/json"]["schema"]["properties"]["value"]
    assert value["properties"] == {"cents": {"type": "integer"}, "number": {"type": "integer"}}


@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Requests that the document allows, and some that it does not: each answer is one that the document names."""
    schemathesis = pytest.importorskip("schemathesis", reason="the extra `dev` is not installed")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance as conforms

    with serving(finished(tmp_path, transfers(10))) as server:
        url = f"http://{server}"
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")

        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def check(case: Any) -> None:
                response = case.call(base_url=url)
                case.validate_response(response, checks=[conforms, not_a_server_error])

            check()
