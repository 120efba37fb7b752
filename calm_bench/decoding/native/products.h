/* Vectors as wide as the machine's, and products with packed weights.

   At batch 1 a token reads every weight once, so a product is as fast as its weights can be read. They lie in panels of
   PANEL outputs, so that a product is one stream of multiply-adds without a sum across a vector. Every width is padded
   with zeros to UNIT, so that no loop has a remainder: zeros give zeros. */

#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 16 /* floats in a register */
#define BLOCK 6  /* rows of activations that share one pass over the weights: 6 x 4 sums fit 32 registers */
#elif defined(__AVX__)
#define WIDTH 8
#define BLOCK 3
#elif defined(__aarch64__)
#define WIDTH 4
#define BLOCK 6
#else
#define WIDTH 4
#define BLOCK 3
#endif
#define FEW (BLOCK / 2 + BLOCK % 2) /* rows, at most, that are not worth the sums of a whole BLOCK */
#define VECTORS 4 /* of outputs in a panel: enough independent sums to hide the latency of a multiply-add */
#define PANEL (VECTORS * WIDTH)
#define UNIT 64
#define AHEAD 4096 /* bytes that are asked for before they are needed */

typedef float floats __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint32_t uints __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

#if defined(__F16C__) || defined(__aarch64__)
#define READS_FLOAT16 1
#else
#define READS_FLOAT16 0
#endif

#define LOAD(p) (*(const floats *)(p))
#define STORE(p, v) (*(floats *)(p) = (v))
#define INLINE static inline __attribute__((always_inline))

enum { FLOAT32, BFLOAT16, INT8, FLOAT16 };
enum { SET, ADD };

/* w (rows, columns) as [rows / PANEL][columns / k][PANEL][k], k weights to 32 bits; k is 1 for FLOAT16, whose columns
   instructions of their own widen */
typedef struct {
    const void *weights;
    const float *scales; /* (rows) of INT8, else null */
    int32_t rows, columns, type;
} Matrix;

/* The bytes of n weights */
INLINE size_t bytes_of(int type, size_t n) { return type == FLOAT16 ? 2 * n : 4 * n >> type; }

INLINE size_t padded(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

INLINE floats larger(floats a, floats b) {
    ints more = a > b;
    return (floats)(((ints)a & more) | ((ints)b & ~more));
}

INLINE float sum_of(floats v) {
    float part[WIDTH];
    STORE(part, v);
    for (int half = WIDTH / 2; half; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

INLINE float largest_of(floats v) {
    float part[WIDTH];
    STORE(part, v);
    for (int half = WIDTH / 2; half; half /= 2)
        for (int i = 0; i < half; i++) part[i] = part[i + half] > part[i] ? part[i + half] : part[i];
    return part[0];
}

/* e^x with a relative error below 2e-7; x is held between -87 and 88 */
static inline floats exponential(floats x) {
    const floats zero = {0};
    x = -larger(-larger(x, zero - 87.0f), zero - 88.0f);
    floats n = x * 1.4426950408889634f + 12582912.0f - 12582912.0f; /* rounded: a float of 1.5 * 2^23 has no fraction */
    floats r = x - n * 0.693145751953125f - n * 1.428606765330187e-6f;
    floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (floats)((__builtin_convertvector(n, ints) + 127) << 23);
}

/* a . b of n numbers, n a multiple of UNIT */
static inline float dot(const float *a, const float *b, int n) {
    floats even = {0}, odd = {0};
    for (int j = 0; j < n; j += 2 * WIDTH) {
        even += LOAD(a + j) * LOAD(b + j);
        odd += LOAD(a + j + WIDTH) * LOAD(b + j + WIDTH);
    }
    return sum_of(even + odd);
}

INLINE floats of_float16(const char *halves) {
#if defined(__F16C__) && WIDTH == 16
    return (floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)halves));
#elif defined(__F16C__)
    return (floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)halves));
#elif defined(__aarch64__)
    typedef __fp16 narrow __attribute__((vector_size(2 * WIDTH), aligned(2), may_alias));
    return __builtin_convertvector(*(const narrow *)halves, floats);
#else
    return (floats){0}; /* never asked for: see READS_FLOAT16 */
#endif
}

/* The k-th weight of each lane of vector v, widened to float32 */
INLINE floats widened(const char *lanes, int type, int v, int k) {
    if (type == FLOAT16) return of_float16(lanes + 2 * WIDTH * v);
    uints u = *(const uints *)(lanes + 4 * WIDTH * v);
    if (type == FLOAT32) return (floats)u;
    if (type == BFLOAT16) return (floats)((u >> 16 * k) << 16);
    return __builtin_convertvector((ints)(u << (24 - 8 * k)) >> 24, floats);
}

/* y (n, PANEL) = or += x (n, columns) times the panel at `row`; rows of y past `kept` are computed and thrown away */
INLINE void panel(const Matrix *m, int type, int n, int row, const float *x, int dx, float *y, int dy, int kept, int how) {
    const int inputs = type == FLOAT16 ? 1 : 1 << type, step = type == FLOAT16 ? 2 * PANEL : 4 * PANEL;
    const char *w = (const char *)m->weights + bytes_of(type, (size_t)row * m->columns);
    floats sum[BLOCK][VECTORS] = {{{0}}};
    for (int j = 0; j < m->columns; j += inputs, w += step) {
        for (int line = 0; line < step; line += 64) __builtin_prefetch(w + AHEAD + line);
        for (int k = 0; k < inputs; k++)
            for (int v = 0; v < VECTORS; v++) {
                floats column = widened(w, type, v, k);
                for (int i = 0; i < n; i++) sum[i][v] += column * x[i * dx + j + k];
            }
    }
    for (int i = 0; i < n && i < kept; i++)
        for (int v = 0; v < VECTORS; v++) {
            float *out = y + (size_t)i * dy + v * WIDTH;
            if (type == INT8) sum[i][v] *= LOAD(m->scales + row + v * WIDTH);
            if (how == ADD) sum[i][v] += LOAD(out);
            STORE(out, sum[i][v]);
        }
}

/* `panel` for 1, FEW or BLOCK rows, whichever are enough for those that are left */
INLINE void rows_of_panel(const Matrix *m, int type, int row, const float *x, int dx, float *y, int dy, int left, int how) {
    if (left > FEW) panel(m, type, BLOCK, row, x, dx, y, dy, left, how);
    else if (left > 1) panel(m, type, FEW, row, x, dx, y, dy, left, how);
    else panel(m, type, 1, row, x, dx, y, dy, 1, how);
}

/* y (n, rows) = or += x (n, columns) m^T; dx and dy are from row to row, and x is readable up to a whole BLOCK */
static void product(const Matrix *m, const float *x, int dx, float *y, int dy, int n, int how) {
    for (int row = 0; row < m->rows; row += PANEL)
        for (int i = 0; i < n; i += BLOCK) {
            const float *in = x + (size_t)i * dx;
            float *out = y + (size_t)i * dy + row;
            const int left = n - i;
            switch (m->type) { /* each becomes code of its own */
            case FLOAT32: rows_of_panel(m, FLOAT32, row, in, dx, out, dy, left, how); break;
            case BFLOAT16: rows_of_panel(m, BFLOAT16, row, in, dx, out, dy, left, how); break;
            case INT8: rows_of_panel(m, INT8, row, in, dx, out, dy, left, how); break;
            case FLOAT16: rows_of_panel(m, FLOAT16, row, in, dx, out, dy, left, how); break;
            }
        }
}

/* m from `row` on, a multiple of UNIT */
static inline Matrix rows_from(Matrix m, int row) {
    m.weights = (const char *)m.weights + bytes_of(m.type, (size_t)row * m.columns);
    m.scales = m.scales ? m.scales + row : NULL;
    m.rows -= row;
    return m;
}
