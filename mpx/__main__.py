"""`python -m mpx` is `mpx`."""

from __future__ import annotations

from mpx.cli import main

main()
