"""The parameters of a phase."""

NAMES = {"learning_rate", "momentum", "weight_decay", "label_smoothing", "gain"}


def check_names(parameters):
    """End the trial, with a message, where a phase has other parameters than `NAMES`.

    Args:
        parameters: of a phase, by their names.

    Raises:
        SystemExit: names are missing or unknown.
    """
    wrong = {"missing": NAMES - parameters.keys(), "unknown": parameters.keys() - NAMES}
    found = "; ".join(f"{how}: {', '.join(sorted(names))}" for how, names in wrong.items() if names)
    if found:
        raise SystemExit(
            f"parameters of a phase: {found}\n"
            f"allowed are exactly {', '.join(sorted(NAMES))}: see `searchSpace` in config.yml, or,"
            " by hand, the variable MPX_PARAMETERS\n"
            "one that is not searched has a single value: {_type: choice, _value: [0.9]}; another"
            " one needs code: parameters.py, Pack.train in pack.py, train in one_by_one.py"
        )
