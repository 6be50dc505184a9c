"""One trial, the ordinary way: in each phase it trains one network."""

import torch
from torch.nn.functional import cross_entropy

import mpx
from costs import Costs
from network import draw_network, load_parts, minibatches
from options import read_options
from parameters import check_names


def main(options):
    """Train network after network."""
    costs = Costs(options.device)
    parts = load_parts(options.device)
    for phase in mpx.phases():
        check_names(phase.parameters)
        with phase:
            first = draw_network(phase.parameter_id, phase.parameters["gain"], options.width)
            first[0].bias.data[0] += options.nudge
            network = first.to(options.device)
            with costs.of("training"):
                train(network, parts[0], options.epochs, phase.parameters)
            with costs.of("evaluation"):
                result = evaluate(network, parts[1])
            phase.report_final(result)
    costs.write()


def train(network, part, epochs, parameters):
    """Train a network."""
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=parameters["learning_rate"],
        momentum=parameters["momentum"],
        weight_decay=parameters["weight_decay"],
    )
    for pixels, labels in minibatches(part, epochs):
        optimizer.zero_grad()
        smoothing = parameters["label_smoothing"]
        cross_entropy(network(pixels), labels, label_smoothing=smoothing).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(network, part):
    """Return the accuracy of a network, and its cross-entropy."""
    scores = network(part.pixels)
    accuracy = (scores.argmax(dim=-1) == part.labels).float().mean()
    return {"default": accuracy.item(), "loss": cross_entropy(scores, part.labels).item()}


if __name__ == "__main__":
    main(read_options(__doc__))
