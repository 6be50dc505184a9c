"""What is told of a class from its text alone: what is certain, and nothing else."""

from __future__ import annotations

import pytest

from mpx.config.class_source import Constructor, parse_module
from mpx.config.roles import TUNER

GENERATE = "    def generate_parameters(self, parameter_id): ...\n"


@pytest.fixture
def parse(tmp_path):
    """Return a function: source → module."""

    def parse_text(source):
        file = tmp_path / "module.py"
        file.write_text(source)
        return parse_module(file)

    return parse_text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class T: ...", Constructor()),
        ("class T(object): ...", Constructor()),
        ("class T:\n    def __init__(self): ...", Constructor()),
        ("class T:\n    def __init__(self, a, b=1): ...", Constructor(("a", "b"), ("a",))),
        ("class T:\n    def __init__(self, *, a, b=1): ...", Constructor(("a", "b"), ("a",))),
        ("class T:\n    def __init__(self, a, **rest): ...", Constructor(("a",), ("a",), True)),
        ("class T:\n    def __init__(self, a=1, *rest): ...", Constructor(("a",))),
        ("class T:\n    def __init__(self, /, a): ...", Constructor(("a",), ("a",))),
        ("class A:\n    def __init__(self, a): ...\nclass T(A): ...", Constructor(("a",), ("a",))),
        ("import x\nclass T(x.Y):\n    def __init__(self, a): ...", Constructor(("a",), ("a",))),
        ("import mpx\nclass T(mpx.Tuner): ...", Constructor()),
        ("from mpx import Tuner as B\nclass T(B): ...", Constructor()),
        ("import nni.tuner\nclass T(nni.tuner.Tuner): ...", Constructor()),
        ("import nni.tuner as t\nclass T(t.Tuner): ...", Constructor()),
        ("from nni.assessor import Assessor\nclass T(Assessor): ...", Constructor()),
    ],
)
def test_a_constructor_that_is_certain_is_told(parse, source, expected):
    assert parse(source).constructor("T") == expected


@pytest.mark.parametrize(
    "source",
    [
        "import x\nclass T(x.Y): ...",
        "class A: ...\nclass B: ...\nclass T(A, B): ...",
        "class T(make()): ...",
        "class T(B[int]): ...",
        "@dataclass\nclass T:\n    a: int",
        "class T(metaclass=M): ...",
        "class T:\n    def __new__(cls, a): ...",
        "class T:\n    @inject\n    def __init__(self, a): ...",
        "class T:\n    __init__ = other",
        "class T:\n    if x:\n        def __init__(self, a): ...",
        "class T:\n    def __init__(self, a): ...\n    def __init__(self, b): ...",
        "class T:\n    def __init__(self, a, /, b): ...",
        "class T: ...\nT.__init__ = other",
        "class T: ...\nsetattr(T, '__init__', other)",
        "class T: ...\nT = wrap(T)",
        "class T(T): ...",
        "class A(T): ...\nclass T(A): ...",
        "from mpx import Tuner\nTuner = other\nclass T(Tuner): ...",
    ],
)
def test_a_constructor_that_only_running_the_code_could_tell_is_not(parse, source):
    assert parse(source).constructor("T") is None


@pytest.mark.parametrize(
    "source",
    [
        "class T: ...",
        "class T:\n    def generate(self): ...",
        "class A: ...\nclass T(A): ...",
        "import mpx\nclass T(mpx.MultiPhaseTuner): ...",
        "from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner\nclass T(MultiPhaseTuner): ...",
    ],
)
def test_a_class_that_is_certainly_no_tuner_is_told(parse, source):
    assert parse(source).lacks_methods("T", TUNER.methods)


@pytest.mark.parametrize(
    "source",
    [
        f"class T:\n{GENERATE}",
        f"class A:\n{GENERATE}\nclass T(A): ...",
        "class T:\n    def generate_multiple_parameters(self, ids): ...",
        "class T:\n    generate_parameters = other",
        "class T:\n    from x import generate_parameters",
        "class T:\n    def __getattr__(self, name): ...",
        "class T: ...\nT.generate_parameters = other",
        "import x\nclass T(x.Y): ...",
        "import x\nclass A(x.Y): ...\nclass T(A): ...",
        "@register\nclass T: ...",
        "class T(metaclass=M): ...",
        "class T: ...\nexec(code)",
        "def f():\n    class T: ...",
    ],
)
def test_a_class_that_may_be_a_tuner_is_let_be(parse, source):
    assert not parse(source).lacks_methods("T", TUNER.methods)


@pytest.mark.parametrize(
    "source", ["", "class U: ...", "def f():\n    T = 1", "x.y = 1", "print(T)"]
)
def test_a_name_that_is_certainly_missing_is_told(parse, source):
    assert parse(source).lacks("T")


@pytest.mark.parametrize(
    "source",
    [
        "class T: ...",
        "T = 1",
        "T: type = 1",
        "T, U = 1, 2",
        "import T",
        "import T.x",
        "from x import T",
        "from x import y as T",
        "from x import *",
        "for T in x: ...",
        "with x as T: ...",
        "try: ...\nexcept E as T: ...",
        "if (T := 1): ...",
        "match x:\n    case T: ...",
        "while x:\n    class T: ...",
        "def f():\n    global T\n    T = 1",
        "globals()['T'] = 1",
        "import sys\nsys.modules[__name__].T = 1",
        "def __getattr__(name): ...",
    ],
)
def test_a_name_that_may_be_there_is_let_be(parse, source):
    assert not parse(source).lacks("T")


def test_a_function_is_told_unless_something_was_made_of_it(parse):
    assert parse("def T(): ...").is_function("T")
    assert not parse("@make_class\ndef T(): ...").is_function("T")
    assert not parse("def T(): ...\nT = type('T', (), {})").is_function("T")


def test_nothing_is_run(parse, capsys):
    parse("print('here')")

    assert capsys.readouterr().out == ""


def test_warnings_are_left_to_the_run(parse):
    assert parse("class T:\n    x = '\\d'").class_names == ["T"]


@pytest.mark.parametrize("source", ["def f(:", "return 1", "x = '\0'", "x = " + "(" * 500])
def test_what_is_no_python_is_refused(parse, source):
    with pytest.raises((SyntaxError, ValueError)):
        parse(source)


def test_deep_expressions_are_walked(parse):
    assert parse("x = " + "1 + " * 900 + "1\nclass T: ...").class_names == ["T"]


def test_the_constructor_of_a_loaded_class_is_told_too():
    class Loaded:
        def __init__(self, a, *, b=1, **rest): ...

    class Strict:
        def __init__(self, a): ...

    assert Constructor.of(Loaded) == Constructor(("a", "b"), ("a",), takes_any=True)

    class Described(Strict):
        class_args_schema = {"properties": {"b": {}, "c": {}}, "required": ["b"]}

    assert Constructor.of(Strict) == Constructor(("a",), ("a",))
    assert Constructor.of(Described) == Constructor(("b", "c"), ("b",))
