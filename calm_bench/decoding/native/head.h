/* The head at a fraction of its bytes, and still exactly.

   An int8 copy of the head gives every logit, each within a proven bound E of the exact one. Whatever the answer depends
   on is then computed exactly, row by row: all tokens that could be among the best; and for a softmax, whose sum is
   over all, as many more as it takes until the bounds on the confidence lie on one side of the threshold. */

#pragma once
#include "model.h"

/* n (d) as unit * (codes - CODE_OF_ZERO); returns |n - that|, for certain */
static float encode_state(const Model *m, const float *n, Code *codes, float *unit) {
    float largest = 1e-30f, squares = 0;
    for (int j = 0; j < m->d; j++) largest = fmaxf(largest, fabsf(n[j]));
    *unit = largest / 127;
    for (int j = 0; j < m->d; j++) {
        const float code = nearbyintf(n[j] / *unit), off = n[j] - code * *unit;
        codes[j] = (Code)(code + CODE_OF_ZERO);
        squares += off * off;
    }
    return 1.001f * sqrtf(squares);
}

static void find_peak(Buffers *b, int v) {
    floats top = LOAD(b->logits + v);
    for (int i = WIDTH; i < UNIT; i += WIDTH) top = larger(top, LOAD(b->logits + v + i));
    b->peaks[v / UNIT] = largest_of(top);
}

/* Logits (V) of the rounded head and state: multiplied and summed in int32, exactly, and as processors like it */
static void byte_products(const Model *m, const Code *restrict codes, float unit, float *restrict logits) {
    const int d = m->d, vocab = m->vocab;
    const int8_t *restrict row = m->preview;
    for (int v = 0; v < vocab; v++, row += d) {
        int32_t sum = 0;
        for (int j = 0; j < d; j++) sum += row[j] * codes[j];
        logits[v] = (sum - CODE_OF_ZERO * m->sums[v]) * (m->scales[v] * unit);
    }
}

/* All logits (V) of a normed state n (d); returns E. For a row w rounded to ŵ = scale * q and the state rounded to n̂,
   |w.n - ŵ.n̂| <= |w - ŵ| |n| + |ŵ| |n - n̂|. `rounding` is the largest |w - ŵ|, with room for the rounding of float32
   sums, and `reach` the largest |ŵ|. */
static float estimate(const Model *m, const float *n, Buffers *b, Text *text) {
    const int end = padded(m->vocab, UNIT);
    float unit, error = 0;
    text->heads++;
    if (m->preview) {
        error = m->rounding * sqrtf(dot(n, n, m->d)) + m->reach * encode_state(m, n, b->codes, &unit);
        byte_products(m, b->codes, unit, b->logits);
    } else
        for (int v = 0; v < m->vocab; v++) b->logits[v] = dot(n, m->head + (size_t)v * m->d, m->d);
    for (int v = m->vocab; v < end; v++) b->logits[v] = -INFINITY;
    for (int v = 0; v < end; v += UNIT) find_peak(b, v);
    return error;
}

/* Compute exactly all logits that are at least `cut` */
static void make_exact(const Model *m, const float *n, float cut, Buffers *b, Text *text) {
    for (int v = 0; v < m->vocab; v += UNIT) {
        if (b->peaks[v / UNIT] < cut) continue;
        for (int i = v; i < v + UNIT && i < m->vocab; i++)
            if (b->logits[i] >= cut) {
                b->logits[i] = dot(n, m->head + (size_t)i * m->d, m->d);
                text->rescored++;
            }
        find_peak(b, v);
    }
}

/* set[0] and set[1] become the two best tokens; of equal ones the first. What cannot be one of them is not looked at. */
static void find_two_best(const Model *m, Buffers *b) {
    const float *logits = b->logits;
    int32_t *set = b->set;
    set[0] = logits[1] > logits[0];
    set[1] = !set[0];
    for (int v = 0; v < m->vocab; v += UNIT) {
        if (v && b->peaks[v / UNIT] <= logits[set[1]]) continue;
        for (int i = v ? v : 2; i < v + UNIT && i < m->vocab; i++) {
            if (logits[i] <= logits[set[1]]) continue;
            const int ahead = logits[i] > logits[set[0]];
            set[1] = ahead ? set[0] : i;
            set[0] = ahead ? i : set[0];
        }
    }
}

/* The two best tokens of a normed state, exactly, in set[0] and set[1]; returns E, and `cut`: all logits from it on are
   exact. Two tokens lie at most E below the second estimate, so one of the two best is estimated at most 2 E below. */
static float two_best(const Model *m, const float *n, Buffers *b, Text *text, float *cut) {
    const float error = estimate(m, n, b, text);
    find_two_best(m, b);
    *cut = b->logits[b->set[1]] - 2 * error;
    if (error > 0) {
        make_exact(m, n, *cut, b, text);
        find_two_best(m, b);
    }
    return error;
}

/* The k-th largest of n numbers, n a multiple of UNIT: by halving the interval of their bits, which are ordered as they
   are once those of negative numbers are turned */
static float kth_largest(const float *numbers, int n, int k) {
    int64_t low = INT32_MIN, high = INT32_MAX; /* at least k are >= low, fewer are > high */
    while (low < high) {
        const int32_t middle = (int32_t)((low + high + 1) >> 1);
        int count = 0;
        for (int i = 0; i < n; i++) {
            int32_t bits;
            memcpy(&bits, numbers + i, sizeof bits);
            count += (bits ^ (bits >> 31 & INT32_MAX)) >= middle;
        }
        if (count >= k) low = middle;
        else high = middle - 1;
    }
    const int32_t bits = (int32_t)low ^ ((int32_t)low >> 31 & INT32_MAX);
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* set[0..k-1] become the k best tokens of a normed state, exactly, in the vocabulary's order; of equal ones the first */
static void best_set(const Model *m, const float *n, int k, Buffers *b, Text *text) {
    const int end = padded(m->vocab, UNIT);
    const float error = estimate(m, n, b, text);
    float kth = kth_largest(b->logits, end, k);
    if (error > 0) {
        make_exact(m, n, kth - 2 * error, b, text);
        kth = kth_largest(b->logits, end, k);
    }
    int above = 0, kept = 0;
    for (int v = 0; v < m->vocab; v++) above += b->logits[v] > kth;
    for (int v = 0, equal = k - above; v < m->vocab && kept < k; v++)
        if (b->logits[v] > kth || (b->logits[v] == kth && equal-- > 0)) b->set[kept++] = v;
}

/* Sums of e^(logit - top) over the first n, a multiple of UNIT: of those at least `cut`, and the others */
static void masses(const float *logits, int n, float top, float cut, float *above, float *below) {
    floats sum[2][VECTORS] = {{{0}}}, zero = {0};
    for (int v = 0; v < n; v += PANEL)
        for (int i = 0; i < VECTORS; i++) {
            const floats logit = LOAD(logits + v + i * WIDTH);
            const ints e = (ints)exponential(logit - top), over = logit >= zero + cut;
            sum[0][i] += (floats)(e & over);
            sum[1][i] += (floats)(e & ~over);
        }
    *above = sum_of(sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3]);
    *below = sum_of(sum[1][0] + sum[1][1] + sum[1][2] + sum[1][3]);
}

/* SOFTMAX p1 - p2 or MAX_PROB p1 of a normed state: on the right side of the threshold for certain, and else as exact as
   that needed. The best token is set[0]. */
static float of_probabilities(const Model *m, const float *n, int measure, double threshold, Buffers *b, Text *text) {
    float cut, above, below;
    const float error = two_best(m, n, b, text, &cut);
    const float top = b->logits[b->set[0]], second = b->logits[b->set[1]];
    const float lead = measure == SOFTMAX ? 1 - expf(second - top) : 1;
    for (float step = 2; ; step *= 2) {
        masses(b->logits, padded(m->vocab, UNIT), top, cut, &above, &below);
        const float least = lead / (above + below * expf(error)), most = lead / (above + below * expf(-error));
        if (least >= threshold || most < threshold || step > 1e6f) return lead / (above + below);
        text->narrowed += step == 2;
        cut -= step;
        make_exact(m, n, cut, b, text);
    }
}

/* ENTROPY 1 - H / log V of a normed state, all logits exact. The best token is set[0]. */
static float of_entropy(const Model *m, const float *n, Buffers *b, Text *text) {
    const int end = padded(m->vocab, UNIT);
    estimate(m, n, b, text);
    make_exact(m, n, -INFINITY, b, text);
    find_two_best(m, b);
    const float top = b->logits[b->set[0]];
    floats sum = {0}, moment = {0}; /* of e^x and x e^x, x = logit - top */
    for (int v = m->vocab; v < end; v++) b->logits[v] = top - 87;
    for (int v = 0; v < end; v += WIDTH) {
        const floats x = LOAD(b->logits + v) - top, e = exponential(x);
        sum += e;
        moment += e * x;
    }
    const float mass = sum_of(sum), entropy = logf(mass) - sum_of(moment) / mass;
    return fminf(fmaxf(1 - entropy / logf(m->vocab), 0), 1);
}

/* SOFTMAX_TOPK: p1 - p2 among the k tokens of `set` alone; `token` is the best of them */
static float of_set(const Model *m, const float *n, int k, Buffers *b, int *token) {
    float top = -INFINITY, second = -INFINITY, above, below;
    const int end = padded(k, UNIT);
    for (int i = 0; i < end; i++) {
        const float logit = b->logits[i] = i < k ? dot(n, m->head + (size_t)b->set[i] * m->d, m->d) : -INFINITY;
        if (logit > top) {
            second = top, top = logit, *token = b->set[i];
        } else if (logit > second) second = logit;
    }
    masses(b->logits, end, top, -INFINITY, &above, &below);
    return (1 - expf(second - top)) / above;
}
