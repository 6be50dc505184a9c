"""Experiments whose processes are killed at random moments, and the check that it cost nothing.

`python -m tests.chaos --rounds 500 --seed 1` is the long form; `tests/test_chaos.py` runs a short one.

What happened is known from `evidence`, which trials, tuner and assessor write down themselves; `verdict`
holds it against what mpx says. `kinds` lists what is done to a `subject`, an experiment. The code in
`inside` runs within the experiment: the tuner brings the points at which its manager dies
(`hooks`), so that mpx itself holds none.
"""
