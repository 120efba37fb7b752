"""The columns of every table of a run: the contract between a run and its analysis.

A rule and an example are described once, in `rules` and `examples`; the other tables name them by number. A column
holds no null (and so no NaN) unless it is declared `null`. Layers count from 1.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from calm_bench.errors import InputError

SCHEMA_VERSION = 3

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_WORDS = pa.dictionary(pa.int32(), pa.string())  # few distinct texts, each stored once
_INT16, _INT32, _INT64 = pa.int16(), pa.int32(), pa.int64()
_FLOAT32, _FLOAT64 = pa.float32(), pa.float64()


def _column(name: str, dtype: pa.DataType, null: bool = False) -> pa.Field:
    return pa.field(name, dtype, nullable=null)


# One row per rule: all that decides an exit.
RULES = pa.schema(
    [
        _column("rule", _INT32),  # its number, from 0
        _column("name", _TEXT),  # for people, e.g. full, static@3, softmax@0.6; no two rules share one
        _column("kind", _TEXT),  # full, oracle, static or adaptive
        _column("measure", _TEXT, null=True),  # the confidence measure that an adaptive rule asks
        _column("threshold", _FLOAT64, null=True),  # λ before its decay, of an adaptive rule
        _column("decay", _TEXT),  # how λ falls over a text, e.g. additive(tau=4), or none
        _column("first_layer", _INT16),  # the first at which a token may leave
        _column("last_layer", _INT16),  # the last that runs; of a static rule the layer at which every token leaves
        _column("state_copying", _TEXT),  # what skipped layers are given
    ]
)

# One row per example.
EXAMPLES = pa.schema(
    [
        _column("example", _INT32),  # its number, from 0
        _column("id", _TEXT),  # the task's name of it
        _column("split", _TEXT),  # train, validation or test
        _column("cluster", _TEXT, null=True),  # what it shares with other examples, e.g. its document
        _column("source", _TEXT),  # what the encoder read, prompt included
        _column("references", _TEXTS),  # every accepted answer
        _column("n_source_tokens", _INT32),  # that the encoder read, the end of the sequence included
        _column("n_target_tokens", _INT32),  # of the first reference, not cut, the end of the sequence included
    ]
)

# One row per example and rule.
GENERATIONS = pa.schema(
    [
        _column("example", _INT32),  # as in examples
        _column("rule", _INT32),  # as in rules
        _column("prediction", _TEXT),  # what the decoder wrote
        _column("n_tokens", _INT32),  # generated tokens, the end of the sequence included
        _column("mean_exit_layer", _FLOAT64),  # over the tokens of this text
        _column("score", _FLOAT64),  # similarity to the references, in [0, 1]
        _column("textual_loss", _FLOAT64),  # 1 - similarity to the full model's text, in [0, 1]
        _column("risk_loss", _FLOAT64),  # what was lost against the references, max(0, full - early), in [0, 1]
        _column("flops", _FLOAT64),  # of the decoder for this text, true count for T5
        _column("flops_elbayad", _FLOAT64),  # the same by the formula of Elbayad et al., as in the paper
    ]
)

# One row per generated token of every example and rule.
TOKENS = pa.schema(
    [
        _column("example", _INT32),  # as in examples
        _column("rule", _INT32),  # as in rules
        _column("position", _INT32),  # in the text, from 0
        _column("token_id", _INT32),  # in the model's vocabulary
        _column("piece", _WORDS, null=True),  # its text, as the tokenizer writes it
        _column("exit_layer", _INT16),  # the last layer that ran, 1..L
        _column("confidence", _FLOAT32, null=True),  # at the exit layer; null at layer L and in the baselines
    ]
)

# One row per rule, exit layer and position: the tokens counted.
EXITS = pa.schema(
    [
        _column("rule", _INT32),  # as in rules
        _column("layer", _INT16),  # exit layer, 1..L
        _column("position", _INT32),  # in the text, from 0
        _column("count", _INT64),  # tokens
        _column("confidence_sum", _FLOAT64, null=True),  # over these tokens; null where none has a confidence
    ]
)

# One row per rule.
FRONTIER = pa.schema(
    [
        _column("rule", _INT32),  # as in rules
        _column("n", _INT32),  # examples
        _column("score", _FLOAT64),  # the task's quality metric over all examples, 0..100
        _column("score_low", _FLOAT64),  # 95% interval, bootstrap over examples
        _column("score_high", _FLOAT64),
        _column("mean_exit_layer", _FLOAT64),  # over all tokens
        _column("mean_exit_layer_low", _FLOAT64),  # 95% interval, bootstrap over examples
        _column("mean_exit_layer_high", _FLOAT64),
        _column("flops_reduction", _FLOAT64),  # full / early per token, formula of Elbayad et al.
        _column("flops_reduction_t5", _FLOAT64),  # full / early per token, true count for T5
        _column("textual_loss", _FLOAT64),  # mean over examples
        _column("risk_loss", _FLOAT64),  # mean over examples
        _column("seconds", _FLOAT64, null=True),  # per text at batch 1; null where the rule was not timed
        _column("speedup", _FLOAT64, null=True),  # full / early seconds, timed side by side
        _column("speedup_low", _FLOAT64, null=True),  # 95% interval, bootstrap over examples
        _column("speedup_high", _FLOAT64, null=True),
    ]
)

# One row per objective, δ, measure, method and trial.
CERTIFICATES = pa.schema(
    [
        _column("objective", _TEXT),  # textual or risk
        _column("delta", _FLOAT64),  # tolerance on the mean loss, in (0, 1)
        _column("epsilon", _FLOAT64),  # probability with which the promise may fail, in (0, 1)
        _column("measure", _TEXT),  # the confidence measure
        _column("method", _TEXT),  # ltt, or a method to compare it with
        _column("guarantee", _TEXT),  # of the method: a probability (1 - ε), an expectation, or none
        _column("trial", _INT32, null=True),  # from 0; null: certified on all examples, nothing held out
        _column("n_calibration", _INT32),  # examples that the test read
        _column("rule", _INT32),  # the certified one; the full model where no threshold was accepted
        _column("p_value", _FLOAT64, null=True),  # of the certified λ
        _column("test_loss", _FLOAT64, null=True),  # mean loss on the held-out examples
        _column("test_score", _FLOAT64, null=True),  # quality metric on the held-out examples, 0..100
        _column("mean_exit_layer", _FLOAT64),  # of the certified rule; held-out examples in a trial, else all
        _column("flops_reduction", _FLOAT64),  # of the certified rule, formula of Elbayad et al.
    ]
)

# One row per timed generation.
TIMINGS = pa.schema(
    [
        _column("arm", _TEXT),  # rule: our decoder under one rule; generate: transformers; grid, one_by_one: a grid
        _column("rule", _INT32, null=True),  # what was decoded, as in rules; null for a grid
        _column("measure", _TEXT, null=True),  # whose grid
        _column("executor", _TEXT),  # what ran it: a name in decoding/executor.py, or transformers
        _column("example", _INT32),  # as in examples; of a batch the first
        _column("repeat", _INT16),  # from 0
        _column("order", _INT32),  # when it ran, from 0 over all arms
        _column("seconds", _FLOAT64),  # wall clock of encoder and decoder
        _column("encoder_seconds", _FLOAT64),  # the encoder's part of it
        _column("n_tokens", _INT32),  # as in generations
        _column("mean_exit_layer", _FLOAT64),  # over the tokens of this text
    ]
)

# What a probe (calm_bench/probes) has answered; a run has the tables of the probes that it was asked for. Intervals are
# 95%, bootstrap over examples.

# One row per measure, layer below L and bin of confidences.
RELIABILITY = pa.schema(
    [
        _column("measure", _TEXT),  # a confidence measure
        _column("layer", _INT16),  # 1..L-1
        _column("bin", _INT16),  # from 0, confidences rising; bins of a layer are of nearly equal size
        _column("n_tokens", _INT32),  # of the full model's texts
        _column("confidence", _FLOAT64),  # mean of the bin
        _column("agreement", _FLOAT64),  # share of the bin's tokens that are the full model's
        _column("agreement_low", _FLOAT64),
        _column("agreement_high", _FLOAT64),
    ]
)

# One row per kind of wrong token and step.
PERTURBATION = pa.schema(
    [
        _column("kind", _TEXT),  # sampled: the last layer's tenth-ranked token; layer: the first layer's prediction
        _column("step", _INT32),  # where it stands, from 0
        _column("n", _INT32),  # texts longer than that
        _column("changed", _FLOAT64),  # share of them in which the token is not the full model's
        _column("score", _FLOAT64),  # similarity to the references with the wrong token, in [0, 1]
        _column("score_low", _FLOAT64),
        _column("score_high", _FLOAT64),
        _column("score_full", _FLOAT64),  # the same texts without it
        _column("score_full_low", _FLOAT64),
        _column("score_full_high", _FLOAT64),
        _column("similarity", _FLOAT64),  # to the full model's text, in [0, 1]
        _column("similarity_low", _FLOAT64),
        _column("similarity_high", _FLOAT64),
    ]
)

# One row per layer below L.
CLASSIFIER_F1 = pa.schema(
    [
        _column("layer", _INT16),  # 1..L-1
        _column("n", _INT32),  # examples
        _column("n_tokens", _INT32),  # of their targets
        _column("disagree", _FLOAT64),  # share of tokens at which the layer's prediction is not the last layer's
        _column("f1", _FLOAT64, null=True),  # of "do not exit" at a cut of 0.5; null where no token is of that class
        _column("f1_low", _FLOAT64, null=True),
        _column("f1_high", _FLOAT64, null=True),
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
    "reliability": RELIABILITY,
    "perturbation": PERTURBATION,
    "classifier_f1": CLASSIFIER_F1,
}


def to_table(name: str, frame: pd.DataFrame | pa.Table) -> pa.Table:
    """`frame` as the table called `name`, in the schema's column order and types.

    Raises:
        InputError: a column is missing, unknown, of another type, or holds nulls or NaN where none is allowed.
    """
    schema = SCHEMAS[name]
    found = list(frame.columns) if isinstance(frame, pd.DataFrame) else frame.column_names
    if unknown := sorted(set(found) - set(schema.names)):
        raise InputError(f"{name}: unknown column {unknown[0]!r}; the columns are {', '.join(schema.names)}")
    _require_columns(name, found, schema)
    columns = []
    for field in schema:
        values = frame[field.name]
        try:
            whole = isinstance(values, pd.Series)
            columns.append(pa.Array.from_pandas(values, type=field.type) if whole else values.cast(field.type))
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{name}: column {field.name!r} must be {field.type}: {reason}") from error
    table = pa.Table.from_arrays(columns, schema=schema)
    _require_values(name, table, schema)
    return table


def check(name: str, found: pa.Schema, where: Path) -> None:
    """Raise InputError, naming the file and the column, unless `found` has the columns of the table called `name`.

    Columns of a later version may stand beside them.
    """
    _require_columns(str(where), found.names, SCHEMAS[name])
    for field in SCHEMAS[name]:
        if (own := found.field(field.name).type) != field.type:
            raise InputError(f"{where}: column {field.name!r} is {own}, must be {field.type}")


def to_frame(name: str, table: pa.Table, where: Path) -> pd.DataFrame:
    """`table`, some of the columns of the table called `name`, as a frame.

    Nullable integers come as pandas Int32, lists as Python lists, repeated words as text, nulls among floats as NaN.

    Raises:
        InputError: names the file and the column that is null where that is not allowed.
    """
    schema = pa.schema([SCHEMAS[name].field(column) for column in table.column_names])
    _require_values(str(where), table, schema)
    frame: pd.DataFrame = table.to_pandas()
    for field in schema:
        if pa.types.is_list(field.type):
            frame[field.name] = pd.Series(table[field.name].to_pylist(), dtype=object)
        elif pa.types.is_dictionary(field.type):
            frame[field.name] = table[field.name].cast(_TEXT).to_pandas()
        elif field.nullable and pa.types.is_integer(field.type):
            frame[field.name] = table[field.name].to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)
    return frame


def _require_columns(where: str, found: list[str], schema: pa.Schema) -> None:
    if missing := [column for column in schema.names if column not in found]:
        raise InputError(f"{where}: column {missing[0]!r} is missing; found {', '.join(map(str, found)) or 'none'}")


def _require_values(where: str, table: pa.Table, schema: pa.Schema) -> None:
    for field in schema:
        if not field.nullable and (nulls := table[field.name].null_count):
            raise InputError(f"{where}: column {field.name!r} has {nulls} empty or NaN values; every row needs one")
