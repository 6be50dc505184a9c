"""What phases save, and which phase goes on from it: the SDK in real processes, and its copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpx import kept as kept_module
from mpx.errors import UsageError
from mpx.kept import keep
from tests.bench import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def saved(bench):
    """Return, of each checkpoint on record, the phase and the copy."""
    messages = [m for m in bench.heard if m["type"] == "checkpoint"]
    return [(m.get("phase_index"), Path(m["path"])) for m in messages]


def kept(bench):
    return {*(bench.root / "checkpoints").iterdir()}


def test_a_file_is_copied_with_its_suffix_and_what_is_done_to_it_afterwards_does_no_harm(bench):
    found = []

    def on_checkpoint(message):
        found.append(Path(message["path"]).read_text())
        return bench.acknowledge()

    bench.on["checkpoint"] = on_checkpoint
    code = bench.python(
        """
        import os, pathlib, mpx
        weights = pathlib.Path("weights.pt")
        for phase in mpx.phases():
            with phase:
                weights.write_text(f"of phase {phase.index}")
                phase.save_checkpoint(weights)
                weights.write_text("overwritten")
                os.unlink(weights)
                phase.report_final(1)
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", *["request", "checkpoint", "final"] * 2, "request"]
    assert found == ["of phase 0", "of phase 1"]
    (_, first), (_, second) = saved(bench)
    assert (first.parent, first.suffix) == (bench.root / "checkpoints", ".pt")
    assert (first.read_text(), second.read_text()) == tuple(found)


def test_of_a_phase_that_saves_a_directory_twice_the_last_copy_alone_is_kept(bench):
    code = bench.python(
        """
        import os, mpx
        phase = next(mpx.phases())
        os.makedirs("state/of a layer")
        for epoch in range(2):
            for name in ("weights", "of a layer/.hidden"):
                with open("state/" + name, "w") as file:
                    file.write(f"epoch {epoch}")
            phase.save_checkpoint("state/")
        phase.report_final(1)
        """
    )
    assert code == 0, bench.log()
    (_, first), (_, second) = saved(bench)
    assert kept(bench) == {second}
    assert second != first
    texts = {str(f.relative_to(second)): f.read_text() for f in second.rglob("*") if f.is_file()}
    assert texts == {"weights": "epoch 1", "of a layer/.hidden": "epoch 1"}


def test_what_cannot_be_copied_leaves_the_phase_open_and_no_half_of_it(bench):
    code = bench.python(
        """
        import os, mpx
        phase = next(mpx.phases())
        os.mkdir("state")
        open("state/weights", "w").close()
        os.symlink("nowhere", "state/optimizer")
        for path in ("missing.pt", "state"):
            try:
                phase.save_checkpoint(path)
            except OSError as error:
                print(type(error).__name__)
        phase.report_final(1)
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "final"]
    assert bench.log() == "FileNotFoundError\nError\n"
    assert kept(bench) == set()


def test_a_directory_that_copies_are_made_in_is_refused(tmp_path):
    (tmp_path / "trial").mkdir()
    for path in (tmp_path, tmp_path / "trial", tmp_path / "trial" / "checkpoints"):
        with pytest.raises(UsageError, match="save a file, or a folder apart"):
            keep(str(path), str(tmp_path / "trial"), 0)


def test_phases_of_a_batch_save_from_threads(bench):
    bench.parameters = list(range(4))
    code = bench.python(
        """
        import threading, mpx
        batch = mpx.get_next_parameters(4)
        def train(phase):
            for epoch in range(3):
                with open(f"{phase.index}.txt", "w") as file:
                    file.write(f"epoch {epoch} of {phase.index}")
                phase.save_checkpoint(file.name)
            phase.report_final(1)
        threads = [threading.Thread(target=train, args=[phase]) for phase in batch]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """
    )
    assert code == 0, bench.log()
    last = dict(saved(bench))
    assert {n: copy.read_text() for n, copy in last.items()} == {
        n: f"epoch 2 of {n}" for n in range(4)
    }
    assert kept(bench) == {*last.values()}


def test_a_phase_is_given_its_parent_and_what_that_saved(bench):
    bench.parameters = list(range(5))
    bench.parents = {1: (10,), 3: (10, "/a/b.pt"), 4: (11, "/ä/c")}
    bench.python(
        """
        import mpx
        found = [next(mpx.phases()), next(mpx.phases()), *mpx.get_next_parameters(3)]
        found[-1].report_final([[phase.parent, phase.checkpoint] for phase in found])
        """
    )
    assert bench.values() == [
        [[None, None], [10, None], [None, None], [10, "/a/b.pt"], [11, "/ä/c"]]
    ]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_manager_dies_of_a_checkpoint_and_the_next_one_knows_of_it_once(bench, is_recorded):
    def die(message):
        bench.on["checkpoint"] = lambda message: bench.acknowledge()
        if is_recorded:
            bench.record()
        return bench.die(until=bench.is_orphaned)

    bench.on["checkpoint"] = die
    code = bench.python(
        """
        import mpx
        batch = mpx.get_next_parameters(2)
        batch[1].save_checkpoint(__file__)
        batch.report_final([0, 1])
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "checkpoint", "final", "final"]
    ((phase, copy),) = saved(bench)
    assert (phase, copy.suffix) == (1, ".py")


def test_a_copy_is_on_disk_before_it_has_its_name_and_so_is_its_name(tmp_path, monkeypatch):
    (tmp_path / "state/inner").mkdir(parents=True)
    (tmp_path / "state/inner/weights").write_text("w")
    synced = []

    def sync(path):
        (copy,) = (tmp_path / "checkpoints").iterdir()
        name = str(path.relative_to(tmp_path)).replace(copy.name, "COPY")
        synced.append((name, copy.suffix == ".draft"))

    monkeypatch.setattr(kept_module, "sync", sync)
    copy = Path(keep(str(tmp_path / "state"), str(tmp_path), 7))
    assert copy.name.startswith("7.")
    assert (copy / "inner/weights").read_text() == "w"
    drafts = {"checkpoints/COPY" + part for part in ("", "/inner", "/inner/weights")}
    assert {name for name, _ in synced[:3]} == drafts
    assert [is_draft for _, is_draft in synced] == [True] * 3 + [False] * 2
    assert [name for name, _ in synced[3:]] == ["checkpoints", "."]
