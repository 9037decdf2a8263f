"""Every step of every recorded vLLM schedule is equal in every figure."""

from __future__ import annotations

from typing import Any

import pytest

from golden_cases import ALL, run_as_golden, with_batches


@pytest.mark.parametrize("case", ALL)
def test_golden_schedule(case: dict[str, Any]) -> None:
    assert run_as_golden(case) == with_batches(case)
