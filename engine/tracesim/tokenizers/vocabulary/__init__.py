"""The vocabulary that ships with tracesim: its file, and the pattern that cuts text for it.

The tool that trains the vocabulary and the library that encodes with it must cut alike, so the
pattern has this one home. It has no look-around, so that tiktoken's engine never has to backtrack
and no text can exhaust its stack. Repetitions are open: bounded ones are three times slower.
"""

from pathlib import Path
from typing import Final

SPLIT_PATTERN: Final = (
    # Chinese and Japanese have no spaces: a run of them is one piece, not glued to Latin words.
    r"[^\r\n\p{L}\p{N}]?[\p{Han}\p{Hiragana}\p{Katakana}ー]+"
    # A word of any other script, with the one character before it, and "'t" or "'s" after it.
    r"|[^\r\n\p{L}\p{N}]?[^\P{L}\p{Han}\p{Hiragana}\p{Katakana}ー]+"
    r"(?i:['’](?:[sdmt]|ll|ve|re))?"
    r"|\p{N}{1,3}"
    # Punctuation, with the line break after it and the next line's indentation: ":\n    " in code.
    r"| ?[^\s\p{L}\p{N}]+(?:[\r\n]+[ \t]*)?"
    r"|[\r\n]+[ \t]*"
    r"|\s+"
)

SIZE: Final = 32_768
SHA256: Final = "398506191f0201eb0aca2a2f3343fec832ca1a6be5abc2b472f020a225a5ca1a"


def path() -> Path:
    """The vocabulary in tiktoken's format: on each line a token in base64, a space and its rank."""
    return Path(__file__).with_name("embedded.tiktoken")
