"""An installed vLLM and the engine, side by side: random cases, recorded here and now."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden.record_vllm import model_folder, random_case, recorded
from test_golden_schedules import run_as_golden, with_batches

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("number", range(48))
def test_the_schedule_is_the_installed_vllms(number: int, model: Path) -> None:
    pytest.importorskip("vllm", exc_type=ImportError)
    case = recorded(random_case(seed=2026, number=number), model)

    assert run_as_golden(case) == with_batches(case)
