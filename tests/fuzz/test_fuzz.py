"""A short run of the fuzzer, always of the same cases; `make fuzz SECONDS=600 SEED=2` runs others."""

from __future__ import annotations

import pytest
from fuzz import KINDS, fuzz

CASES = {"command": 60, "screen": 12, "engine": 60, "bytes": 60, "process": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_breaks(kind: str) -> None:
    fuzzer = fuzz("suite", cases=CASES[kind], kinds=[kind])

    assert fuzzer.findings == []
    assert fuzzer.counts == {kind: CASES[kind]}
