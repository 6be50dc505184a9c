"""One trial that trains each cell it is given from scratch, with weights of its own.

    python3 retrain.py CORPUS [--minibatches 800] [--seed 0]    CORPUS: see corpus.py

The result is the perplexity on the validation part, and beside it that on the test part, which chose
nothing.
"""

import argparse
import time

import torch

import mpx
from corpus import columns, load_corpus
from network import LanguageModel, given
from training import Training, perplexity


def main():
    """Train cell after cell, each as long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="kjv, python or the path of a text file")
    parser.add_argument("--minibatches", type=int, default=800, help="of each cell")
    parser.add_argument("--seed", type=int, default=0, help="of first weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small for more
    corpus = load_corpus(arguments.corpus)
    validation, test = columns(corpus.validation, 100), columns(corpus.test, 100)

    for phase in mpx.phases():
        with phase:
            began = time.process_time()
            cell = given(phase.parameters)
            torch.manual_seed(arguments.seed)
            model = LanguageModel(corpus.words, len(cell))
            training = Training(model, corpus.train, arguments.minibatches)
            training.read(cell, arguments.minibatches)
            result = {
                "default": perplexity(model, cell, validation),
                "test": perplexity(model, cell, test),
            }
            phase.report_final(result | {"seconds": time.process_time() - began})


if __name__ == "__main__":
    main()
