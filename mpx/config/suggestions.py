"""Did-you-mean: the known word that a mistaken one was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONGEST = 60  # difflib takes time by the square of the length


def closest(word: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the word of `known` that is nearest to `word`, None if none is near.

    Case, underscores and hyphens do not count; the first letters of a word are near it.

    Args:
        word: the mistaken word.
        known: the words it may have been meant to be.
        cutoff: how alike two words must be, from 0 to 1, where 1 is the same word.
    """
    known = list(known)
    return same(word, known) or _begun(word, known) or _similar(word, known, cutoff)


def same(word: str, known: Iterable[str]) -> str | None:
    """Return the word of `known` that differs in case, underscores and hyphens alone."""
    return {_folded(candidate): candidate for candidate in known}.get(_folded(word))


def _begun(word: str, known: Iterable[str]) -> str | None:
    start = _folded(word)
    return next(
        (each for each in known if len(start) > 2 and _folded(each).startswith(start)), None
    )


def _similar(word: str, known: Iterable[str], cutoff: float) -> str | None:
    by_fold = {_folded(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_folded(word)[:_LONGEST], by_fold, n=1, cutoff=cutoff)
    return by_fold[near[0]] if near else None


def _folded(word: str) -> str:
    return re.sub(r"[\W_]", "", word).lower()
