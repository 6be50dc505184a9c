"""The search: architectures train and are judged in the shared weights of one supernet.

    python3 search.py SOURCE [--weights FILE] …    SOURCE: see data.py

Phases come ten at a time. Each ten train the shared weights by turns, and report their accuracy in these
on validation images. At the end the weights are saved as `supernet.pt`, and a last set of phases, all
chosen together, is judged in them on validation images that no phase before has seen.

By hand all phases have the architecture in MPX_PARAMETERS: see README.md.
"""

import argparse
import os
from itertools import chain, islice
from pathlib import Path
from pickle import UnpicklingError

import torch

import mpx
from data import Part, load, located
from network import Network, accuracy, draw, given, learn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main(arguments):
    """Search, or only judge."""
    torch.set_num_threads(1)  # the networks are too small for more
    torch.manual_seed(arguments.seed)
    train, validation, _ = (part.to(arguments.device) for part in load(arguments.source))
    searching, judging = _split(validation, arguments.images)
    # Asked for before the warm-up, so that a search space of another kind is refused at once.
    batch = mpx.get_next_parameters(arguments.judged if arguments.weights else arguments.at_a_time)
    layers = len(_architectures(batch)[0])
    supernet = Network.supernet(layers, train.images.shape[-1], arguments.channels)
    supernet.to(arguments.device)
    if arguments.weights:
        _load(supernet, arguments.weights)
    else:
        search(supernet, batch, train, searching, arguments)
        path = Path(os.environ.get("MPX_OUTPUT_DIR", "."), "supernet.pt")
        torch.save(supernet.state_dict(), path)
        batch = mpx.get_next_parameters(arguments.judged)
    judge(supernet, batch, judging, arguments)


def search(supernet, first, train, searching, arguments):
    """Train the weights by the tuner's architectures, and tell it how these do in them.

    Args:
        first: the first set of phases.
    """
    steps = arguments.warm_up + arguments.batches * arguments.steps
    optimiser = torch.optim.SGD(
        supernet.parameters(), arguments.rate, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def step(architecture):
        learn(supernet, optimiser, train.draw(arguments.minibatch), architecture)
        schedule.step()

    # While the weights know nothing, accuracies tell more of their age than of the architecture.
    for _ in range(arguments.warm_up):
        step(draw(len(supernet.layers)))
    further = islice(mpx.batches(arguments.at_a_time), arguments.batches - 1)
    for batch in chain([first], further):
        architectures = _architectures(batch)
        for number in range(arguments.steps):
            step(architectures[number % len(architectures)])
        batch.report_final(accuracy(supernet, searching, each) for each in architectures)


def judge(supernet, batch, images, arguments):
    """Report the accuracy of each architecture, and where the images are: retraining takes the same.

    Raises:
        SystemExit: there were fewer phases than were to be judged.
    """
    batch.report_final(
        {
            "default": accuracy(supernet, images, architecture),
            "judged": True,
            "of": arguments.judged,  # so that top.py sees if some are missing
            "source": located(arguments.source),
        }
        for architecture in _architectures(batch)
    )
    if len(batch) < arguments.judged:
        raise SystemExit(
            f"{len(batch)} phases were judged in the final weights, not {arguments.judged}: the "
            "experiment had no more, by a limit such as maxPhaseNum or by `mpx stop --drain`"
        )


def _architectures(batch):
    return [given(phase.parameters) for phase in batch]


def _load(supernet, file):
    try:
        supernet.load_state_dict(torch.load(file, weights_only=True))
    except OSError as error:
        raise SystemExit(f"--weights: {error}") from None
    except (RuntimeError, UnpicklingError):
        raise SystemExit(
            f"--weights {file}: not those of a supernet as it is here: give --channels as the search "
            "had it, and the number of layers in the search space"
        ) from None


def _split(part, n):
    """Return the first `n` images (half of them at most), and up to four times as many behind them."""
    n = min(n, len(part.labels) // 2)
    return [Part(*(tensor[rows] for tensor in part)) for rows in (slice(n), slice(n, 5 * n))]


def parse():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the folder of Fashion-MNIST's files, or the word digits")
    parser.add_argument("--weights", help="of a search that is over: only judge in these")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and minibatches")
    parser.add_argument("--device", default=DEVICE, help="%(default)s here, if not given")
    parser.add_argument("--channels", type=int, default=16, help="of every layer")
    parser.add_argument("--rate", type=float, default=0.1, help="at which weights learn, at first")
    parser.add_argument("--minibatch", type=int, default=64, help="images to train on in a step")
    parser.add_argument("--warm-up", type=int, default=400, help="steps before the first phase")
    parser.add_argument("--batches", type=int, default=32, help="sets of phases in the search")
    parser.add_argument("--at-a-time", type=int, default=10, help="phases in a set")
    parser.add_argument("--steps", type=int, default=30, help="in a set")
    parser.add_argument(
        "--images", type=int, default=500, help="to search by; 4 times as many judge"
    )
    parser.add_argument("--judged", type=int, default=40, help="phases in the last set")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse())
