"""Networks of a macro search space: a chain of layers, each with an operation and skip connections.

A supernet has the weights of every operation in every layer, and an architecture runs those that it
names; a network of one architecture has no others. Source: Pham et al., "Efficient Neural Architecture
Search via Parameter Sharing", arXiv 1802.03268, section 2.3. Not as there: an operation's output is added
to its input (He et al., arXiv 1512.03385), without which the shared weights need many more steps, and
skips are averaged, not concatenated.
"""

import torch
from torch import nn
from torch.nn import functional

OPERATIONS = ("conv3", "conv5", "separable3", "separable5", "max_pool", "avg_pool")
CHUNK = 500  # images that are evaluated at a time


class Network(nn.Module):
    """Weights for architectures, and how these compute.

    Args:
        operations: for each layer the names of those it has weights for.
        size: height and width of an image in pixels; of more than 8 the stem makes a quarter.
        channels: of every layer.
        shared: architectures share these weights. Each has other statistics of its activations, so
            normalisation goes by those of the minibatch, in evaluation too.
        classes: how many there are to tell apart.
    """

    def __init__(self, operations, size, channels, shared, classes=10):
        super().__init__()

        def normalise():
            return nn.BatchNorm2d(channels, track_running_stats=not shared)

        shrinking = size > 8
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2 if shrinking else 1, padding=2, bias=False),
            normalise(),
            nn.MaxPool2d(2) if shrinking else nn.Identity(),
        )
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {name: nn.Sequential(*_operation(name, channels), normalise()) for name in names}
            )
            for names in operations
        )
        self.head = nn.Linear(channels, classes)

    @classmethod
    def supernet(cls, layers, size, channels):
        """Return one that has the weights of all architectures of so many layers."""
        return cls([OPERATIONS] * layers, size, channels, shared=True)

    @classmethod
    def alone(cls, architecture, size, channels):
        """Return one that has the weights of this architecture alone."""
        operations = [[layer["operation"]] for layer in architecture]
        return cls(operations, size, channels, shared=False)

    def forward(self, images, architecture):
        """Return the scores of each class.

        Args:
            images: (n, 1, size, size).
            architecture: for each layer its `operation`, and in `skips` the numbers of those layers
                before the last one whose outputs are added to its input.

        Returns:
            (n, classes).
        """
        before = self.stem(images)
        outputs = []
        for weights, layer in zip(self.layers, architecture, strict=True):
            joined = [before, *(outputs[source] for source in layer.get("skips", ()))]
            into = sum(joined) / len(joined)
            before = into + weights[layer["operation"]](into)
            outputs.append(before)
        return self.head(functional.relu(before).mean((2, 3)))


def _operation(name, channels):
    """Return the modules of an operation, which keeps the image's size and its channels."""
    if name == "max_pool":
        return [nn.MaxPool2d(3, stride=1, padding=1)]
    if name == "avg_pool":
        return [nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)]
    kernel = int(name[-1])
    if name.startswith("conv"):
        return [nn.ReLU(), nn.Conv2d(channels, channels, kernel, padding="same", bias=False)]
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, padding="same", groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
    ]


def given(parameters):
    """Return the architecture that the parameters of a phase have.

    Raises:
        SystemExit: they have none, or one with operations that are not here.
    """
    try:
        architecture = parameters["network"]
        unknown = {layer["operation"] for layer in architecture} - {*OPERATIONS}
    except (KeyError, TypeError):
        raise SystemExit(
            f"parameters {str(parameters)[:200]}: `network` has to be there, of a search space of type "
            "`macro`, as in config.yml (by hand: in the variable MPX_PARAMETERS)"
        ) from None
    if unknown:
        raise SystemExit(
            f"operation {', '.join(sorted(unknown))}: there are weights for {', '.join(OPERATIONS)}; "
            "another one has to be added to OPERATIONS and _operation in network.py"
        )
    return architecture


def draw(layers):
    """Return an architecture of so many layers at random, by torch's generator."""
    return [
        {
            "operation": OPERATIONS[torch.randint(len(OPERATIONS), ())],
            "skips": [source for source in range(number - 1) if torch.rand(()) < 0.5],
        }
        for number in range(layers)
    ]


def learn(network, optimiser, batch, architecture):
    """Take one step along the gradient of the cross-entropy."""
    loss = functional.cross_entropy(network(batch.images, architecture), batch.labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def accuracy(network, part, architecture):
    """Return the share of images that are recognised."""
    network.eval()
    right = sum(
        (network(chunk.images, architecture).argmax(1) == chunk.labels).sum().item()
        for chunk in part.chunks(CHUNK)
    )
    network.train()
    return right / len(part.labels)
