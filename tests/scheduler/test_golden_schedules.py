"""Every step of every recorded vLLM schedule is equal in every figure."""

from __future__ import annotations

from typing import Any

import pytest

from golden_cases import ALL, ASYNC, busy_steps, run_as_golden, run_as_recorded, with_batches


@pytest.mark.parametrize("case", ALL)
def test_golden_schedule(case: dict[str, Any]) -> None:
    assert run_as_golden(case) == with_batches(case)


@pytest.mark.parametrize("case", ASYNC)
def test_golden_asynchronous_schedule(case: dict[str, Any]) -> None:
    assert run_as_recorded(case) == busy_steps(case)
