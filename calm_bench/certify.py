"""`python -m calm_bench.certify RUN ...`: new promises from old records. For a program: `calm_bench.new_promises`.

Nothing but the command is here: imported, this module would take the name of the function `calm_bench.certify`.
"""

from calm_bench.starting import main_of

if __name__ == "__main__":
    main_of("calm_bench.new_promises")()
