"""`python -m calm_bench.sweep`: `command.py` is what it does."""

from calm_bench.starting import main_of

main = main_of("calm_bench.sweep.command")

if __name__ == "__main__":
    main()
