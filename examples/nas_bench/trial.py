"""One trial: in each phase it looks up how good a network is, which was trained long ago."""

import sys

import mpx
from nas_bench_201 import key_of, read_accuracies

accuracies = read_accuracies(sys.argv[1])  # once, for hundreds of phases

for phase in mpx.phases():
    with phase:
        phase.report_final(accuracies[key_of(phase.parameters)])
