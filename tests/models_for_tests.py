"""Small random models that decoding tests share."""

import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from calm_bench.models import EarlyExitT5, ExitClassifier
from calm_bench.models.mlp_classifier import MlpClassifier

VOCAB = 120


def random_t5(
    seed: int = 0,
    *,
    encoder: int = 2,
    depth: int = 4,
    gated: bool = True,
    mt5: bool = False,
    d_model: int = 32,
    dropout: float = 0.1,
    vocab: int = VOCAB,
    activation: str = "",
) -> EarlyExitT5:
    """A T5 with weights far from their small initial values, so that layers disagree and texts differ.

    `gated` False gives the v1.0 shape: ReLU, and a head tied to the embedding and scaled. Another `activation` than
    the shape's own goes by transformers' name.
    """
    torch.manual_seed(seed)
    config = (MT5Config if mt5 else T5Config)(
        vocab_size=vocab,
        d_model=d_model,
        d_kv=8,
        d_ff=48,
        num_heads=4,
        num_layers=encoder,
        num_decoder_layers=depth,
        feed_forward_proj="gated-gelu" if gated else "relu",
        tie_word_embeddings=not gated,
        decoder_start_token_id=0,
        dropout_rate=dropout,
    )
    config.dense_act_fn = activation or config.dense_act_fn
    backbone = (MT5ForConditionalGeneration if mt5 else T5ForConditionalGeneration)(config).eval()
    if gated:
        backbone.lm_head.weight = torch.nn.Parameter(torch.randn(vocab, d_model) * d_model**-0.5)
    for parameter in backbone.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    learned = {
        "classifier": ExitClassifier(d_model).eval(),
        "mlp_classifier": MlpClassifier(d_model, depth, 256).eval(),
    }
    return EarlyExitT5(backbone, None, learned)  # type: ignore[arg-type]  # token ids in, token ids out


def random_sources(seed: int, count: int, longest: int = 12) -> list[list[int]]:
    """Token ids of `count` sources of 1 to `longest` tokens, end-of-sequence last."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest, (count,), generator=generator).tolist()
    return [[*torch.randint(2, VOCAB, (length,), generator=generator).tolist(), 1] for length in lengths]
