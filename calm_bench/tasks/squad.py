"""SQuAD 1.1 with its context given (section 5 of the CALM paper), as T5 turns it into text."""

import re
import string
from collections.abc import Mapping
from typing import Any

from calm_bench.errors import InputError
from calm_bench.tasks.task import Example, Task

PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")


class Squad(Task):
    """A question about a paragraph. The target is the first answer; every answer is a reference.

    The prompt stands before the question, "context: " before the paragraph. Questions, paragraphs and answers, the
    references too, get T5's spaces around punctuation, so that a perfect model can match its references.
    """

    columns = ("question", "context", "answers.text[]")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        answers = tuple(spaced(answer) for answer in row["answers"]["text"])
        if not answers:
            raise InputError(f"task {self.name}: question {row_id} has no answer, but SQuAD 1.1 gives at least one")
        source = f"{self.prompt}{spaced(row['question'])} context: {spaced(row['context'])}"
        return Example(id=row_id, source=source, target=answers[0], references=answers)


def spaced(text: str) -> str:
    """Spaces around each ASCII punctuation mark, and single spaces throughout."""
    return " ".join(PUNCTUATION.sub(r" \1 ", text).split())
