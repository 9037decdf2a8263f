"""Count the tokens that the embedded vocabulary needs, against Mistral's tekken vocabulary.

The texts are the part of the corpus that is not trained on, and any further files named.

    python -m tools.compare_tokenizer --traces "$TRACESIM_TRACES" --sources corpus [FILE ...]
"""

import argparse
import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import tiktoken
from tools.train_tokenizer import documents

from tracesim.tokenizers import vocabulary

TEKKEN: Final = "data/tekken_240911.json"
ENOUGH: Final = 1_000_000  # characters of a set; more would not move its ratio


def embedded() -> tiktoken.Encoding:
    """The embedded vocabulary, read here: tiktoken's own reader keeps a copy that may be stale."""
    lines = (line.split() for line in vocabulary.path().read_bytes().splitlines())
    return tiktoken.Encoding(
        "embedded",
        pat_str=vocabulary.SPLIT_PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={},
    )


def tekken() -> tiktoken.Encoding:
    """Mistral's vocabulary, from the package `mistral-common`, without its special tokens."""
    content = json.loads(files("mistral_common").joinpath(TEKKEN).read_bytes())
    config = content["config"]
    size = config["default_vocab_size"] - config["default_num_special_tokens"]
    tokens = (base64.b64decode(entry["token_bytes"]) for entry in content["vocab"][:size])
    return tiktoken.Encoding(
        "tekken",
        pat_str=config["pattern"],
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={},
    )


def held_out_sets(traces: Path, sources: Path) -> dict[str, list[str]]:
    """Return the test texts by the set they belong to, in an order that does not follow the files'."""
    sets: dict[str, list[str]] = defaultdict(list)
    for document in sorted(documents(traces, sources), key=lambda d: (d.kind, d.group, d.key)):
        if document.held_out:
            sets[f"{document.kind}: {document.group}"].append(document.text)
    return sets


def rows(sets: Mapping[str, list[str]]) -> Iterator[str]:
    """A heading, and a line for each set."""
    ours, theirs = embedded(), tekken()
    yield f"{'test set':<52}{'characters':>12}{'embedded':>10}{'tekken':>10}{'ratio':>8}"
    for name, texts in sets.items():
        text = "\n".join(texts)[:ENOUGH]
        mine = len(ours.encode_ordinary(text))
        other = len(theirs.encode_ordinary(text))
        yield f"{name:<52}{len(text):>12,}{mine:>10,}{other:>10,}{mine / max(other, 1):>8.3f}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--traces", type=Path, help="the folder of recorded traces")
    parser.add_argument("--sources", type=Path, help="the folder of other texts")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="further texts")
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = arguments()
    sets = {str(file): [file.read_text("utf-8")] for file in args.files}
    if args.traces and args.sources:
        sets |= held_out_sets(args.traces, args.sources)
    for row in rows(sets):
        print(row)


if __name__ == "__main__":
    main()
