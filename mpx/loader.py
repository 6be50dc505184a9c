"""From names in a configuration to a class, and from the class to an object.

Here a user's code is imported and called. Whatever it raises becomes a `ClassLoadError` with the user's
own exception, traceback and all, as its `__cause__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from mpx.errors import ClassLoadError

# By name, not by import: the layer above holds them, and an experiment needs one of them.
BUILT_IN_TUNERS = {
    "Random": "mpx.tuners.random:Random",
    "GridSearch": "mpx.tuners.grid_search:GridSearch",
    "BatchTuner": "mpx.tuners.batch:BatchTuner",
    "TPE": "mpx.tuners.tpe:TPE",
    "Anneal": "mpx.tuners.anneal:Anneal",
    "Evolution": "mpx.tuners.evolution:Evolution",
    "RegularizedEvolution": "mpx.tuners.regularized_evolution:RegularizedEvolution",
    "Hyperband": "mpx.tuners.hyperband:Hyperband",
    "BOHB": "mpx.tuners.bohb:BOHB",
    "GPTuner": "mpx.tuners.gp:GPTuner",
    "MetisTuner": "mpx.tuners.gp:MetisTuner",
    "GP": "mpx.tuners.gp:GP",
    "CmaEs": "mpx.tuners.cma_es:CmaEs",
    "NSGAII": "mpx.tuners.nsga_ii:NSGAII",
    "QMC": "mpx.tuners.qmc:QMC",
    "PBT": "mpx.tuners.pbt:PBT",
    "ENAS": "mpx.tuners.enas:ENAS",
}
BUILT_IN_ASSESSORS = {
    "Medianstop": "mpx.assessors.medianstop:Medianstop",
    "Curvefitting": "mpx.assessors.curvefitting:Curvefitting",
    "ASHA": "mpx.assessors.asha:ASHA",
}


def load_built_in_tuner(name: str) -> type:
    """Return the class of a built-in tuner, as `builtinTunerName` calls it.

    Raises:
        ClassLoadError: there is none of that name.
    """
    return _load_built_in("tuner", BUILT_IN_TUNERS, name)


def load_built_in_assessor(name: str) -> type:
    """Return the class of a built-in assessor, as `builtinAssessorName` calls it.

    Raises:
        ClassLoadError: there is none of that name.
    """
    return _load_built_in("assessor", BUILT_IN_ASSESSORS, name)


def load_class(code_dir: Path, class_file_name: str, class_name: str) -> type:
    """Import a user's file, once, and return one of its classes.

    `code_dir` comes first on `sys.path` and stays there, so that `import src.y` finds what lies beside
    the file, now and later; `from .y import x` does as well. The module is called like the file. Where
    another module has that name already, as with `random.py`, it gets another name.

    Args:
        code_dir: the directory of the user's code, absolute.
        class_file_name: the file, relative to `code_dir`.
        class_name: the class in it.

    Raises:
        ClassLoadError: the import failed, or the file has no such class.
        KeyboardInterrupt: the user's Ctrl-C came during the import.
    """
    file = code_dir / class_file_name
    _put_first_on_path(str(code_dir))
    try:
        module = _import_file(code_dir, Path(class_file_name))
        found = getattr(module, class_name, None)
    except KeyboardInterrupt:
        raise
    # Border: a user's import may raise anything, and SystemExit must not end the manager.
    except BaseException as error:
        message = f"{file}: importing it for the class {class_name} failed: {_described(error)}"
        raise ClassLoadError(message) from error
    if isinstance(found, type):
        return found
    raise ClassLoadError(f"{file}: {_no_class(module, class_name, found)}")


def construct(loaded: type, class_args: dict[str, Any]) -> Any:
    """Return `loaded(**class_args)`.

    Raises:
        ClassLoadError: the constructor raised, or a package that a built-in class needs is missing.
        KeyboardInterrupt: the user's Ctrl-C came during the call.
    """
    for package, extra in getattr(loaded, "requires", {}).items():
        if importlib.util.find_spec(package) is None:
            raise ClassLoadError(
                f"{loaded.__name__} needs the package {package}, not installed here:"
                f" pip install 'mpx-experiments[{extra}]'"
            )
    try:
        return loaded(**class_args)
    except KeyboardInterrupt:
        raise
    # Border: a user's constructor may raise anything, and SystemExit must not end the manager.
    except BaseException as error:
        arguments = ", ".join(f"{name}=..." for name in class_args)
        message = f"{loaded.__name__}({arguments}) failed: {_described(error)}"
        raise ClassLoadError(message) from error


def _load_built_in(kind: str, known: dict[str, str], name: str) -> type:
    if name not in known:
        message = f"found no built-in {kind} {name!r}; there are {', '.join(known)}"
        raise ClassLoadError(message)
    module, _, class_name = known[name].partition(":")
    found: type = getattr(importlib.import_module(module), class_name)
    return found


def _put_first_on_path(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import_file(code_dir: Path, relative: Path) -> ModuleType:
    # A directory that was listed before the user's last edit would be believed as it was then.
    importlib.invalidate_caches()
    file = code_dir / relative
    package = _package_of(code_dir, relative.parts[:-1])
    if package:
        return importlib.import_module(f"{package}.{relative.stem}")
    name = relative.stem.replace(".", "_")
    while _is_name_of_another(name, file):
        name = f"_{name}"
    return sys.modules.get(name) or _execute(name, file)


def _package_of(code_dir: Path, folders: tuple[str, ...]) -> str:
    """Return the package that sub-folders of `code_dir` make; `` if they make none."""
    if not folders or not all(folder.isidentifier() for folder in folders):
        return ""
    heads = [code_dir.joinpath(*folders[: n + 1], "__init__.py") for n in range(len(folders))]
    if not all(head.is_file() for head in heads) or _is_name_of_another(folders[0], heads[0]):
        return ""
    return ".".join(folders)


def _is_name_of_another(name: str, file: Path) -> bool:
    loaded = sys.modules.get(name)
    if loaded is None:
        return name in sys.stdlib_module_names
    return getattr(loaded, "__file__", None) != str(file)


def _execute(name: str, file: Path) -> ModuleType:
    # As a package that holds what lies beside the file, the module may say `from .y import x`.
    beside = [str(file.parent)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=beside)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules[name]


def _no_class(module: ModuleType, class_name: str, found: Any) -> str:
    if found is not None:
        return f"{class_name} is a {type(found).__name__}; allowed: a class"
    known = [name for name, value in vars(module).items() if isinstance(value, type)]
    near = get_close_matches(class_name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'no class'}"
    return f"found no class {class_name}; {hint}"


def _described(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"
    # It copes with an exception whose __str__ fails.
    return "".join(traceback.format_exception_only(error)).strip()
