/* Vectors as wide as the machine's, and products with packed weights.

   At batch 1 a token reads every weight once, so a product is as fast as its weights can be read. They lie in panels of
   PANEL outputs, so that a product is one stream of multiply-adds without a sum across a vector. Every width is padded
   with zeros to UNIT, so that no loop has a remainder: zeros give zeros. */

#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

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

#define LOAD(p) (*(const floats *)(p))
#define STORE(p, v) (*(floats *)(p) = (v))
#define INLINE static inline __attribute__((always_inline))

enum { FLOAT32, BFLOAT16, INT8 }; /* 1, 2 or 4 weights to 32 bits */
enum { SET, ADD };

/* w (rows, columns) as [rows / PANEL][columns / k][PANEL][k], k weights to 32 bits */
typedef struct {
    const void *weights;
    const float *scales; /* (rows) of INT8, else null */
    int32_t rows, columns, type;
} Matrix;

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

/* The k-th weight of each 32-bit lane, widened to float32 */
INLINE floats widened(const char *lanes, int type, int k) {
    uints u = *(const uints *)lanes;
    if (type == FLOAT32) return (floats)u;
    if (type == BFLOAT16) return (floats)((u >> 16 * k) << 16);
    return __builtin_convertvector((ints)(u << (24 - 8 * k)) >> 24, floats);
}

/* y (n, PANEL) = or += x (n, columns) times the panel at `row`; rows of y past `kept` are computed and thrown away */
INLINE void panel(const Matrix *m, int type, int n, int row, const float *x, int dx, float *y, int dy, int kept, int how) {
    const int inputs = 1 << type;
    const char *w = (const char *)m->weights + ((size_t)row * m->columns * 4 >> type);
    floats sum[BLOCK][VECTORS] = {{{0}}};
    for (int j = 0; j < m->columns; j += inputs, w += 4 * PANEL) {
        for (int line = 0; line < 4 * PANEL; line += 64) __builtin_prefetch(w + AHEAD + line);
        for (int k = 0; k < inputs; k++)
            for (int v = 0; v < VECTORS; v++) {
                floats column = widened(w + 4 * WIDTH * v, type, k);
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

/* y (n, rows) = or += x (n, columns) m^T; dx and dy are from row to row, and x is readable up to a whole BLOCK */
static void product(const Matrix *m, const float *x, int dx, float *y, int dy, int n, int how) {
    for (int row = 0; row < m->rows; row += PANEL)
        for (int i = 0; i < n; i += BLOCK) {
            const float *in = x + (size_t)i * dx;
            float *out = y + (size_t)i * dy + row;
            const int left = n - i;
            switch (m->type + 3 * (left > 1) + 3 * (left > FEW)) {
            case FLOAT32: panel(m, FLOAT32, 1, row, in, dx, out, dy, 1, how); break;
            case BFLOAT16: panel(m, BFLOAT16, 1, row, in, dx, out, dy, 1, how); break;
            case INT8: panel(m, INT8, 1, row, in, dx, out, dy, 1, how); break;
            case 3 + FLOAT32: panel(m, FLOAT32, FEW, row, in, dx, out, dy, left, how); break;
            case 3 + BFLOAT16: panel(m, BFLOAT16, FEW, row, in, dx, out, dy, left, how); break;
            case 3 + INT8: panel(m, INT8, FEW, row, in, dx, out, dy, left, how); break;
            case 6 + FLOAT32: panel(m, FLOAT32, BLOCK, row, in, dx, out, dy, left, how); break;
            case 6 + BFLOAT16: panel(m, BFLOAT16, BLOCK, row, in, dx, out, dy, left, how); break;
            case 6 + INT8: panel(m, INT8, BLOCK, row, in, dx, out, dy, left, how); break;
            }
        }
}

/* m from `row` on, a multiple of UNIT */
static inline Matrix rows_from(Matrix m, int row) {
    m.weights = (const char *)m.weights + ((size_t)row * m.columns * 4 >> m.type);
    m.scales = m.scales ? m.scales + row : NULL;
    m.rows -= row;
    return m;
}
