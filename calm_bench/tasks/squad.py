"""SQuAD 1.1 with its context given (section 5 of the CALM paper), as T5 turns it into text."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from calm_bench.errors import InputError
from calm_bench.tasks.task import Example, Task

WORD = re.compile(r"[0-9A-Za-z_]+|[^0-9A-Za-z_\s]")


class Squad(Task):
    """A question about a paragraph. The target is the first answer; every answer is a reference.

    The prompt stands before the question, "context: " before the paragraph. Question, paragraph and target get T5's
    spaces. References are the data set's own answers, and a decoded answer is scored as the paragraph has it written:
    "5 . 3 million" counts as "5.3 million", so that the scores are those of SQuAD's official script.
    """

    columns = ("question", "context", "answers.text[]")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        answers = tuple(row["answers"]["text"])
        if not answers:
            raise InputError(f"task {self.name}: question {row_id} has no answer, but SQuAD 1.1 gives at least one")
        source = f"{self.prompt}{spaced(row['question'])} context: {spaced(row['context'])}"
        return Example(row_id, source, target=spaced(answers[0]), references=answers, passage=row["context"])

    def as_written(self, text: str, example: Example) -> str:
        """The first stretch of the paragraph that has these words; `text` itself where it quotes nothing."""
        spans, quotable = _words(example.passage)
        start = quotable.find(f" {spaced(text)} ")
        if start < 0 or not text.strip():
            return text
        first = quotable.count(" ", 0, start)
        last = first + len(spaced(text).split(" ")) - 1
        return example.passage[spans[first][0] : spans[last][1]]

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]]:
        """The same for all: no constant answer is the first reference more often."""
        answer = Counter(example.references[0] for example in examples).most_common(1)[0][0]
        return "the most frequent answer", [answer] * len(examples)


def spaced(text: str) -> str:
    """Spaces around every character but ASCII letters, digits and "_", and single spaces throughout.

    T5's preprocessors had it so from 2019 until after the paper (`_pad_punctuation` with RE2's `\\W`, which knows ASCII
    alone: "café" becomes "caf é"). Later releases of the package pad ASCII punctuation.
    """
    return " ".join(WORD.findall(text))


@lru_cache(maxsize=64)
def _words(passage: str) -> tuple[list[tuple[int, int]], str]:
    """Where each word of a passage stands, and the passage spaced, with a space before and after it."""
    return [word.span() for word in WORD.finditer(passage)], f" {spaced(passage)} "
