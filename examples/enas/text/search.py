"""One trial of the search: a language model whose weights all cells share.

    python3 search.py CORPUS [--weights FILE] ...    CORPUS: see corpus.py

First cells drawn at random train the weights for the warm-up, so that the first results say something. In
each phase of the search the phase's cell trains them with a few minibatches, and is then tried on a piece
of the validation part. Then the weights stay as they are, and lie in `shared.pt` in MPX_OUTPUT_DIR; the
last phases, all chosen together, are judged in them on another piece of it.

By hand all phases have the cell in MPX_PARAMETERS: see README.md.
"""

import argparse
import os
import random
import time
from itertools import chain, islice
from pathlib import Path
from pickle import UnpicklingError

import torch

import mpx
from corpus import columns, load_corpus, located
from network import ACTIVATIONS, LanguageModel, given
from training import Training, perplexity

MINIBATCHES = 4  # of a phase
REWARD = 80  # over the perplexity, as in the paper


class Supernet:
    """The shared weights, and the texts.

    Args:
        corpus: a Corpus.
        nodes: how many a cell has.
    """

    def __init__(self, corpus, nodes):
        self.model = LanguageModel(corpus.words, nodes)
        self._training = Training(self.model, corpus.train)
        texts = columns(corpus.validation, 100)
        tenth = len(texts) // 10
        self._few, self._many = texts[:tenth], texts[tenth : 5 * tenth]
        self._nodes = nodes

    def load(self, path):
        """Take the weights of another supernet.

        Raises:
            SystemExit: they are not of one like this.
        """
        try:
            self.model.load_state_dict(torch.load(path, weights_only=True))
        except OSError as error:
            raise SystemExit(f"--weights: {error}") from None
        except (RuntimeError, UnpicklingError):
            raise SystemExit(
                f"--weights {path}: not those of a supernet as it is here, for cells of {self._nodes} "
                "nodes and the vocabulary of this corpus"
            ) from None

    def save(self, path):
        """Write the weights to a file."""
        torch.save(self.model.state_dict(), path)

    def warm_up(self, minibatches):
        """Train the weights of cells drawn at random."""
        for _ in range(0, minibatches, MINIBATCHES):
            self.train(_draw_cell(self._nodes))

    def train(self, cell):
        """Train the weights of a cell with a few minibatches."""
        self._training.read(cell, MINIBATCHES)

    def result(self, cell, judged):
        """Return the result of a phase; if it is to be judged, on text that the search has not seen.

        Its `seconds` are those of computing since the process began.
        """
        found = perplexity(self.model, cell, self._many if judged else self._few)
        return {
            "default": REWARD / found,
            "perplexity": found,
            "judged": judged,
            "seconds": time.process_time(),
        }


def _draw_cell(nodes):
    return [
        {"inputs": [random.randint(0, node)], "operations": [random.choice([*ACTIVATIONS])]}
        for node in range(nodes)
    ]


def search(supernet, first, phases):
    """Train the shared weights by so many phases, of which the first is here."""
    for phase in chain(first, islice(mpx.phases(), phases - len(first))):
        with phase:
            cell = given(phase.parameters)
            supernet.train(cell)
            phase.report_final(supernet.result(cell, judged=False))


def judge(supernet, batch, arguments):
    """Judge cells, all of which the tuner has chosen before it has a result of any.

    Raises:
        SystemExit: there were fewer phases than were to be judged.
    """
    # So that top.py sees if some are missing, and takes the same text.
    own = {"of": arguments.judged, "corpus": located(arguments.corpus)}
    batch.report_final(
        supernet.result(given(phase.parameters), judged=True) | own for phase in batch
    )
    if len(batch) < arguments.judged:
        raise SystemExit(
            f"{len(batch)} cells were judged in the final weights, not {arguments.judged}: the experiment "
            "had no more phases, by a limit such as maxPhaseNum or by `mpx stop --drain`"
        )


def main():
    """Search, then judge; or only judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="kjv, python or the path of a text file")
    parser.add_argument("--weights", help="shared.pt of a search that is over: only judge in these")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and the warm-up")
    parser.add_argument("--warm-up", type=int, default=200, help="minibatches before the search")
    parser.add_argument("--search", type=int, default=300, help="phases that train")
    parser.add_argument("--judged", type=int, default=30, help="phases behind them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small for more
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    corpus = load_corpus(arguments.corpus)
    # Asked for before the warm-up, so that a search space of another kind is refused at once.
    batch = mpx.get_next_parameters(arguments.judged if arguments.weights else 1)
    cells = [given(phase.parameters) for phase in batch]
    supernet = Supernet(corpus, nodes=len(cells[0]))
    if arguments.weights:
        supernet.load(arguments.weights)
    else:
        supernet.warm_up(arguments.warm_up)
        search(supernet, batch, arguments.search)
        supernet.save(Path(os.environ.get("MPX_OUTPUT_DIR", ".")) / "shared.pt")
        batch = mpx.get_next_parameters(arguments.judged)
    judge(supernet, batch, arguments)


if __name__ == "__main__":
    main()
