"""One trial: it trains a network once; in each phase it quantises that, and says what is left of it."""

import argparse

import torch

import mpx
from network import draw_network, evaluate, load_parts, train
from quantization import check_widths, quantized, size


def main(options):
    """Train a network, and quantise it again and again."""
    parts = load_parts()
    torch.manual_seed(options.seed)
    network = draw_network()
    for phase in mpx.phases():
        with phase:
            check_widths(network, phase.parameters)
            if phase.index == 0:  # once; a mistake in the first widths shows before
                train(network, parts[0], options.epochs, learning_rate=0.002)
                accuracy, test_accuracy = (evaluate(network, part)[0] for part in parts[1:])

            smaller = quantized(network, phase.parameters)
            train(smaller, parts[0], options.finetune, learning_rate=0.0005)
            left, cross_entropy = evaluate(smaller, parts[1])
            lost = accuracy - left
            saved = 1 - size(network, phase.parameters) / size(network, {})
            phase.report_final(
                {
                    "default": saved if lost <= options.tolerance else -lost,
                    "cross_entropy": cross_entropy,
                    "size": size(network, phase.parameters),
                    "saved": saved,
                    "lost": lost,
                    "lost_in_test": test_accuracy - evaluate(smaller, parts[2])[0],
                }
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the network's training")
    parser.add_argument("--epochs", type=int, default=30, help="of that training")
    parser.add_argument("--finetune", type=int, default=0, help="epochs of each quantised network")
    parser.add_argument("--tolerance", type=float, default=0.01, help="accuracy that may be lost")
    main(parser.parse_args())
