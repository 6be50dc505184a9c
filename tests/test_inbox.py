"""Letters from the user: files that a manager takes in, each once and in order."""

from __future__ import annotations

import math
import threading

import pytest

from mpx.inbox import PARAMETERS, RESULTS, Inbox, Letter


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


def test_an_inbox_without_letters_has_no_directory(inbox, tmp_path):
    assert inbox.read(known=()) == []
    assert [*tmp_path.iterdir()] == []


def test_letters_come_in_the_order_they_were_written(inbox):
    for number in range(20):
        inbox.put(PARAMETERS, {"n": number})
    inbox.put(RESULTS, [{"parameter": {"é": "\ud800"}, "value": math.inf}])
    found = inbox.read(known=())
    assert [letter.data for letter in found[:-1]] == [{"n": number} for number in range(20)]
    assert (found[-1].about, found[-1].data) == (
        RESULTS,
        [{"parameter": {"é": "\ud800"}, "value": math.inf}],
    )


def test_a_letter_that_is_known_is_not_read_again_and_goes_when_it_is_removed(inbox, tmp_path):
    inbox.put(PARAMETERS, 1)
    inbox.put(PARAMETERS, 2)
    first, second = inbox.read(known=())
    assert inbox.read(known={first.name}) == [second]
    inbox.remove([first.name, "never written"])
    assert inbox.read(known=()) == [second]
    inbox.remove([second.name])
    assert [*(tmp_path / "inbox").iterdir()] == []


def test_only_whole_letters_are_read(inbox, tmp_path):
    inbox.put(PARAMETERS, 1)
    (letter,) = inbox.read(known=())
    (tmp_path / "inbox" / f".{letter.name}").write_text('{"about": "para')
    (tmp_path / "inbox" / "README").write_text("a note")
    assert inbox.read(known=()) == [letter]


def test_letters_written_at_the_same_time_are_all_there(inbox):
    def write(number):
        for each in range(20):
            inbox.put(PARAMETERS, [number, each])

    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = inbox.read(known=())
    assert {type(letter) for letter in found} == {Letter}
    for number in range(4):
        assert [letter.data[1] for letter in found if letter.data[0] == number] == [*range(20)]


def test_a_letter_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Inbox(tmp_path / "no" / "inbox").put(PARAMETERS, 1)
