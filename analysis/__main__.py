"""`python -m analysis RUNS... --out figures/`: `command.py` is what it does."""

import sys

from calm_bench.starting import main_of

main = main_of("analysis.command")

if __name__ == "__main__":
    sys.exit(main())
