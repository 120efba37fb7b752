"""The columns of every table of a run: the contract between a run and its analysis.

A rule and an example are described once, in `rules` and `examples`; the other tables name them by number. A column
holds no null (and so no NaN) unless it is declared `null`. Layers count from 1.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from calm_bench.errors import InputError, in_one_line

SCHEMA_VERSION = 3

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_WORDS = pa.dictionary(pa.int32(), pa.string())  # few distinct texts, each stored once
_INT16, _INT32, _INT64 = pa.int16(), pa.int32(), pa.int64()
_FLOAT32, _FLOAT64, _BOOL = pa.float32(), pa.float64(), pa.bool_()
_NULLABLE = {_INT32: pd.Int32Dtype(), _INT64: pd.Int64Dtype(), _BOOL: pd.BooleanDtype()}


def column(name: str, dtype: pa.DataType, null: bool = False) -> pa.Field:
    """A column of a table; without `null` it holds a value in every row."""
    return pa.field(name, dtype, nullable=null)


# One row per rule: all that decides an exit.
RULES = pa.schema(
    [
        column("rule", _INT32),  # its number, from 0
        column("name", _TEXT),  # for people, e.g. full, static@3, softmax@0.6; no two rules share one
        column("kind", _TEXT),  # full, oracle, static, speculative or adaptive
        column("measure", _TEXT, null=True),  # the confidence measure that an adaptive rule asks
        column("threshold", _FLOAT64, null=True),  # λ before its decay, of an adaptive rule
        column("decay", _TEXT),  # how λ falls over a text, e.g. additive(tau=4), or none
        column("first_layer", _INT16),  # the first at which a token may leave, or that drafts
        column("last_layer", _INT16),  # the last that runs; of a static rule the layer at which every token leaves
        column("state_copying", _TEXT),  # what skipped layers are given
        column("drafts", _INT16, null=True),  # tokens that a speculative rule drafts before each verification
    ]
)

# One row per example.
EXAMPLES = pa.schema(
    [
        column("example", _INT32),  # its number, from 0
        column("id", _TEXT),  # the task's name of it
        column("split", _TEXT),  # train, validation or test
        column("cluster", _TEXT, null=True),  # what it shares with other examples, e.g. its document
        column("source", _TEXT),  # what the encoder read, prompt included
        column("references", _TEXTS),  # every accepted answer
        column("n_source_tokens", _INT32),  # that the encoder read, the end of the sequence included
        column("n_target_tokens", _INT32),  # of the first reference, not cut, the end of the sequence included
    ]
)

# One row per example and rule.
GENERATIONS = pa.schema(
    [
        column("example", _INT32),  # as in examples
        column("rule", _INT32),  # as in rules
        column("prediction", _TEXT),  # what the decoder wrote
        column("n_tokens", _INT32),  # generated tokens, the end of the sequence included
        column("mean_exit_layer", _FLOAT64),  # over the tokens of this text; speculative: layers run a token
        column("score", _FLOAT64),  # similarity to the references, in [0, 1]
        column("textual_loss", _FLOAT64),  # 1 - similarity to the full model's text, in [0, 1]
        column("risk_loss", _FLOAT64),  # what was lost against the references, max(0, full - early), in [0, 1]
        column("flops", _FLOAT64),  # of the decoder for this text, true count for T5
        column("flops_elbayad", _FLOAT64),  # the same by the formula of Elbayad et al., as in the paper
    ]
)

# One row per generated token of every example and rule.
TOKENS = pa.schema(
    [
        column("example", _INT32),  # as in examples
        column("rule", _INT32),  # as in rules
        column("position", _INT32),  # in the text, from 0
        column("token_id", _INT32),  # in the model's vocabulary
        column("piece", _WORDS, null=True),  # its text, as the tokenizer writes it
        column("exit_layer", _INT16),  # the last layer that ran, 1..L; speculative: first_layer if the draft was kept
        column("confidence", _FLOAT32, null=True),  # at the exit layer; null at layer L and in the baselines
    ]
)

# One row per rule, exit layer and position: the tokens counted.
EXITS = pa.schema(
    [
        column("rule", _INT32),  # as in rules
        column("layer", _INT16),  # exit layer, 1..L
        column("position", _INT32),  # in the text, from 0
        column("count", _INT64),  # tokens
        column("confidence_sum", _FLOAT64, null=True),  # over these tokens; null where none has a confidence
    ]
)

# One row per rule.
FRONTIER = pa.schema(
    [
        column("rule", _INT32),  # as in rules
        column("n", _INT32),  # examples
        column("score", _FLOAT64),  # the task's quality metric over all examples, 0..100
        column("score_low", _FLOAT64),  # 95% interval, bootstrap over examples
        column("score_high", _FLOAT64),
        column("mean_exit_layer", _FLOAT64),  # over all tokens
        column("mean_exit_layer_low", _FLOAT64),  # 95% interval, bootstrap over examples
        column("mean_exit_layer_high", _FLOAT64),
        column("flops_reduction", _FLOAT64),  # full / early per token, formula of Elbayad et al.
        column("flops_reduction_t5", _FLOAT64),  # full / early per token, true count for T5
        column("textual_loss", _FLOAT64),  # mean over examples
        column("risk_loss", _FLOAT64),  # mean over examples
        column("seconds", _FLOAT64, null=True),  # per text at batch 1; null where the rule was not timed
        column("speedup", _FLOAT64, null=True),  # full / early seconds, timed side by side
        column("speedup_low", _FLOAT64, null=True),  # 95% interval, bootstrap over examples
        column("speedup_high", _FLOAT64, null=True),
    ]
)

# One row per objective, δ, measure, method and trial.
CERTIFICATES = pa.schema(
    [
        column("objective", _TEXT),  # textual or risk
        column("delta", _FLOAT64),  # tolerance on the mean loss, in (0, 1)
        column("epsilon", _FLOAT64),  # probability with which the promise may fail, in (0, 1); only of that guarantee
        column("measure", _TEXT),  # the confidence measure, or static
        column("method", _TEXT),  # ltt, or a method to compare it with
        column("guarantee", _TEXT),  # of the method: a probability (1 - ε), an expectation, or none
        column("trial", _INT32, null=True),  # from 0; null: certified on all examples, nothing held out
        column("unit", _TEXT),  # what was drawn and is promised about: example or cluster
        column("together", _INT32),  # promises that ε covers at once; 1: each by itself
        column("n_calibration", _INT32),  # units that the test read
        column("rule", _INT32),  # the certified one; the full model where no threshold was accepted
        column("p_value", _FLOAT64, null=True),  # of the certified λ
        column("nearest_delta", _FLOAT64, null=True),  # where only the full model will do (no trial): the smallest
        column("nearest_rule", _INT32, null=True),  # δ that would have been certified, and its rule (as in rules)
        column("test_loss", _FLOAT64, null=True),  # mean loss on the held-out units
        column("test_score", _FLOAT64, null=True),  # quality metric on the held-out examples, 0..100
        column("mean_exit_layer", _FLOAT64),  # of the certified rule; held-out examples in a trial, else all
        column("flops_reduction", _FLOAT64),  # of the certified rule, formula of Elbayad et al.
    ]
)

# One row per timed generation.
TIMINGS = pa.schema(
    [
        # rule: our decoder under one rule; loop: the same in torch; int8: the same with layers in int8, another model;
        # generate: transformers; peer: another program at full depth; read: memory as large as the weights;
        # grid, one_by_one: a measure's grid
        column("arm", _TEXT),
        column("rule", _INT32, null=True),  # what was decoded, as in rules; null for a grid
        column("measure", _TEXT, null=True),  # whose grid
        column("executor", _TEXT),  # what ran it: a name in decoding/executor.py, transformers, or a peer's
        column("example", _INT32),  # as in examples; of a batch the first
        column("repeat", _INT16),  # from 0
        column("order", _INT32),  # when it ran, from 0 over all arms
        column("seconds", _FLOAT64),  # wall clock of encoder and decoder
        column("encoder_seconds", _FLOAT64),  # the encoder's part of it; of a peer, its seconds for a text of one token
        column("n_tokens", _INT32),  # as in generations
        column("mean_exit_layer", _FLOAT64),  # over the tokens of this text
        column("weight_bytes", _INT64, null=True),  # of weights that were read; null where nobody counts them
        column("same_text", _BOOL, null=True),  # whether the text is the recorded one; null where none is compared
    ]
)

SCHEMAS = {
    "rules": RULES,
    "examples": EXAMPLES,
    "generations": GENERATIONS,
    "tokens": TOKENS,
    "exits": EXITS,
    "frontier": FRONTIER,
    "certificates": CERTIFICATES,
    "timings": TIMINGS,
}
"""The tables of every run. A probe's table is called as the probe is, and has the columns that it declares."""


def to_table(name: str, frame: pd.DataFrame | pa.Table, columns: pa.Schema | None = None) -> pa.Table:
    """`frame` as the table called `name`, in the order and types of its `columns`: those of `SCHEMAS`, or a probe's.

    Raises:
        InputError: a column is missing, unknown, of another type, or holds nulls or NaN where none is allowed.
    """
    schema = SCHEMAS[name] if columns is None else columns
    found = list(frame.columns) if isinstance(frame, pd.DataFrame) else frame.column_names
    if unknown := sorted(set(found) - set(schema.names)):
        raise InputError(f"{name}: unknown column {unknown[0]!r}; the columns are {', '.join(schema.names)}")
    _require_columns(name, found, schema)
    arrays = []
    for field in schema:
        values = frame[field.name]
        try:
            whole = isinstance(values, pd.Series)
            arrays.append(pa.Array.from_pandas(values, type=field.type) if whole else values.cast(field.type))
        except pa.ArrowException as error:
            raise InputError(f"{name}: column {field.name!r} must be {field.type}: {in_one_line(error)}") from error
    table = pa.Table.from_arrays(arrays, schema=schema)
    _require_values(name, table, schema)
    return table


def check(columns: pa.Schema, found: pa.Schema, where: Path) -> None:
    """Raise InputError, naming the file and the column, unless `found` has these columns.

    Columns of a later version may stand beside them.
    """
    _require_columns(str(where), found.names, columns)
    for field in columns:
        if (own := found.field(field.name).type) != field.type:
            raise InputError(f"{where}: column {field.name!r} is {own}, must be {field.type}")


def to_frame(columns: pa.Schema, table: pa.Table, where: Path) -> pd.DataFrame:
    """`table`, which has some of these columns, as a frame.

    Nullable integers and booleans come as pandas' own, lists as Python lists, repeated words as text, nulls among
    floats as NaN.

    Raises:
        InputError: names the file and the column that is null where that is not allowed.
    """
    schema = pa.schema([columns.field(name) for name in table.column_names])
    _require_values(str(where), table, schema)
    frame: pd.DataFrame = table.to_pandas()
    for field in schema:
        if pa.types.is_list(field.type):
            frame[field.name] = pd.Series(table[field.name].to_pylist(), dtype=object)
        elif pa.types.is_dictionary(field.type):
            frame[field.name] = table[field.name].cast(_TEXT).to_pandas()
        elif field.nullable and field.type in _NULLABLE:
            frame[field.name] = table[field.name].to_pandas(types_mapper=_NULLABLE.get)
    return frame


def _require_columns(where: str, found: list[str], schema: pa.Schema) -> None:
    if missing := [column for column in schema.names if column not in found]:
        raise InputError(f"{where}: column {missing[0]!r} is missing; found {', '.join(map(str, found)) or 'none'}")


def _require_values(where: str, table: pa.Table, schema: pa.Schema) -> None:
    for field in schema:
        if not field.nullable and (nulls := table[field.name].null_count):
            raise InputError(f"{where}: column {field.name!r} has {nulls} empty or NaN values; every row needs one")
