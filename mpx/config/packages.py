"""Packages that only some experiments need: whether they are installed, and how to get them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

# What brings a module that is called otherwise.
_BRINGS = {"pynvml": "nvidia-ml-py", "sklearn": "scikit-learn"}


def missing_packages(required: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield which packages are not installed, and how to get them, both in words.

    They are looked for, not imported.

    Args:
        required: module → the extra of mpx that brings it.
    """
    missing = {name: extra for name, extra in required.items() if find_spec(name) is None}
    for extra in dict.fromkeys(missing.values()):
        names = [_BRINGS.get(name, name) for name in missing if missing[name] == extra]
        words = f"the package{'s' if len(names) > 1 else ''} {' and '.join(names)}"
        yield f"{words}, not installed here", f"pip install 'mpx-experiments[{extra}]'"
