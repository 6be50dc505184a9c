"""The tuner that is tested: how to get at its class, and what it is given."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpx import loader
from mpx.errors import ClassLoadError
from mpx.testing.promise import BrokenPromiseError

_KEYS = ("codeDir", "classFileName", "className")
_ALLOWED = (
    "a class, the name of a built-in tuner, or, as in a configuration, a dict with"
    f" {', '.join(_KEYS)}; a relative codeDir is relative to the file of the test"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A tuner's class and its arguments.

    Attributes:
        load_class: returns the class.
        configuration: the keys that name it in a configuration; None for a class that only the process
            that defined it knows.
        class_args: for its constructor.
        search_space: as a configuration says it; `''` for none.
    """

    load_class: Callable[[], Any]
    configuration: dict[str, str] | None
    class_args: dict[str, Any]
    search_space: Any

    def construct(self, loaded: Any) -> Any:
        """Return a new tuner, as the manager constructs it.

        Raises:
            ClassLoadError: its constructor failed.
        """
        return loader.construct(loaded, copy.deepcopy(self.class_args))

    @classmethod
    def named(
        cls,
        tuner: Any,
        class_args: dict[str, Any],
        search_space: Any,
        optimize_mode: str | None,
        test: type,
    ) -> Subject:
        """Return the subject that a test names.

        Args:
            tuner: see `_ALLOWED`.
            class_args: for its constructor.
            search_space: as a configuration says it.
            optimize_mode: a built-in tuner takes it for its argument of that name.
            test: the class of the test.

        Raises:
            BrokenPromiseError: it names none.
        """
        if isinstance(tuner, str):
            built_in = _built_in(tuner)
            named = {"builtinTunerName": tuner}
            mode = _mode_argument(built_in, optimize_mode)
            return cls(lambda: built_in, named, {**mode, **class_args}, search_space)
        if isinstance(tuner, type):
            return cls(lambda: tuner, _configuration(tuner), class_args, search_space)
        if isinstance(tuner, dict) and sorted(tuner) == sorted(_KEYS):
            code_dir = (Path(inspect.getfile(test)).parent / tuner["codeDir"]).resolve()
            file, name = tuner["classFileName"], tuner["className"]
            return cls(
                lambda: loader.load_class(code_dir, file, name),
                {"codeDir": str(code_dir), "classFileName": file, "className": name},
                class_args,
                search_space,
            )
        raise BrokenPromiseError(
            f"`tuner` is {tuner!r:.200}", f"set the class attribute `tuner` to {_ALLOWED}"
        )


def _built_in(name: str) -> type:
    try:
        return loader.load_built_in_tuner(name)
    except ClassLoadError as error:
        raise BrokenPromiseError(str(error), f"set `tuner` to {_ALLOWED}") from None


def _mode_argument(built_in: type, optimize_mode: str | None) -> dict[str, Any]:
    schema = getattr(built_in, "class_args_schema", {})
    takes_it = "optimize_mode" in schema.get("properties", {})
    return {"optimize_mode": optimize_mode} if optimize_mode and takes_it else {}


def _configuration(tuner: type) -> dict[str, str] | None:
    """Return the keys that name a class; None unless it stands at the top of a file."""
    try:
        file = Path(inspect.getfile(tuner)).resolve()
    except (TypeError, OSError):  # made by code that is in no file
        return None
    if tuner.__qualname__ != tuner.__name__ or not file.exists():
        return None
    # Where the file is part of a package, its code may import from there.
    place = file.parent
    while (place / "__init__.py").exists():
        place = place.parent
    relative = str(file.relative_to(place))
    return {"codeDir": str(place), "classFileName": relative, "className": tuner.__name__}
