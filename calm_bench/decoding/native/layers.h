/* What a layer does, in the encoder and in the decoder. The gains of the norms behind the last layer of each are folded
   into the matrix that follows. */

#pragma once
#include "model.h"

/* y (n, d) = x over its root mean square */
static void rms_norm(const Model *m, const float *x, float *y, int n) {
    for (int i = 0; i < n; i++, x += m->d, y += m->d) {
        const float scale = 1.0f / sqrtf(dot(x, x, m->d) / m->d_model + m->epsilon);
        for (int j = 0; j < m->d; j += WIDTH) STORE(y + j, LOAD(x + j) * scale);
    }
}

/* y (n, d) = x times a gain (d); x may be y */
static void scale(const Model *m, const float *x, const float *gain, float *y, int n) {
    for (int i = 0; i < n; i++, x += m->d, y += m->d)
        for (int j = 0; j < m->d; j += WIDTH) STORE(y + j, LOAD(x + j) * LOAD(gain + j));
}

static void norm(const Model *m, const float *x, const float *gain, float *y, int n) {
    rms_norm(m, x, y, n);
    scale(m, y, gain, y, n);
}

/* scores (length) to weights that sum to 1; they are readable and writable up to a whole vector */
static void softmax(float *scores, int length) {
    const int end = padded(length, WIDTH);
    for (int i = length; i < end; i++) scores[i] = -INFINITY;
    floats top = LOAD(scores), sum = {0};
    for (int i = WIDTH; i < end; i += WIDTH) top = larger(top, LOAD(scores + i));
    const float best = largest_of(top);
    for (int i = 0; i < end; i += WIDTH) STORE(scores + i, exponential(LOAD(scores + i) - best));
    for (int i = length; i < end; i++) scores[i] = 0;
    for (int i = 0; i < end; i += WIDTH) sum += LOAD(scores + i);
    const float scale = 1.0f / sum_of(sum);
    for (int i = 0; i < end; i += WIDTH) STORE(scores + i, LOAD(scores + i) * scale);
}

/* out (n vectors) = weights (length) times values (length, n vectors) */
INLINE void mix(int n, const float *weights, const float *values, int stride, int length, float *out) {
    floats sum[VECTORS] = {{0}};
    for (int i = 0; i < length; i++)
        for (int v = 0; v < n; v++) sum[v] += LOAD(values + (size_t)i * stride + v * WIDTH) * weights[i];
    for (int v = 0; v < n; v++) STORE(out + v * WIDTH, sum[v]);
}

/* One head of one query (a): its part of out (a), from the first `length` positions of a memory. T5 does not scale by
   the square root of d_kv. bias (length, readable up to UNIT more) or null */
static void attend(const Model *m, int head, const float *query, const Memory *past, int length, const float *bias,
                   float *scores, float *out) {
    const int at = head * m->d_kv, end = padded(length, PANEL);
    const Matrix keys = {past->keys + (size_t)at * past->room, NULL, end, m->d_kv, FLOAT32};
    if (bias) memcpy(scores, bias, sizeof(float) * end);
    product(&keys, query + at, 0, scores, 0, 1, bias ? ADD : SET); /* (length) */
    softmax(scores, length);
    const float *values = past->values + at;
    int j = 0; /* (d_kv) */
    for (; j + PANEL <= m->d_kv; j += PANEL) mix(VECTORS, scores, values + j, m->attention, length, out + at + j);
    for (; j + 2 * WIDTH <= m->d_kv; j += 2 * WIDTH) mix(2, scores, values + j, m->attention, length, out + at + j);
    for (; j < m->d_kv; j += WIDTH) mix(1, scores, values + j, m->attention, length, out + at + j);
}

/* Where the keys of position t begin among those of a head; they lie PANEL apart */
static inline size_t key_at(const Model *m, const Memory *past, int head, int t) {
    return (size_t)head * m->d_kv * past->room + (size_t)(t / PANEL) * m->d_kv * PANEL + t % PANEL;
}

static inline float kept_as(int type, float x) {
    if (type != BFLOAT16) return x;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u; /* to nearest, ties to even */
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Write keys and values (n, 2 a), `stride` from row to row, as positions t, t + 1, ... of a memory */
static void remember(const Model *m, const float *kv, int stride, int n, const Memory *past, int t) {
    for (int i = 0; i < n; i++, t++, kv += stride) {
        for (int head = 0; head < m->heads; head++) {
            float *key = past->keys + key_at(m, past, head, t);
            for (int j = 0; j < m->d_kv; j++) key[j * PANEL] = kept_as(past->type, kv[head * m->d_kv + j]);
        }
        for (int j = 0; j < m->attention; j++)
            past->values[(size_t)t * m->attention + j] = kept_as(past->type, kv[m->attention + j]);
    }
}

static inline floats gelu(floats x) { /* the tanh form: x (1 + tanh u) / 2 is x / (1 + e^(-2u)) */
    return x / (1.0f + exponential(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
}

/* x (n, d) += wo act(wi norm(x)), or with a gate wo (act(wi_0 norm(x)) * wi_1 norm(x)) */
static void feed_forward(const Model *m, const Layer *w, float *x, int n, const Buffers *b) {
    const int inner = w->wi.rows;
    norm(m, x, w->inner_gain, b->normed, n);
    product(&w->wi, b->normed, m->d, b->inner, inner, n, SET); /* (n, f or 2 f) */
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m->d_ff; j += WIDTH) {
            float *left = b->inner + (size_t)i * inner + j;
            floats h = LOAD(left);
            h = m->activation == GELU ? gelu(h) : larger(h, (floats){0});
            if (m->gated) h *= LOAD(left + m->d_ff);
            STORE(left, h);
        }
    product(&w->wo, b->inner, inner, x, m->d, n, ADD); /* (n, d) */
}

/* x (S, d) after an encoder layer; bias (H, 2 S + UNIT) by key - query + S - 1 */
static void encoder_layer(const Model *m, const Layer *w, float *x, int S, const Buffers *b) {
    const int a = m->attention;
    const Memory here = {b->keys, b->values, padded(S, UNIT), FLOAT32};
    norm(m, x, w->gain, b->normed, S);
    product(&w->qkv, b->normed, m->d, b->qkv, 3 * a, S, SET); /* (S, 3 a) */
    remember(m, b->qkv + a, 3 * a, S, &here, 0);
    for (int head = 0; head < m->heads; head++)
        for (int i = 0; i < S; i++)
            attend(m, head, b->qkv + (size_t)i * 3 * a, &here, S, b->bias + head * (2 * S + UNIT) + S - 1 - i, b->scores,
                   b->mixed + (size_t)i * a);
    product(&w->out, b->mixed, a, x, m->d, S, ADD); /* (S, d) */
    feed_forward(m, w, x, S, b);
}

/* x (n, d) = d^(i-1) to d^i at the positions from t on, in place, each attending to those up to its own; `past` and `cross`
   are the layer's, bias (H, N + UNIT) by N - 1 - distance. Positions that have skipped the layer wait until it is reached:
   then all their keys and values are one product. */
static void decoder_layer(const Model *m, const Layer *w, float *x, int n, int t, int N, const Memory *past,
                          int32_t *filled, const Memory *cross, int S, const Buffers *b) {
    const int a = m->attention, waiting = t - *filled;
    if (waiting > 0) {
        const Matrix kv = rows_from(w->qkv, a);
        scale(m, b->left + (size_t)*filled * m->d, w->gain, b->normed, waiting);
        product(&kv, b->normed, m->d, b->qkv, 2 * a, waiting, SET); /* (waiting, 2 a) */
        remember(m, b->qkv, 2 * a, waiting, past, *filled);
    }
    norm(m, x, w->gain, b->normed, n);
    product(&w->qkv, b->normed, m->d, b->qkv, 3 * a, n, SET); /* (n, 3 a) */
    remember(m, b->qkv + a, 3 * a, n, past, t);
    *filled = t + n;
    for (int head = 0; head < m->heads; head++)
        for (int i = 0; i < n; i++)
            attend(m, head, b->qkv + (size_t)i * 3 * a, past, t + i + 1, b->bias + head * (N + UNIT) + N - 1 - t - i,
                   b->scores, b->mixed + (size_t)i * a);
    product(&w->out, b->mixed, a, x, m->d, n, ADD); /* (n, d) */
    norm(m, x, w->cross_gain, b->normed, n);
    product(&w->cross_query, b->normed, m->d, b->qkv, a, n, SET); /* (n, a) */
    for (int head = 0; head < m->heads; head++)
        for (int i = 0; i < n; i++)
            attend(m, head, b->qkv + (size_t)i * a, cross, S, NULL, b->scores, b->mixed + (size_t)i * a);
    product(&w->cross_out, b->mixed, a, x, m->d, n, ADD); /* (n, d) */
    feed_forward(m, w, x, n, b);
}
