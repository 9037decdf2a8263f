"""Train the vocabulary that ships with tracesim.

A byte-level BPE vocabulary is trained with Hugging Face `tokenizers` on the corpus that `PARTS` and
`BUDGETS` describe, and written in tiktoken's format. The same corpus gives the same bytes. How each
part is obtained, and its licence, is in the README beside the vocabulary.

    python -m tools.train_tokenizer --traces "$TRACESIM_TRACES" --sources corpus
"""

import argparse
import base64
import gzip
import hashlib
import html
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from tracesim.tokenizers import vocabulary

Kind = Literal["traces", "english", "code", "chinese", "japanese"]

# Millions of characters that the trainer reads of each kind. Chinese and Japanese get little: there
# the vocabulary may be 1.5 times as long as tekken's, in English and code only 1.1 times.
BUDGETS: Final[dict[Kind, float]] = {
    "traces": 9,
    "english": 32,
    "code": 15,
    "chinese": 0.35,
    "japanese": 0.5,
}
ENGLISH_WORDS: Final = 22.0  # the same for a list of English words, weighted by frequency
CHINESE_WORDS: Final = 0.45
CAPITALISED: Final = 0.12  # the share of an English word's occurrences with a capital

HELD_OUT: Final = 16  # one document in so many is kept from training, to measure with
LONGEST_DOCUMENT: Final = 60_000  # characters: no single file may shape the vocabulary
SHORTEST_DOCUMENT: Final = 200
LONGEST_LINE: Final = 400  # characters, in the mean: above it a file is minified, or data
CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
PARAGRAPH: Final = re.compile(r"<(?:para|p)\b[^>]*>(.*?)</(?:para|p)>", re.DOTALL)
TAG: Final = re.compile(r"<[^>]*>")

MARKDOWN: Final = (".md", ".mdx", ".rst", ".txt")
MARKUP: Final = (".cnxml", ".xhtml")


@dataclass(frozen=True)
class Part:
    """The files of one kind below a folder of the sources, and how much of them is read."""

    kind: Kind
    folder: str
    suffixes: tuple[str, ...]
    megabytes: float = 1.0
    held_out: bool = False


@dataclass(frozen=True)
class Document:
    """A text, the name of the set it is measured in, and whether it is kept from training."""

    kind: Kind
    group: str
    key: int
    text: str
    held_out: bool


def code(folder: str, *suffixes: str, megabytes: float = 1.0, held_out: bool = False) -> Part:
    """Source files of one package."""
    return Part("code", folder, suffixes, megabytes, held_out)


def prose(kind: Kind, folder: str, megabytes: float = 1.0, held_out: bool = False) -> Part:
    """Documentation and articles, in Markdown or plain text."""
    return Part(kind, folder, MARKDOWN, megabytes, held_out)


def book(folder: str, held_out: bool = False) -> Part:
    """A textbook or a novel; its chapters are marked up."""
    return Part("english", folder, MARKUP, 1.5, held_out)


PARTS: Final = (
    code("stdlib", ".py", megabytes=3.0),
    code("pypi/Django-5.1.4", ".py", ".html"),
    code("pypi/numpy-2.1.3", ".py", ".h"),
    code("pypi/pandas-2.2.3", ".py"),
    code("pypi/SQLAlchemy-2.0.36", ".py"),
    code("pypi/scikit_learn-1.5.2", ".py"),
    code("pypi/transformers-4.46.3", ".py"),
    code("pypi/twisted-24.11.0", ".py"),
    code("fastapi", ".py"),
    code("npm/typescript-5.7.2", ".ts", ".js"),
    code("npm/react-dom-18.3.1", ".js"),
    code("npm/vue-3.5.13", ".js", ".ts"),
    code("npm/lodash-4.17.21", ".js", megabytes=0.5),
    code("npm/express-4.21.2", ".js"),
    code("npm/three-0.171.0", ".js"),
    code("npm/rxjs-7.8.1", ".ts"),
    code("npm/webpack-5.97.1", ".js"),
    code("npm/bootstrap-5.3.3", ".css", ".scss"),
    code("hugo", ".go", ".toml", ".html", megabytes=2.0),
    code("tokio", ".rs", megabytes=1.5),
    code("curl", ".c", ".h", megabytes=1.5),
    code("fmt", ".h", ".cc", ".txt"),
    code("gson", ".java", megabytes=1.5),
    code("newtonsoft", ".cs", ".xml", megabytes=1.5),
    code("laravel", ".php"),
    code("jekyll", ".rb", ".html", ".yml"),
    code("ohmyzsh", ".sh", ".zsh"),
    code("iot", ".py", ".json", ".ipynb", megabytes=0.5),
    code("pypi/flask-3.0.3", ".py", held_out=True),
    code("pypi/httpx-0.28.1", ".py", held_out=True),
    code("pypi/rich-13.9.4", ".py", held_out=True),
    code("pypi/networkx-3.4.2", ".py", held_out=True),
    code("npm/axios-1.7.9", ".js", ".ts", held_out=True),
    code("npm/zod-3.24.1", ".js", ".ts", held_out=True),
    code("npm/eslint-9.17.0", ".js", held_out=True),
    code("gin", ".go", held_out=True),
    code("ripgrep", ".rs", held_out=True),
    code("lua", ".c", ".h", held_out=True),
    code("okhttp", ".kt", ".java", held_out=True),
    book("openstax/american-government"),
    book("openstax/introduction-anthropology"),
    book("openstax/introduction-business"),
    book("openstax/introduction-political-science"),
    book("openstax/introduction-sociology"),
    book("openstax/microbiology"),
    book("openstax/principles-economics-bundle"),
    book("openstax/psychology"),
    book("openstax/world-history"),
    book("openstax/astronomy", held_out=True),
    book("openstax/introduction-philosophy", held_out=True),
    book("openstax/us-history", held_out=True),
    book("standardebooks/great-expectations"),
    book("standardebooks/pride-and-prejudice"),
    book("standardebooks/the-adventures-of-sherlock-holmes"),
    book("standardebooks/the-diary"),
    book("standardebooks/the-great-gatsby", held_out=True),
    book("standardebooks/the-war-of-the-worlds", held_out=True),
    book("standardebooks/love-among-the-chickens", held_out=True),
    prose("english", "18f", 3.0),
    prose("english", "fastapi/docs/en"),
    prose("english", "opensource-guide/en"),
    prose("english", "nodejs-org/apps/site/pages/en"),
    prose("english", "iot/1-getting-started"),
    prose("english", "iot/2-farm"),
    prose("english", "hugo/docs"),
    prose("english", "curl/docs"),
    prose("english", "tldr/pages", 0.3),
    prose("english", "glossary/content/en", held_out=True),
    prose("chinese", "fastapi/docs/zh"),
    prose("chinese", "opensource-guide/_articles/zh-hans"),
    prose("chinese", "opensource-guide/_articles/zh-hant"),
    prose("chinese", "react-docs-zh"),
    prose("chinese", "tensorflow-docs/site/zh-cn"),
    prose("chinese", "iot/translations/zh"),
    prose("chinese", "iot/translations/tw", 0.5),
    prose("chinese", "nodejs-org/apps/site/pages/zh-cn"),
    prose("chinese", "tldr/pages.zh", 0.3),
    prose("chinese", "paddle-docs"),
    prose("chinese", "javaguide", 3.0),
    prose("chinese", "howtocook"),
    prose("chinese", "vue-docs-zh", held_out=True),
    prose("chinese", "cs-self-learning", held_out=True),
    prose("chinese", "glossary/content/zh-cn", held_out=True),
    prose("japanese", "fastapi/docs/ja"),
    prose("japanese", "opensource-guide/_articles/ja"),
    prose("japanese", "react-docs-ja"),
    prose("japanese", "tensorflow-docs/site/ja"),
    prose("japanese", "iot/translations/ja"),
    prose("japanese", "nodejs-org/apps/site/pages/ja"),
    prose("japanese", "tldr/pages.ja", 0.3),
    prose("japanese", "rust-book-ja"),
    prose("japanese", "freee-a11y/ja"),
    Part("japanese", "doctree", (".md", ".rd"), 2.0),
    prose("japanese", "vue-docs-ja", held_out=True),
    prose("japanese", "glossary/content/ja", held_out=True),
)


def key_of(name: str) -> int:
    """A number that shuffles names the same way on every machine."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def is_held_out(key: int) -> bool:
    """Whether the document of that key is kept from training."""
    return key % HELD_OUT == 0


def paragraphs(markup: str) -> str:
    """The running text of a book's chapter, without its tags."""
    found = (" ".join(TAG.sub("", paragraph).split()) for paragraph in PARAGRAPH.findall(markup))
    return html.unescape("\n".join(found))


def read_source(file: Path, kind: Kind) -> str:
    """A file's text for the corpus; empty when the file is minified, data or not UTF-8."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        return ""
    if file.suffix in MARKUP:
        text = paragraphs(text)
    elif len(text) > LONGEST_LINE * (text.count("\n") + 1):
        return ""
    text = text[:LONGEST_DOCUMENT]
    if kind in ("chinese", "japanese"):
        text = "\n".join(line for line in text.split("\n") if CJK.search(line))
    return text if len(text) >= SHORTEST_DOCUMENT else ""


def part_documents(part: Part, sources: Path) -> Iterator[Document]:
    """A part's documents, in an order that mixes its folders, until it has given its share."""
    root = sources / part.folder
    if not root.is_dir():
        raise SystemExit(f"{root}: no such folder; the vocabulary's README says what belongs there")
    names = (f.relative_to(sources).as_posix() for f in root.rglob("*") if f.is_file())
    chosen = (n for n in names if n.endswith(part.suffixes) and ".min." not in n)
    characters = 0
    for name in sorted(chosen, key=key_of):
        text = read_source(sources / name, part.kind)
        if not text:
            continue
        key = key_of(name)
        group = part.folder if part.held_out else f"other {part.kind}"
        yield Document(part.kind, group, key, text, part.held_out or is_held_out(key))
        characters += len(text)
        if characters > part.megabytes * 1e6:
            return


def trace_documents(folder: Path) -> Iterator[Document]:
    """Prompts and responses. All answers to a prompt fall on the same side of the split."""
    for file in sorted(folder.glob("text/*.jsonl.gz")):
        group = file.name.removesuffix(".jsonl.gz")
        kind: Kind = "japanese" if group == "jmt_bench" else "traces"
        with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines):
                record = json.loads(line)
                held_out = is_held_out(key_of(record["prompt"]))
                key = key_of(f"{file.name} {number}")
                text = f"{record['prompt']}\n{record['response']}"
                yield Document(kind, group, key, text, held_out)


def documents(traces: Path, sources: Path) -> list[Document]:
    """The whole corpus, for training and for tests alike, without the word lists."""
    parts = itertools.chain.from_iterable(part_documents(part, sources) for part in PARTS)
    return [*parts, *trace_documents(traces)]


def fill(texts: Sequence[str], characters: float) -> Iterator[str]:
    """Texts until they come to so many characters; from the first again when there are too few."""
    for text in itertools.cycle(texts):
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def repeated(words: Iterable[tuple[str, int]], characters: float) -> Iterator[str]:
    """Each word as often as its frequency asks, so that all come to so many characters."""
    counted = list(words)
    total = sum(len(word) * count for word, count in counted)
    for word, count in counted:
        times = round(count * characters / total)
        if times:
            yield word * times


def chinese_words(sources: Path) -> Iterator[tuple[str, int]]:
    """Words on lines of their own, so that none runs into the next."""
    for line in (sources / "jieba" / "dict.txt").read_text("utf-8").splitlines():
        word, count, _ = line.split(" ")
        yield f"{word}\n", int(count)


def english_words(sources: Path) -> Iterator[tuple[str, int]]:
    """Words with the space before them, as they stand in a sentence."""
    file = sources / "symspellpy" / "frequency_dictionary_en_82_765.txt"
    for line in file.read_text("utf-8-sig").splitlines():
        word, count = line.split(" ")
        capitalised = round(int(count) * CAPITALISED)
        yield f" {word}", int(count) - capitalised
        yield f" {word.capitalize()}", capitalised


def training_texts(traces: Path, sources: Path) -> Iterator[str]:
    """What the trainer reads: every kind up to its budget, and the word lists."""
    corpus = [d for d in documents(traces, sources) if not d.held_out]
    corpus.sort(key=lambda document: document.key)
    for kind, millions in BUDGETS.items():
        yield from fill([d.text for d in corpus if d.kind == kind], millions * 1e6)
    yield from repeated(chinese_words(sources), CHINESE_WORDS * 1e6)
    yield from repeated(english_words(sources), ENGLISH_WORDS * 1e6)


def train(texts: Iterable[str]) -> Tokenizer:
    """A BPE vocabulary of the texts, over the pieces that the library will cut."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(vocabulary.SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary.SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def byte_of_letter() -> dict[str, int]:
    """GPT-2's alphabet, in which `tokenizers` writes bytes: printable ones as themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


def ranked_tokens(tokenizer: Tokenizer) -> list[bytes]:
    """The tokens by rank: the 256 bytes in order, then the merges in the order of training."""
    alphabet = byte_of_letter()
    entries = tokenizer.get_vocab()
    tokens = (bytes(alphabet[c] for c in t) for t in sorted(entries, key=entries.__getitem__))
    return [bytes([b]) for b in range(256)] + [token for token in tokens if len(token) > 1]


def tiktoken_file(tokens: Iterable[bytes]) -> bytes:
    """The tokens as tiktoken stores them."""
    lines = (b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    return b"".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--traces", type=Path, required=True, help="the folder of recorded traces")
    parser.add_argument("--sources", type=Path, required=True, help="the folder of other texts")
    parser.add_argument("--output", type=Path, default=vocabulary.path())
    return parser.parse_args()


def main() -> None:
    """Train, write the file and print its checksum."""
    args = arguments()
    tokens = ranked_tokens(train(training_texts(args.traces, args.sources)))
    if len(tokens) != vocabulary.SIZE:
        raise SystemExit(f"{len(tokens)} tokens instead of {vocabulary.SIZE}: too small a corpus")
    content = tiktoken_file(tokens)
    args.output.write_bytes(content)
    print(f"{args.output.name}: {len(tokens)} tokens, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
