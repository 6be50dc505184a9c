"""Reading YAML and JSON: what values mean, and where they stand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mpx.config import reader
from mpx.config.composer import MAX_DEPTH
from mpx.config.durations import nearest_duration, parse_duration
from mpx.config.problem import Position, key_path, shown
from mpx.config.reader import read_document
from mpx.config.suggestions import closest
from mpx.errors import ConfigError


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def read(request, tmp_path, monkeypatch):
    """Return a function: text → document, with each of PyYAML's parsers."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(reader, "_LOADER", getattr(yaml, request.param))

    def read_text(text, name="c.yml"):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8", newline="")
        return read_document(file)

    return read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1e5", 100000.0),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("10", 10),
        ("010", 10),
        ("-7", -7),
        ("0o10", 8),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("tRUE", "tRUE"),
        (".", "."),
        ("=", "="),
        ("'1e-5'", "1e-5"),
        ('"true"', "true"),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ("!!int 12", 12),
        ("!!bool true", True),
        ("!!null ~", None),
        ("!!map {a: 1}", {"a": 1}),
        ("!!seq [1]", [1]),
    ],
)
def test_scalars_follow_yaml_1_2(read, text, value):
    found = read(f"a: {text}\n").value["a"]

    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read(read):
    assert math.isnan(read("a: .nan").value["a"])


def test_an_alias_repeats_the_value_of_its_anchor(read):
    assert read("a: &x {lr: 1e-3}\nb: *x\nc: [*x, 2]").value == {
        "a": {"lr": 0.001},
        "b": {"lr": 0.001},
        "c": [{"lr": 0.001}, 2],
    }


def test_a_merge_adds_keys_and_a_mapping_keeps_its_own(read):
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  y: 0\n  <<: [*a, *b]\n  w: 5\n"

    merged = read(text).value["c"]

    assert merged == {"x": 1, "y": 0, "z": 4, "w": 5}
    assert list(merged) == ["x", "y", "z", "w"]


def test_a_quoted_merge_sign_is_a_key(read):
    assert read('a: {"<<": 1}').value == {"a": {"<<": 1}}


def test_the_order_of_keys_is_kept(read):
    assert list(read("z: 1\na: 2\nm: 3").value) == ["z", "a", "m"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_each_value_has_its_position(read, ending):
    text = ending.join(["# ä", "a:", "  b: [10, {ü: 20}]", "  d: 'x'", ""])

    document = read(text)

    assert document.position(("a", "b", 0)) == Position(3, 7)
    assert document.position(("a", "b", 1, "ü")) == Position(3, 15)
    assert document.key_position(("a", "d")) == Position(4, 3)
    assert document.source.lines[3] == "  d: 'x'"


def test_a_value_below_its_key_is_shown_at_the_key(read):
    assert read("x: 1\na:\n  b: 1").position(("a",)) == Position(2, 1)


def test_what_is_missing_is_shown_at_what_would_hold_it(read):
    assert read("x: 1\na: {b: 1}").position(("a", "c", "d")) == Position(2, 4)


def test_a_repeated_value_is_shown_where_it_is_repeated(read):
    document = read("a: &x {k: 1}\nb: *x")

    assert document.position(("b",)) == Position(2, 4)
    assert document.position(("b", "k")) == Position(1, 11)


def test_a_byte_order_mark_is_no_part_of_the_text(read):
    assert read("\ufeffa: 1").position(("a",)) == Position(1, 4)


def test_nesting_is_read_up_to_its_limit(read):
    innermost = read("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    for _ in range(MAX_DEPTH - 1):
        [innermost] = innermost

    assert innermost == []


def test_nesting_by_aliases_counts(read):
    text = "a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60

    with pytest.raises(ConfigError, match="nested more than 100 deep"):
        read(text)


def test_many_values_without_aliases_are_no_bomb(read):
    assert len(read("[" + "1," * 10_000 + "1]").value) == 10_001


def test_half_a_surrogate_pair_is_refused(read):
    with pytest.raises(ConfigError) as caught:
        raise ConfigError(read('{"a": "\\ud800"}', "c.json").problems)

    assert caught.value.problems


def test_json_may_hold_tabs_and_characters_in_two_halves(read):
    text = '{\n\t"a":\t"\\ud83d\\ude00",\n\t"b": 1E3}'

    document = read(text, "space.json")

    assert document.value == {"a": "😀", "b": 1000.0}
    assert document.position(("b",)) == Position(3, 7)


def test_plain_text_is_no_json(read):
    [problem] = read("{a: 1, 'b': c}", "space.json").problems[1:]

    assert problem.message.startswith("found c; allowed in JSON")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        # YAML has no way to write these characters raw; as a break, some would end a line.
        | st.text(st.characters(exclude_categories=("C", "Z"))),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text("abc. :#-{}[]'\"\\", max_size=9), inner)
        ),
        max_leaves=9,
    )
)
def test_what_json_writes_is_read_as_it_was(tmp_path_factory, value):
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps({"value": value}, indent=2))

    document = read_document(file)

    assert document.problems == ()
    assert document.value == {"value": value}


@given(st.text() | st.text(" \n\t-?:,[]{}#&*!|>'\"%@`~ab1", max_size=40))
def test_any_text_is_a_document_or_a_problem(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")

    value = value_of(file)

    json.dumps(value)


def value_of(file):
    try:
        return read_document(file).value
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("10m", 600.0), ("24h", 86400.0), ("7d", 604800.0)]
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "1", "1w", "1h30m", "-1s", "1.5h", "01s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="allowed: a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (90, "90s"),
        (7200, "2h"),
        ("1h30m", "90m"),
        ("1d 12h", "36h"),
        ("90 min", "90m"),
        ("2 Hours", "2h"),
        ("3 months", None),
        ("0s", None),
        (-1, None),
        (True, None),
        ([], None),
    ],
)
def test_a_duration_in_other_words_is_understood(value, meant):
    assert nearest_duration(value) == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("trial_concurrency", "trialConcurrency"),
        ("TRIALCONCURRENCY", "trialConcurrency"),
        ("trialConcurency", "trialConcurrency"),
        ("max", "maxTrialNum"),
        ("ma", None),
        ("", None),
        ("lr" * 1_000_000, None),
    ],
)
def test_the_closest_word_is_found(word, meant):
    assert closest(word, ["trialConcurrency", "maxTrialNum", "maxPhaseNum"]) == meant


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("tuner", "classArgs", "lr"), "tuner.classArgs.lr"),
        (("searchSpace", "lr", "_value", 1), "searchSpace.lr._value[1]"),
        (("searchSpace", "conv 1.2", "_type"), "searchSpace['conv 1.2']._type"),
        ((), ""),
    ],
)
def test_a_key_path_is_written_like_code(path, text):
    assert key_path(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing (null)"),
        (False, "false"),
        ({"a": 1}, "a mapping"),
        ({}, "an empty mapping"),
        ([1], "a list"),
        ([], "an empty list"),
        (1e-05, "1e-05"),
    ],
)
def test_a_value_is_shown_in_a_few_words(value, text):
    assert shown(value) == text


def test_a_value_is_shown_with_nothing_a_terminal_obeys():
    assert shown("\x1b[31m\u202e") == repr("\x1b[31m\u202e")
    assert len(shown("x" * 1000)) == 60


def test_a_document_tells_where_it_was_read_from(tmp_path):
    file = Path(tmp_path, "c.yml")
    file.write_text("a: 010")

    document = read_document(file)

    assert document.path == file
    assert document.written(("a",)) == "010"
    assert document.find("b", "c") is None
    assert document.mapping("a") == {}
