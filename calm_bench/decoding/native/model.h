/* What a call is given: a model's weights, a rule, and where to write. `weights.py` and `executor.py` mirror these.

   V vocabulary, L decoder layers, H heads, d model width, a = H d_kv attention width, f feed-forward width, S source
   tokens, N positions; t a position (0..N-1), d^i the state after layer i (1..L). Each width is padded: d_kv to
   HEAD_UNIT, the others to UNIT. */

#pragma once
#include "products.h"

#define HEAD_UNIT 16

/* What a state is rounded to where bytes are its weights: bytes, if the processor multiplies and sums those at once; if
   not, numbers of two, which all of x86-64 can multiply and sum in pairs */
#if defined(__x86_64__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
typedef int16_t Code;
#define CODE_OF_ZERO 0
#else
typedef uint8_t Code;
#define CODE_OF_ZERO 128
#endif

enum { RELU, GELU };
enum { NEVER, ORACLE, STATE, SOFTMAX, MAX_PROB, ENTROPY, LEARNED, SOFTMAX_TOPK };
enum { EXIT_STATE, FIRST_STATE, PROJECTED_KV, TRUE_STATE };

typedef struct {
    Matrix qkv, out;                         /* (3 a, d), (d, a) */
    Matrix cross_query, cross_kv, cross_out; /* (a, d), (2 a, d), (d, a): the decoder's */
    Matrix wi, wo;                           /* (f or 2 f, d), (d, f) */
    const float *gain, *cross_gain, *inner_gain; /* (d) of the norms before qkv, cross_query and wi; ones if folded in */
} Layer;

typedef struct {
    const Layer *encoder, *decoder;
    const float *embedding;                   /* (V, d) */
    const float *encoder_bias, *decoder_bias; /* (H, 2 far + 1) by key - query from -far on, (H, far + 1) by distance */
    const float *head;                        /* (V, d) row by row, not in panels */
    const int8_t *preview;                    /* (V, d): the head over scales (V), rounded; or null */
    const float *scales;
    const int32_t *sums; /* (V): of the preview's rows */
    const int32_t *ends; /* tokens that end a text */
    int32_t encoder_depth, depth, d, d_model, heads, d_kv, attention, d_ff; /* d_model is d before padding */
    int32_t vocab, far, start, n_ends, activation, gated;
    int32_t kv_type, units; /* what keys and values are kept as; the most hidden units of a `Probe` */
    float epsilon, rounding, reach;                                         /* the last two: see `estimate` */
} Model;

/* A learned confidence of one layer. With rows in `hidden` (w, 2 d): sigmoid(out . GELU(hidden [n; n'] + hidden_bias) + bias)
   of the normed states n and n' after and before the layer; without: sigmoid(out . d^i + bias) of the state itself */
typedef struct {
    Matrix hidden;
    const float *hidden_bias, *out;
    float bias;
} Probe;

typedef struct {
    const double *thresholds; /* (N), decayed */
    const Probe *probes;      /* (L) of LEARNED */
    int32_t measure, first_layer, last_layer, state_copying;
    int32_t k, memory_layer, token_from_set; /* of SOFTMAX_TOPK */
    int32_t drafts; /* of a speculative rule, exits after `first_layer`; else 0 */
} Rule;

typedef struct {
    int32_t *tokens;      /* (N) */
    int16_t *exit_layers; /* (N) */
    float *confidences;   /* (N), NaN where nothing was asked */
    int64_t layers, heads, rescored, narrowed; /* run; asked for; logits computed exactly; heads that took a second look */
    int32_t broken_layer; /* where a state or confidence was NaN; its position is the text's length */
} Text;

/* Keys and values of one layer. The keys of a head are a matrix, its outputs positions: [H][positions / PANEL][d_kv][PANEL] */
typedef struct {
    float *keys, *values; /* values (positions, a) */
    int32_t room, type;   /* positions, a multiple of UNIT; FLOAT32, or BFLOAT16 to round to */
} Memory;

/* Everything that a call writes to on its way; `lay_out` says how much */
typedef struct {
    float *states, *normed, *qkv, *mixed, *inner; /* of decoder layers 0..L, or of source tokens */
    float *scores, *bias;                         /* of one head and query; of all heads by position */
    float *left;                                  /* (N, d): the normed states that skipped layers project */
    float *logits, *peaks;                        /* (V), and the largest of each UNIT of them */
    float *keys, *values;                         /* of L layers */
    Code *codes;                                  /* (d) */
    int32_t *filled, *set;                        /* (L): positions that a layer has keys for; (V): best tokens */
    int32_t *drafts;                              /* (N) */
} Buffers;
