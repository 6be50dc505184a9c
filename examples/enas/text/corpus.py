"""A text as numbers: words and punctuation marks, each by its rank in a vocabulary.

Where the text comes from:

    kjv       the King James Bible, as the program of Debian's package `bible-kjv` prints it: 916,000 words
    python    the help pages that every Python has (`pydoc_data.topics`): 115,000 words
    a path    a file of plain text, UTF-8
"""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

WORDS = 1000  # of the vocabulary
BLOCK = 1000  # words; of twenty blocks one validates and one tests
KJV = ("bible", "gen1:1-rev22:21")


class Corpus(NamedTuple):
    """The three parts of a text. A word is an integer from 0 to `words` - 1; 0 is any rare word."""

    words: int
    train: torch.Tensor  # (n,)
    validation: torch.Tensor
    test: torch.Tensor


def load_corpus(source, words=WORDS):
    """Read a text and divide it, block by block, so that each part has pieces from all over it.

    Args:
        source: `kjv`, `python`, or the path of a file.
        words: the size of the vocabulary: the most common ones of the training part.
    """
    tokens = re.findall(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[^\w\s]", _read(source).lower())
    blocks = [tokens[start : start + BLOCK] for start in range(0, len(tokens), BLOCK)]
    parts = {"train": [], "validation": [], "test": []}
    for number, block in enumerate(blocks):
        parts[{9: "validation", 19: "test"}.get(number % 20, "train")] += block
    if not parts["test"]:
        raise SystemExit(f"{source}: {len(tokens)} words; at least {20 * BLOCK} are needed")
    common = Counter(parts["train"]).most_common(words - 1)
    rank = {word: place for place, (word, _) in enumerate(common, 1)}
    numbers = {
        name: torch.tensor([rank.get(token, 0) for token in part]) for name, part in parts.items()
    }
    return Corpus(len(rank) + 1, **numbers)


def located(source):
    """Return the same source, a file by its whole path."""
    return source if source in ("kjv", "python") else str(Path(source).resolve())


def columns(text, count):
    """Return a text of (n,) as `count` columns, each a stretch of it: (n // count, count)."""
    length = len(text) // count
    return text[: length * count].view(count, length).t().contiguous()


def _read(source):
    if source == "kjv":
        try:
            done = subprocess.run(KJV, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except FileNotFoundError:
            raise SystemExit(
                "kjv: the program `bible` is not installed: `apt-get install bible-kjv` (Debian, "
                "Ubuntu), or put `python` or the path of a text file in the place of `kjv` in "
                "the configuration's trial.command"
            ) from None
        if done.returncode or not done.stdout:
            raise SystemExit(f"kjv: `{' '.join(KJV)}`: exit {done.returncode}: {done.stderr}")
        return re.sub(r"^ *[0-9]+ ", "", done.stdout, flags=re.MULTILINE)  # the verses' numbers
    if source == "python":
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))
    try:
        return Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(
            f"{source}: cannot be read: {error}; allowed are `kjv`, `python` and the "
            "path of a text file in UTF-8"
        ) from None
