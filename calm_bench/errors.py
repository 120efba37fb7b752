"""What a user is meant to read, and what the command line raises for itself."""


class InputError(ValueError):
    """Something given to the suite is not allowed.

    The message is one line that names the option, column or file, the value found, and what is allowed. The command
    line prints it without a traceback and exits with status 2.
    """


def in_one_line(error: BaseException, longest: int = 400) -> str:
    """All that another library's error says, without the address of its documentation; its type where it is silent."""
    lines = [line.strip() for line in str(error).splitlines() if "further information" not in line]
    text = " ".join(filter(None, lines)) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


class JobFailed(Exception):
    """A job of a multirun has failed and said why; the other jobs are still to run. A lone job exits instead.

    It stands here, for a job in another process sends it home, and there it must be this very class.
    """
