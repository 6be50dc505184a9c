"""One trial: in each batch of phases it trains as many networks together."""

import torch

import mpx
from costs import Costs
from network import draw_network, load_parts
from options import read_options
from pack import Pack
from parameters import NAMES, check_names


def main(options):
    """Train batch after batch of networks."""
    costs = Costs(options.device)
    train, validation = load_parts(options.device)  # once, for all networks
    for batch in mpx.batches(options.together):
        for phase in batch:
            check_names(phase.parameters)
        networks = [draw(phase, options).to(options.device) for phase in batch]
        pack = Pack(networks)
        with costs.of("training"):
            pack.train(train, options.epochs, **stacked(batch, options.device))
        with costs.of("evaluation"):
            accuracies, losses = pack.evaluate(validation)
        batch.report_final(
            {"default": accuracy, "loss": loss}
            for accuracy, loss in zip(accuracies, losses, strict=True)
        )
    costs.write()


def draw(phase, options):
    """Return the network that a phase begins with; its seed is the phase's number in the experiment."""
    return draw_network(phase.parameter_id, phase.parameters["gain"], options.width)


def stacked(batch, device):
    """Return the other parameters, each a tensor with a value for each phase."""
    names = NAMES - {"gain"}
    return {
        name: torch.tensor(
            [phase.parameters[name] for phase in batch], dtype=torch.float32, device=device
        )
        for name in names
    }


if __name__ == "__main__":
    main(read_options(__doc__))
