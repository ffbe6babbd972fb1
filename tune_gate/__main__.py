"""`python -m tune_gate` is `tune-gate`."""

from tune_gate.cli import main

main()
