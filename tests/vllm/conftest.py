"""A fake vLLM that serves the model of `tracesim vllm-model`, for tests that use the fixture `vllm`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import fake_vllm
from fake_engine import ServedModel
from tracesim.vllm.model_folder import model_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for name, content in model_files().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return ServedModel(folder)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, model: ServedModel) -> None:
    fake_vllm.install(monkeypatch)
    loaded = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=lambda *_, **__: model))
    monkeypatch.setitem(sys.modules, "transformers", loaded)
