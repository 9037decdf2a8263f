"""Every kind of tokenizer cuts text alike: whole, without special tokens, and in reasonable time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paths import ROOT
from tracesim import TokenizerError, load_tokenizer
from tracesim.tokenizers import vocabulary
from tracesim.tokenizers.interface import DEFAULT, Tokenizer

SHIPPED = [load_tokenizer(name) for name in (DEFAULT, "char", "byte")]
TEXTS = [
    "",
    " ",
    "Hello, world!\n",
    "你好，世界。",
    "👨‍👩‍👧‍👦é\u0301",
    "def f(x):\n\treturn  x\r\n",
    "\x00\u2028\ufffd",
]


def a_tokenizer_json(folder: Path) -> Path:
    """A byte-level BPE of a few merges, as Hugging Face writes it."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Hello there, world of worlds"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def a_normalizing_tokenizer_json(folder: Path) -> Path:
    """A WordPiece that lower-cases, drops white space and knows few words, as Hugging Face writes it."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "the", "stop", "##ped", "ok", "e"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def normalizing(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(str(a_normalizing_tokenizer_json(tmp_path_factory.mktemp("normalizing"))))


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(str(a_tokenizer_json(tmp_path_factory.mktemp("hf"))))


@pytest.mark.parametrize("tokenizer", SHIPPED, ids=lambda tokenizer: tokenizer.name)
@given(text=st.text())
def test_the_bytes_of_the_tokens_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode(errors="replace").decode()

    assert text.encode() == b"".join(tokenizer.decode_tokens_bytes(tokenizer.encode(text)))


@pytest.mark.parametrize("text", TEXTS)
def test_a_hugging_face_tokenizer_spells_the_text_too(hugging_face: Tokenizer, text: str) -> None:
    token_ids = hugging_face.encode(text)

    assert text.encode() == b"".join(hugging_face.decode_tokens_bytes(token_ids))
    assert len(token_ids) == len(hugging_face.decode_tokens_bytes(token_ids))


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_is_cut_where_its_tokens_spell_it(hugging_face: Tokenizer, text: str) -> None:
    for tokenizer in [*SHIPPED, hugging_face]:
        assert tokenizer.ends_in(text, tokenizer.encode(text)) is None


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("the STOPped", [3, 8, 11]),
        ("  The  ok.\n", [5, 9, 11]),
        ("ok 👨‍👩‍👧‍👦 e\u0301", [2, 10, 13]),
        (" ", []),
        ("", None),
        ("the", None),
    ],
)
def test_text_that_is_not_spelled_is_cut_where_its_tokens_end(
    normalizing: Tokenizer, text: str, ends: list[int] | None
) -> None:
    found = normalizing.ends_in(text, normalizing.encode(text))

    assert ends == (None if found is None else list(found))
    assert normalizing.ends_in("The", normalizing.encode("ok")) is None


@pytest.mark.parametrize("change", ["prefix space", "normalizer", "removed", "stripped"])
def test_a_byte_level_tokenizer_that_changes_text_does_not_count_as_exact(
    change: str, tmp_path: Path
) -> None:
    path = a_tokenizer_json(tmp_path)
    description = json.loads(path.read_text())
    text = " Hello\tthere"
    if change == "prefix space":
        description["pre_tokenizer"]["add_prefix_space"] = True
        text = "Hello there"
    elif change == "normalizer":
        description["normalizer"] = {"type": "Lowercase"}
    elif change == "removed":
        split = {"type": "Split", "pattern": {"String": "\t"}, "behavior": "Removed", "invert": False}
        steps = [split, description["pre_tokenizer"]]
        description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    else:
        added = {"id": 300, "content": "there", "single_word": False, "lstrip": True, "rstrip": False}
        description["added_tokens"].append(added | {"normalized": False, "special": False})
    path.write_text(json.dumps(description))
    tokenizer = load_tokenizer(str(path))

    ends = tokenizer.ends_in(text, tokenizer.encode(text))

    assert ends is not None
    assert len(text) == ends[-1]


def test_special_token_text_is_plain_text(hugging_face: Tokenizer) -> None:
    for tokenizer in [*SHIPPED, hugging_face]:
        assert len(tokenizer.encode("<|endoftext|>")) > 1


def test_the_embedded_vocabulary_is_the_one_that_was_measured() -> None:
    import hashlib

    content = vocabulary.path().read_bytes()

    assert hashlib.sha256(content).hexdigest() == vocabulary.SHA256
    assert content.count(b"\n") == vocabulary.SIZE


def test_english_and_chinese_are_not_spelled_in_bytes() -> None:
    embedded = SHIPPED[0]

    assert embedded.decode_tokens_bytes(embedded.encode("Hello world")) == [b"Hello", b" world"]
    assert len(embedded.encode("我们今天学习人工智能")) <= 8


@pytest.mark.parametrize("character", ["a", " ", "\n", "!", "1", "漢", "\u0301", "👍"])
def test_a_million_of_one_character_is_encoded(character: str) -> None:
    """In another process, so that a hang or a crash of the regex engine is a failure of this test alone."""
    code = f"from tracesim import load_tokenizer as l; t = l(); s = {character!r} * 1_000_000; "
    code += "ids = t.encode(s); assert b''.join(t.decode_tokens_bytes(ids)) == s.encode()"

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_tiktoken_file_is_read_from_its_path(tmp_path: Path) -> None:
    copy = tmp_path / "mine.tiktoken"
    copy.write_bytes(vocabulary.path().read_bytes())

    assert SHIPPED[0].encode("Hello there") == load_tokenizer(str(copy)).encode("Hello there")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not base64 at all\n", "bad.tiktoken:1: not a base64 token, a space and its rank"),
        (b"IQ== 0\nIg== x\n", "bad.tiktoken:2: not a base64 token"),
        (b"IQ== 0\nIg== 0\n", "bad.tiktoken:2: an earlier line has the same rank, 0, already"),
        (b"IQ== 0\nIQ== 1\n", "bad.tiktoken:2: an earlier line has the same token already"),
        (b"IQ== -1\n", "bad.tiktoken:1: not a base64 token, a space and its rank, an integer from 0"),
        (b"IQ== 4294967295\n", "bad.tiktoken:1: not .* an integer from 0 to 4294967294"),
        (b"==== 0\n", "bad.tiktoken:1: not a base64 token"),
        (b"IQ== 0\n", "lacks 255 of the 256 single bytes"),
    ],
)
def test_a_broken_tiktoken_file_is_an_error_that_says_where(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "bad.tiktoken").write_bytes(content)

    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(str(tmp_path / "bad.tiktoken"))


def test_a_folder_stands_for_its_tokenizer_json(tmp_path: Path) -> None:
    a_tokenizer_json(tmp_path)

    assert list(load_tokenizer(str(tmp_path / "tokenizer.json")).encode("Hello")) == list(
        load_tokenizer(str(tmp_path)).encode("Hello")
    )


def test_a_broken_tokenizer_json_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))

    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(TokenizerError, match="there is no file"):
        load_tokenizer(str(tmp_path / "other.json"))


def test_without_the_package_tokenizers_the_error_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(TokenizerError, match="tokenizers; install it with: pip install tokenizers"):
        load_tokenizer("tokenizer.json")


def test_the_embedded_vocabulary_measures_up_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """English and code of this repository, against Mistral's tekken; `tools` has the whole comparison."""
    pytest.importorskip("mistral_common")
    root = ROOT
    monkeypatch.syspath_prepend(str(root))
    from tools.compare_tokenizer import tekken

    for pattern in ("*.md", "cli/tracesim_cli/*.py"):
        text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.glob(pattern)))

        assert len(SHIPPED[0].encode(text)) <= 1.1 * len(tekken().encode_ordinary(text)), pattern


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name is empty. Accepted: embedded"),
        ("embeded", "did you mean 'embedded'"),
        ("o200k_bse", "did you mean 'o200k_base'"),
        ("no/such.tiktoken", "cannot read no/such.tiktoken"),
    ],
)
def test_a_name_that_nothing_has_is_an_error_with_the_ways_out(name: str, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(name)


@pytest.mark.parametrize("name", ["o200k_base", "gpt-4o"])
def test_without_a_network_tiktokens_own_names_fail_soon_and_name_the_ways_out(
    name: str, tmp_path: Path
) -> None:
    """A proxy that nobody answers at stands for the missing network."""
    code = f"from tracesim import load_tokenizer; load_tokenizer({name!r})"
    environ = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, timeout=30, check=False, text=True
    )

    assert done.returncode == 1
    assert "could not get the vocabulary o200k_base" in done.stderr
    for way_out in ("TIKTOKEN_CACHE_DIR", "--tokenizer embedded", ".tiktoken"):
        assert way_out in done.stderr


@pytest.mark.parametrize("tokenizer", SHIPPED, ids=lambda tokenizer: tokenizer.name)
def test_a_token_that_is_not_in_the_vocabulary_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError):
        tokenizer.decode_tokens_bytes([2**31])
