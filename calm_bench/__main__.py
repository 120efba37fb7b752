"""`python -m calm_bench`, and the console script `calm-bench`: `command.py` is what they do."""

from calm_bench.starting import main_of

main = main_of("calm_bench.command")

if __name__ == "__main__":
    main()
