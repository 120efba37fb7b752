"""The structures of `model.h`, field by field, and the functions of `text.c`."""

from __future__ import annotations

from ctypes import CDLL, POINTER, Structure, c_float, c_int32, c_int64, c_size_t, c_void_p


class Matrix(Structure):
    _fields_ = [("weights", c_void_p), ("scales", c_void_p), ("rows", c_int32), ("columns", c_int32), ("type", c_int32)]


class Layer(Structure):
    MATRICES = ("qkv", "out", "cross_query", "cross_kv", "cross_out", "wi", "wo")
    GAINS = ("gain", "cross_gain", "inner_gain")
    _fields_ = [*((name, Matrix) for name in MATRICES), *((name, c_void_p) for name in GAINS)]


class Model(Structure):
    _fields_ = [
        ("encoder", POINTER(Layer)),
        ("decoder", POINTER(Layer)),
        *(
            (name, c_void_p)
            for name in ("embedding", "encoder_bias", "decoder_bias", "head", "preview", "scales", "sums", "ends")
        ),
        *((name, c_int32) for name in ("encoder_depth", "depth", "d", "d_model", "heads", "d_kv", "attention", "d_ff")),
        *((name, c_int32) for name in ("vocab", "far", "start", "n_ends", "activation", "gated", "kv_type", "units")),
        *((name, c_float) for name in ("epsilon", "rounding", "reach")),
    ]


class Probe(Structure):
    _fields_ = [("hidden", Matrix), ("hidden_bias", c_void_p), ("out", c_void_p), ("bias", c_float)]


class CRule(Structure):
    _fields_ = [
        ("thresholds", c_void_p),
        ("probes", POINTER(Probe)),
        *((name, c_int32) for name in ("measure", "first_layer", "last_layer", "state_copying")),
        *((name, c_int32) for name in ("k", "memory_layer", "token_from_set", "drafts")),
    ]


class Text(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("tokens", "exit_layers", "confidences")),
        *((name, c_int64) for name in ("layers", "heads", "rescored", "narrowed")),
        ("broken_layer", c_int32),
    ]


def declare(library: CDLL) -> None:
    """Tell ctypes what the functions take and give."""
    model, number, memory = POINTER(Model), c_int32, c_void_p
    signatures: dict[str, tuple[type, list[type]]] = {
        "panel_outputs": (c_int32, []),
        "reads_float16": (c_int32, []),
        "buffer_bytes": (c_size_t, [model, number, number]),
        "memory_floats": (c_size_t, [model, number]),
        "read_memory": (c_float, [memory, c_size_t]),
        "encode": (c_int32, [model, memory, number, memory, memory, memory]),
        "decode": (c_int32, [model, POINTER(CRule), memory, memory, number, number, memory, POINTER(Text)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
