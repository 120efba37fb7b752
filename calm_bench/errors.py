"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Something given to the suite is not allowed.

    The message is one line that names the option, column or file, the value found, and what is allowed. The command
    line prints it without a traceback and exits with status 2.
    """
