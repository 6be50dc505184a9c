"""Loading a user's class: from where, under which name, and what is said when it fails."""

from __future__ import annotations

import importlib
import json
import random
import sys

import pytest

from mpx.config.schema import properties
from mpx.errors import ClassLoadError
from mpx.loader import BUILT_IN_TUNERS, construct, load_built_in_tuner, load_class

TUNER = "class T: ..."


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function: file name, class name → the class; what it imported is forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def load_from(file_name="my_tuner.py", class_name="T"):
        return load_class(tmp_path, file_name, class_name)

    yield load_from
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def refusal(load):
    """Return a function: as `load` → the error."""

    def load_in_vain(*names):
        with pytest.raises(ClassLoadError) as caught:
            load(*names)
        return caught.value

    return load_in_vain


def write(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", BUILT_IN_TUNERS)
def test_each_built_in_tuner_is_found_by_its_name(name):
    assert load_built_in_tuner(name).__name__ == name


def test_the_schema_allows_the_built_in_tuners_that_there_are():
    assert properties("tuner")["builtinTunerName"]["enum"] == list(BUILT_IN_TUNERS)


def test_an_unknown_built_in_tuner_is_refused_with_the_known_ones():
    with pytest.raises(ClassLoadError, match=r"'Oracle'; there are Random, GridSearch, BatchTuner"):
        load_built_in_tuner("Oracle")


def test_the_module_is_called_like_its_file(tmp_path, load):
    write(tmp_path, {"my_tuner.py": TUNER})

    loaded = load()

    assert loaded.__module__ == "my_tuner"
    assert importlib.import_module("my_tuner").T is loaded


def test_the_code_directory_stays_first_on_the_path(tmp_path, load):
    write(tmp_path, {"my_tuner.py": TUNER})

    load()
    load()

    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_the_file_is_imported_once(tmp_path, load):
    write(tmp_path, {"my_tuner.py": "import imports\nimports.count += 1\n" + TUNER})
    write(tmp_path, {"imports.py": "count = 0"})

    assert load() is load()

    assert sys.modules["imports"].count == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from helper import value",
        "from .helper import value",
        "from . import helper; value = helper.value",
        "from src.deep import value",
        "from .src.deep import value",
    ],
)
def test_what_lies_beside_the_file_can_be_imported(tmp_path, load, statement):
    files = {"helper.py": "value = 7", "src/__init__.py": "", "src/deep.py": "value = 7"}
    write(tmp_path, {**files, "my_tuner.py": f"{statement}\nclass T: found = value"})

    assert load().found == 7


@pytest.mark.parametrize("head", [{}, {"sub/__init__.py": ""}], ids=["folder", "package"])
def test_a_file_in_a_sub_directory_finds_its_neighbours(tmp_path, load, head):
    files = {"sub/helper.py": "value = 7", "top.py": "value = 8"}
    source = "from .helper import value\nimport top\nclass T: found = value, top.value"
    write(tmp_path, {**head, **files, "sub/x.py": source})

    assert load("sub/x.py").found == (7, 8)


def test_a_file_in_a_package_is_a_part_of_it(tmp_path, load):
    source = "from ..base import value\nclass T: found = value"
    packages = {"a/__init__.py": "", "a/b/__init__.py": "", "a/base.py": "value = 7"}
    write(tmp_path, {**packages, "a/b/x.py": source})

    loaded = load("a/b/x.py")

    assert loaded.found == 7
    assert loaded.__module__ == "a.b.x"


@pytest.mark.parametrize(
    "name", ["random.py", "json.py", "antigravity.py", "my.tuner.py", "a-b.py"]
)
def test_a_file_with_an_awkward_name_is_loaded_and_nobody_elses_module_is_lost(
    tmp_path, load, name
):
    write(tmp_path, {name: TUNER})

    loaded = load(name)

    assert sys.modules[loaded.__module__].__file__ == str(tmp_path / name)
    assert sys.modules["random"] is random
    assert sys.modules["json"] is json


def test_two_files_of_the_same_name_are_two_modules(tmp_path, load):
    write(tmp_path, {"a/t.py": "class T: home = 'a'", "b/t.py": "class T: home = 'b'"})

    assert load_class(tmp_path / "a", "t.py", "T").home == "a"
    assert load_class(tmp_path / "b", "t.py", "T").home == "b"
    assert load_class(tmp_path / "a", "t.py", "T").home == "a"


def test_a_package_whose_name_is_taken_is_no_hindrance(tmp_path, load):
    write(tmp_path, {"json/__init__.py": "", "json/x.py": TUNER})

    assert load("json/x.py").__name__ == "T"


def test_a_class_that_the_module_imports_is_found(tmp_path, load):
    write(tmp_path, {"my_tuner.py": "from base import T", "base.py": TUNER})

    assert load().__module__ == "base"


@pytest.mark.parametrize(
    ("source", "cause", "words"),
    [
        ("1 / 0", ZeroDivisionError, "ZeroDivisionError: division by zero"),
        ("import no_such_module", ModuleNotFoundError, "No module named 'no_such_module'"),
        ("raise SystemExit(3)", SystemExit, "SystemExit: 3"),
        ("x = (", SyntaxError, "SyntaxError: '(' was never closed (my_tuner.py, line 1)"),
        ("class E(BaseException): ...\nraise E('x')", BaseException, "E: x"),
        (
            "class E(Exception):\n    def __str__(self): return 1 / 0\nraise E",
            Exception,
            "E: <exception str() failed>",
        ),
        ("def __getattr__(name): raise KeyError(name)", KeyError, "KeyError: "),
    ],
)
def test_an_import_that_fails_names_file_class_and_cause(tmp_path, refusal, source, cause, words):
    write(tmp_path, {"my_tuner.py": source})

    error = refusal()

    assert f"{tmp_path / 'my_tuner.py'}: importing it for the class T failed: " in str(error)
    assert words in str(error)
    assert isinstance(error.__cause__, cause)


def test_an_import_that_failed_is_tried_anew(tmp_path, refusal, load):
    write(tmp_path, {"my_tuner.py": "1 / 0"})
    refusal()
    write(tmp_path, {"my_tuner.py": TUNER + "  # now longer, for the bytecode's sake"})

    assert load().__name__ == "T"


def test_ctrl_c_during_the_import_is_no_mistake_of_the_user(tmp_path, load):
    write(tmp_path, {"my_tuner.py": "raise KeyboardInterrupt"})

    with pytest.raises(KeyboardInterrupt):
        load()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Tt: ...\nclass Other: ...", "found no class T; did you mean Tt?"),
        ("class Abc: ...\nclass Xyz: ...", "found no class T; it has Abc, Xyz"),
        ("", "found no class T; it has no class"),
        ("def T(): ...", "T is a function; allowed: a class"),
        ("T = None", "found no class T"),
    ],
)
def test_a_file_without_the_class_says_what_it_has(tmp_path, refusal, source, words):
    write(tmp_path, {"my_tuner.py": source})

    assert words in str(refusal())


def test_a_file_that_is_missing_or_no_python_is_refused(tmp_path, refusal):
    write(tmp_path, {"notes.txt": "class T: ..."})

    assert "FileNotFoundError" in str(refusal("nowhere.py"))
    assert "notes.txt is no Python file" in str(refusal("notes.txt"))


def test_the_class_is_constructed_with_its_arguments():
    assert construct(dict, {"a": 1, "b": 2}) == {"a": 1, "b": 2}


class Failing:
    def __init__(self, error):
        raise error


@pytest.mark.parametrize("error", [ValueError("too small"), SystemExit(2)])
def test_a_constructor_that_fails_names_class_arguments_and_cause(error):
    with pytest.raises(ClassLoadError) as caught:
        construct(Failing, {"error": error})

    assert str(caught.value).startswith(f"Failing(error=...) failed: {type(error).__name__}: ")
    assert caught.value.__cause__ is error


def test_ctrl_c_during_construction_is_no_mistake_of_the_user():
    with pytest.raises(KeyboardInterrupt):
        construct(Failing, {"error": KeyboardInterrupt()})
