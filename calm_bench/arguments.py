"""The words of a command that is not Hydra's: what is wrong with them is one line, like any other bad input."""

from __future__ import annotations

import argparse
from typing import NoReturn

from calm_bench.errors import InputError


class Arguments(argparse.ArgumentParser):
    """A parser that raises InputError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words."""
        raise InputError(f"{message}; see --help")
