"""Where sentences end, as well as a rule without a language can say: after . ! ? and at line ends."""

import re

END = re.compile(r"(?<=[.!?])\s+|\n+")


def first_sentences(text: str, count: int) -> str:
    """The first `count` sentences of a text, a line each."""
    return "\n".join(END.split(text.strip())[:count])
