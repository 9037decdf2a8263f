"""The vocabulary that ships with tracesim: its file, and the pattern that cuts text for it.

The tool that trains the vocabulary and the library that encodes with it must cut alike, so the
pattern has this one home. It has neither look-around nor an open repetition: every piece is short
and tiktoken's engine never has to backtrack, so no text can exhaust its stack or our patience.
"""

from pathlib import Path
from typing import Final

SPLIT_PATTERN: Final = (
    # Chinese and Japanese have no spaces: a run of them is one piece, not glued to Latin words.
    r"[^\r\n\p{L}\p{N}]?[\p{Han}\p{Hiragana}\p{Katakana}ー]{1,24}"
    # A word of any other script, with the one character before it, and "'t" or "'s" after it.
    r"|[^\r\n\p{L}\p{N}]?[^\P{L}\p{Han}\p{Hiragana}\p{Katakana}ー]{1,32}"
    r"(?i:['’](?:[sdmt]|ll|ve|re))?"
    r"|\p{N}{1,3}"
    # Punctuation, with the line break after it and the next line's indentation: ":\n    " in code.
    r"| ?[^\s\p{L}\p{N}]{1,32}(?:[\r\n]{1,8}[ \t]{0,32})?"
    r"|[\r\n]{1,16}[ \t]{0,64}"
    r"|\s{1,64}"
)

SIZE: Final = 32_768
SHA256: Final = "260de685c87a8220ab2e723b31643d948f382d00e9c064e0ce7a56f13ff71712"


def path() -> Path:
    """The vocabulary in tiktoken's format: on each line a token in base64, a space and its rank."""
    return Path(__file__).with_name("embedded.tiktoken")
