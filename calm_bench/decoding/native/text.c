/* One text at batch 1 under one rule. `reference.py` says what this computes, and the names are its own. */

#include "head.h"
#include "layers.h"

int32_t panel_outputs(void) { return PANEL; }
int32_t reads_float16(void) { return READS_FLOAT16; }

/* The sum of n floats, a multiple of 4 vectors: what reading memory costs and nothing else */
float read_memory(const float *memory, size_t n) {
    floats sum[VECTORS] = {{0}};
    for (size_t i = 0; i < n; i += PANEL)
        for (int v = 0; v < VECTORS; v++) sum[v] += LOAD(memory + i + v * WIDTH);
    return sum_of(sum[0] + sum[1] + sum[2] + sum[3]);
}

static void *take(char **memory, size_t count) {
    void *start = *memory;
    *memory += padded(4 * count, 64);
    return start;
}

/* Lay out the buffers of a call in `memory`; returns their bytes. Rows of activations are readable up to a BLOCK. */
static size_t lay_out(const Model *m, int S, int N, char *memory, Buffers *b) {
    const char *start = memory;
    const size_t rows = (S > N ? S : N) + m->depth + 1 + BLOCK, a = m->attention, d = m->d, V = padded(m->vocab, UNIT);
    const size_t room = padded(S, UNIT) + m->depth * padded(N, UNIT);
    b->states = take(&memory, rows * d);
    b->normed = take(&memory, rows * d);
    b->qkv = take(&memory, rows * 3 * a);
    b->mixed = take(&memory, rows * a);
    b->inner = take(&memory, rows * 2 * m->d_ff + m->units);
    b->scores = take(&memory, rows + UNIT);
    b->bias = take(&memory, m->heads * (2 * rows + UNIT));
    b->left = take(&memory, rows * d);
    b->logits = take(&memory, V);
    b->peaks = take(&memory, V / UNIT);
    b->keys = take(&memory, room * a);
    b->values = take(&memory, room * a);
    b->codes = take(&memory, d);
    b->filled = take(&memory, m->depth);
    b->set = take(&memory, V);
    b->drafts = take(&memory, rows);
    return memory - start;
}

size_t buffer_bytes(const Model *m, int32_t S, int32_t N) {
    Buffers b;
    return lay_out(m, S, N, NULL, &b);
}

/* Floats of `positions` keys, and of as many values, in one layer */
size_t memory_floats(const Model *m, int32_t positions) { return padded(positions, UNIT) * m->attention; }

/* Keys and values of layer 1..L, from those of all layers for `positions` */
static Memory of_layer(const Model *m, float *keys, float *values, int positions, int layer) {
    const size_t skip = (layer - 1) * memory_floats(m, positions);
    return (Memory){keys + skip, values + skip, padded(positions, UNIT), m->kv_type};
}

/* Cross-attention keys and values (L, memory_floats(S)) of a source (S) */
void encode(const Model *m, const int32_t *source, int32_t S, char *memory, float *keys, float *values) {
    Buffers b;
    lay_out(m, S, 1, memory, &b);
    memset(b.mixed, 0, 4 * S * (size_t)m->attention); /* what pads the heads stays zero */
    for (int i = 0; i < S; i++) memcpy(b.states + (size_t)i * m->d, m->embedding + (size_t)source[i] * m->d, 4 * m->d);
    for (int head = 0; head < m->heads; head++)
        for (int i = 0; i < 2 * S - 1; i++) {
            const int distance = i - (S - 1), near = distance < -m->far ? -m->far : distance > m->far ? m->far : distance;
            b.bias[head * (2 * S + UNIT) + i] = m->encoder_bias[head * (2 * m->far + 1) + m->far + near];
        }
    for (int layer = 0; layer < m->encoder_depth; layer++) encoder_layer(m, m->encoder + layer, b.states, S, &b);
    rms_norm(m, b.states, b.normed, S);
    for (int layer = 1; layer <= m->depth; layer++) {
        const Memory cross = of_layer(m, keys, values, S, layer);
        product(&m->decoder[layer - 1].cross_kv, b.normed, m->d, b.qkv, 2 * m->attention, S, SET); /* (S, 2 a) */
        remember(m, b.qkv, 2 * m->attention, S, &cross, 0);
    }
}

/* The token that a state predicts */
static int token_of(const Model *m, const float *state, Buffers *b, Text *text) {
    float cut;
    rms_norm(m, state, b->normed, 1);
    two_best(m, b->normed, b, text, &cut);
    return b->set[0];
}

static float learned(const Model *m, const Probe *p, const float *state, Buffers *b) {
    float logit = p->bias;
    if (p->hidden.rows) {
        rms_norm(m, state, b->normed, 1);
        rms_norm(m, state - m->d, b->normed + m->d, 1);
        product(&p->hidden, b->normed, 0, b->inner, 0, 1, SET); /* (w) */
        for (int j = 0; j < p->hidden.rows; j += WIDTH)
            STORE(b->inner + j, gelu(LOAD(b->inner + j) + LOAD(p->hidden_bias + j)));
        logit += dot(p->out, b->inner, p->hidden.rows);
    } else
        logit += dot(p->out, state, m->d);
    return 1 / (1 + expf(-logit));
}

static float cosine(const float *x, const float *y, int d) {
    return dot(x, y, d) / (fmaxf(sqrtf(dot(x, x, d)), 1e-8f) * fmaxf(sqrtf(dot(y, y, d)), 1e-8f));
}

/* The rule's confidence after a layer; `token` becomes the predicted one where the measure has found it anyway */
static float ask(const Model *m, const Rule *rule, int layer, int t, Buffers *b, Text *text, int *token) {
    const float *state = b->states + (size_t)layer * m->d;
    float confidence;
    int best = -1;
    if (rule->measure == STATE) return cosine(state, state - m->d, m->d);
    if (rule->measure == LEARNED) return learned(m, rule->probes + layer - 1, state, b);
    rms_norm(m, state, b->normed, 1);
    if (rule->measure == SOFTMAX_TOPK) {
        confidence = of_set(m, b->normed, rule->k, b, &best);
        if (rule->token_from_set) *token = best;
        return confidence;
    }
    confidence = rule->measure == ENTROPY ? of_entropy(m, b->normed, b, text)
                                          : of_probabilities(m, b->normed, rule->measure, rule->thresholds[t], b, text);
    *token = b->set[0];
    return confidence;
}

/* The first layer whose token is the last layer's: the local oracle */
static int earliest_agreeing_layer(const Model *m, Buffers *b, Text *text, int *token) {
    *token = token_of(m, b->states + (size_t)m->depth * m->d, b, text);
    int layer = 1;
    while (layer < m->depth && token_of(m, b->states + (size_t)layer * m->d, b, text) != *token) layer++;
    return layer;
}

/* State copying: what the layers above `exit_layer` have as position t's keys and values (`state_copying.source`) */
static void copy_state(const Model *m, int kind, int exit_layer, int t, int N, Buffers *b) {
    if (kind == TRUE_STATE || exit_layer == m->depth) return; /* all layers have written their own */
    rms_norm(m, b->states + (size_t)(kind == FIRST_STATE ? 1 : exit_layer) * m->d, b->left + (size_t)t * m->d, 1);
    const Memory from = of_layer(m, b->keys, b->values, N, exit_layer);
    for (int layer = exit_layer + 1; layer <= m->depth; layer++) {
        const Memory to = of_layer(m, b->keys, b->values, N, layer);
        int32_t *filled = b->filled + layer - 1;
        if (kind != PROJECTED_KV) { /* deferred: see `decoder_layer` */
            *filled = *filled < t ? *filled : t;
            continue;
        }
        for (int head = 0; head < m->heads; head++)
            for (int j = 0; j < m->d_kv; j++) {
                const size_t key = key_at(m, &from, head, t) + (size_t)j * PANEL;
                to.keys[key] = from.keys[key];
            }
        memcpy(to.values + (size_t)t * m->attention, from.values + (size_t)t * m->attention, 4 * m->attention);
        *filled = t + 1;
    }
}

/* Whether a state after a layer is NaN, which the text then says */
static int broken(const Model *m, const float *state, int layer, Text *text) {
    const int is_nan = isnan(dot(state, state, m->d));
    if (is_nan) text->broken_layer = layer;
    return is_nan;
}

/* x (n, d), the states of the positions from t on, to those after a layer of the decoder */
static void run_layer(const Model *m, int layer, float *keys, float *values, int S, float *x, int n, int t, int N, Buffers *b,
                      Text *text) {
    const Memory past = of_layer(m, b->keys, b->values, N, layer), cross = of_layer(m, keys, values, S, layer);
    decoder_layer(m, m->decoder + layer - 1, x, n, t, N, &past, b->filled + layer - 1, &cross, S, b);
    text->layers++;
}

/* Run layers until the rule leaves, or all of them where it wants the true state; returns the exit layer, 0 for NaN */
static int run_layers(const Model *m, const Rule *rule, float *keys, float *values, int S, int t, int N, Buffers *b,
                      Text *text, int *token) {
    const int to_the_end = rule->state_copying == TRUE_STATE;
    int exit_layer = 0;
    for (int layer = 1; layer <= m->depth && (!exit_layer || to_the_end); layer++) {
        float *state = b->states + (size_t)layer * m->d, confidence;
        memcpy(state, state - m->d, 4 * m->d);
        run_layer(m, layer, keys, values, S, state, 1, t, N, b, text);
        if (exit_layer) continue;
        if (layer == rule->last_layer) {
            exit_layer = layer;
            continue;
        }
        if (layer == rule->memory_layer) {
            rms_norm(m, state, b->normed, 1);
            best_set(m, b->normed, rule->k, b, text);
        }
        if (layer < rule->first_layer) continue;
        confidence = ask(m, rule, layer, t, b, text, token);
        if (isnan(confidence) || broken(m, state, layer, text)) {
            text->broken_layer = layer;
            return 0;
        }
        if (confidence >= rule->thresholds[t]) {
            exit_layer = layer;
            text->confidences[t] = confidence;
        } else *token = -1;
    }
    return exit_layer;
}

static int ends(const Model *m, int token) {
    for (int i = 0; i < m->n_ends; i++)
        if (token == m->ends[i]) return 1;
    return 0;
}

/* A text token by token, each through layers until the rule leaves; returns the number of tokens */
static int write_by_exits(const Model *m, const Rule *rule, float *keys, float *values, int S, int N, Buffers *b, Text *text) {
    for (int t = 0, previous = m->start; t < N; t++) {
        int token = -1;
        memcpy(b->states, m->embedding + (size_t)previous * m->d, 4 * m->d);
        int exit_layer = run_layers(m, rule, keys, values, S, t, N, b, text, &token);
        if (!exit_layer) return t;
        if (rule->measure == ORACLE) exit_layer = earliest_agreeing_layer(m, b, text, &token);
        const float *state = b->states + (size_t)exit_layer * m->d;
        if (broken(m, state, exit_layer, text)) return t;
        if (token < 0) token = token_of(m, state, b, text);
        copy_state(m, rule->state_copying, exit_layer, t, N, b);
        text->tokens[t] = previous = token;
        text->exit_layers[t] = exit_layer;
        if (ends(m, token)) return t + 1;
    }
    return N;
}

/* The full model's text, drafted by exits after the rule's first layer (`speculative.py`): that layer and those below run
   one position at a time, those above over all drafts at once; returns the number of tokens */
static int write_by_drafts(const Model *m, const Rule *rule, float *keys, float *values, int S, int N, Buffers *b, Text *text) {
    const int draft_layer = rule->first_layer;
    for (int t = 0, sure = m->start; t < N;) { /* `sure` is the last token that is the full model's, read at position t */
        const int rows = rule->drafts + 1 < N - t ? rule->drafts + 1 : N - t;
        for (int i = 0; i < rows; i++) { /* row i reads the draft of row i - 1 */
            float *state = b->states + (size_t)i * m->d;
            memcpy(state, m->embedding + (size_t)(i ? b->drafts[i - 1] : sure) * m->d, 4 * m->d);
            for (int layer = 1; layer <= draft_layer; layer++)
                run_layer(m, layer, keys, values, S, state, 1, t + i, N, b, text);
            if (broken(m, state, draft_layer, text)) return t + i;
            b->drafts[i] = i < rule->drafts ? token_of(m, state, b, text) : -1;
        }
        for (int layer = draft_layer + 1; layer <= m->depth; layer++)
            run_layer(m, layer, keys, values, S, b->states, rows, t, N, b, text);
        for (int i = 0, kept = 1; i < rows && kept; i++, t++) {
            const float *state = b->states + (size_t)i * m->d;
            if (broken(m, state, m->depth, text)) return t;
            text->tokens[t] = sure = token_of(m, state, b, text);
            kept = sure == b->drafts[i];
            text->exit_layers[t] = kept ? draft_layer : m->depth;
            if (ends(m, sure)) return t + 1;
        }
    }
    return N;
}

/* Decode a source that `encode` has seen; returns the number of tokens, at most N */
int32_t decode(const Model *m, const Rule *rule, float *keys, float *values, int32_t S, int32_t N, char *memory, Text *text) {
    Buffers b;
    lay_out(m, S, N, memory, &b);
    memset(b.filled, 0, 4 * m->depth);
    memset(b.mixed, 0, 4 * (size_t)m->attention * ((rule->drafts < N ? rule->drafts : N) + 1)); /* pads heads with zeros */
    for (int head = 0; head < m->heads; head++)
        for (int i = 0; i < N; i++) {
            const int distance = N - 1 - i < m->far ? N - 1 - i : m->far;
            b.bias[head * (N + UNIT) + i] = m->decoder_bias[head * (m->far + 1) + distance];
        }
    for (int t = 0; t < N; t++) text->confidences[t] = NAN;
    return (rule->drafts ? write_by_drafts : write_by_exits)(m, rule, keys, values, S, N, &b, text);
}
