"""The parts of an experiment that are classes: its tuner, its advisor and its assessor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpx.config.class_source import Constructor
from mpx.config.problem import KeyPath
from mpx.config.reader import Document
from mpx.loader import (
    BUILT_IN_ASSESSORS,
    BUILT_IN_TUNERS,
    load_built_in_assessor,
    load_built_in_tuner,
)

CUSTOM_KEYS = ("codeDir", "classFileName", "className")
CUSTOM = "codeDir, classFileName and className"


@dataclass(frozen=True, slots=True)
class Role:
    """One of these parts.

    Attributes:
        key: its key in a configuration.
        name_key: the key below it that names a built-in class.
        base: what a class of one's own derives from.
        methods: one of these at least a class of one's own defines; empty: there is none of one's own.
        built_ins: the names that `load` knows.
        load: returns a built-in class.
    """

    key: str
    name_key: str
    base: str
    methods: tuple[str, ...]
    built_ins: Mapping[str, str]
    load: Callable[[str], type]

    @property
    def article(self) -> str:
        return "an" if self.key[0] in "aeiou" else "a"

    @property
    def name_path(self) -> KeyPath:
        return (self.key, self.name_key)

    @property
    def allowed(self) -> str:
        """The keys that name a class, in words."""
        return f"{self.name_key}, or {CUSTOM}" if self.methods else self.name_key

    def built_in_name(self, document: Document) -> str | None:
        """Return the name of a built-in class, None if a document names none that there is."""
        name = document.text(*self.name_path)
        return name if name in self.built_ins else None

    def built_in(self, document: Document) -> type | None:
        """Return the built-in class that a document names, None if it names none that there is."""
        name = self.built_in_name(document)
        return self.load(name) if name else None

    def arguments(self, document: Document) -> dict[str, Any]:
        """Return the arguments of the class.

        A built-in one takes `optimizeMode` for its own `optimize_mode`; an assessor, where that is not
        given, what its tuner goes by.
        """
        given = document.mapping(self.key, "classArgs")
        mode, loaded = document.text("optimizeMode"), self.built_in(document)
        if mode is None and self.key == "assessor":
            mode = chooser(document).direction(document)
        if mode and loaded and "optimize_mode" in Constructor.of(loaded).names:
            return {"optimize_mode": mode, **given}
        return dict(given)

    def direction(self, document: Document) -> str | None:
        """Return what the class optimises by its arguments, or by default if it is built in."""
        schemas = getattr(self.built_in(document), "class_args_schema", {}).get("properties", {})
        default: str | None = schemas.get("optimize_mode", {}).get("default")
        return document.text(self.key, "classArgs", "optimize_mode") or default


TUNER = Role(
    "tuner",
    "builtinTunerName",
    "mpx.Tuner",
    ("generate_parameters", "generate_multiple_parameters"),
    BUILT_IN_TUNERS,
    load_built_in_tuner,
)
ADVISOR = Role("advisor", "builtinAdvisorName", "", (), BUILT_IN_TUNERS, load_built_in_tuner)
ASSESSOR = Role(
    "assessor",
    "builtinAssessorName",
    "mpx.Assessor",
    ("assess_trial",),
    BUILT_IN_ASSESSORS,
    load_built_in_assessor,
)


def chooser(document: Document) -> Role:
    """Return what chooses the parameters in a document: its advisor if it has no tuner but that."""
    found = document.mapping()
    return ADVISOR if "advisor" in found and "tuner" not in found else TUNER
