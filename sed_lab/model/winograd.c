/* Convolutions 3x3 and 5x5 of unchanged size in a quarter and 36 % of the products (Winograd 1980; Lavin & Gray 2016,
   F(4x4, 3x3) and F(2x2, 5x5)): see convolve() of crnn.py.

   A tile of 4x4 (or 2x2) of the output comes from 6x6 of the input. Turned by B at both sides, the input's 36 numbers a
   channel are multiplied by the kernel's 36, which torch has made by G; summed over channels and turned by A, they are
   the output:

       y = A' [sum over channels of (G w G') . (B' x B)] A

   Products for each of the 36 are of matrices, tiles by channels. The kernel's gradient takes the same way back. Numbers
   of channels are multiples of 16. Rounding is some ten times that of plain sums. */

/* Lanes of a vector, and how many vectors and rows product() and outer() hold in registers at a time. */
#if defined(__AVX512F__)
#define L 16
#define WIDE 1
#define ROWS 16
#define OUTER 16
#elif defined(__AVX__)
#define L 8
#define WIDE 2
#define ROWS 6
#define OUTER 4
#else
#define L 4
#define WIDE 4
#define ROWS 2
#define OUTER 2
#endif
#define PANEL 16 /* channels out that lie together: WIDE vectors */
#define TILES 48 /* worked on at a time: a multiple of every ROWS */
#define K 36
#define STEP(channels) (TILES * (channels) + 16) /* from one of the 36 to the next; 16 more: not all in one set of a cache */
typedef float vf __attribute__((vector_size(4 * L)));
typedef float vfu __attribute__((vector_size(4 * L), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    long clips, frames, mels, in, out;  /* channels in and out */
    long edge;                          /* of a tile of the output: 4 or 2 */
    const float *x;                     /* [clips, frames, mels, in] */
    const float *kernel;                /* [36, out / 16, in, 16] */
    const float *bias;                  /* [out], or null */
    float *y;                           /* [clips, frames, mels, out] */
    const float *grad;                  /* as y */
    float *sums;                        /* added to: the gradient of kernel */
    float *scratch;                     /* convolve_scratch() zeros */
} convolution;

INLINE vf load(const float *p) { return *(const vfu *)p; }
INLINE void store(float *p, vf x) { *(vfu *)p = x; }
INLINE long across(const convolution *b) { return (b->mels + b->edge - 1) / b->edge; }
INLINE long tiles(const convolution *b) { return (b->frames + b->edge - 1) / b->edge * across(b); }

/* B' of six numbers, `step` vectors apart. */
INLINE void turn_x(const vf *x, long step, vf *t, long to) {
    vf x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step], x5 = x[5 * step];
    vf a = x4 - 4.0f * x2, b = x3 - 4.0f * x1, c = x4 - x2, d = 2.0f * (x3 - x1);
    t[0] = 4.0f * x0 - 5.0f * x2 + x4;
    t[to] = a + b;
    t[2 * to] = a - b;
    t[3 * to] = c + d;
    t[4 * to] = c - d;
    t[5 * to] = 4.0f * x1 - 5.0f * x3 + x5;
}

/* A' of six: `edge` numbers. */
INLINE void turn_y(const vf *m, long step, vf *t, long to, int edge) {
    vf a = m[step] + m[2 * step], b = m[step] - m[2 * step];
    vf c = m[3 * step] + m[4 * step], d = m[3 * step] - m[4 * step];
    t[0] = m[0] + a + c;
    t[to] = b + 2.0f * d;
    if (edge == 2) {
        t[to] += m[5 * step];
        return;
    }
    t[2 * to] = a + 4.0f * c;
    t[3 * to] = b + 8.0f * d + m[5 * step];
}

/* A of `edge` numbers. */
INLINE void turn_grad(const vf *g, long step, vf *t, long to, int edge) {
    const vf none = {0};
    vf g0 = g[0], g1 = g[step], g2 = edge == 4 ? g[2 * step] : none, g3 = edge == 4 ? g[3 * step] : none;
    vf a = g0 + g2, b = g1 + g3, c = g0 + 4.0f * g2, d = 2.0f * g1 + 8.0f * g3;
    t[0] = g0;
    t[to] = a + b;
    t[2 * to] = a - b;
    t[3 * to] = c + d;
    t[4 * to] = c - d;
    t[5 * to] = edge == 4 ? g3 : g1;
}

/* Where n x n positions of a map lie, from frame f0 and mel m0 on; zeros beyond its edge. */
INLINE void positions(const convolution *b, const float *map, long width, long f0, long m0, long n, const float *zeros,
                      const float **at) {
    for (long i = 0; i < n; i++)
        for (long j = 0; j < n; j++) {
            const long f = f0 + i, m = m0 + j;
            const int inside = f >= 0 && m >= 0 && f < b->frames && m < b->mels;
            at[n * i + j] = inside ? map + (f * b->mels + m) * width : zeros;
        }
}

/* v[k, tile, channel] of n tiles of a clip's x, from tile `first` on. */
INLINE void read_x(const convolution *b, const float *x, long first, long n, float *v, const float *zeros) {
    for (long t = 0; t < n; t++) {
        const float *at[36];
        const long e = b->edge, padding = (6 - e) / 2;
        positions(b, x, b->in, (first + t) / across(b) * e - padding, (first + t) % across(b) * e - padding, 6, zeros, at);
        for (long c = 0; c < b->in; c += L) {
            vf d[36], u[36];
            for (long i = 0; i < 6; i++) {
                for (long j = 0; j < 6; j++) d[j] = load(at[6 * i + j] + c);
                turn_x(d, 1, u + 6 * i, 1);
            }
            for (long j = 0; j < 6; j++) turn_x(u + j, 6, d + j, 6);
            for (long k = 0; k < K; k++) store(v + k * STEP(b->in) + t * b->in + c, d[k]);
        }
    }
}

/* A clip's y from m[k, tile, channel]. */
INLINE void write_y(const convolution *b, float *y, long first, long n, const float *m, const int e) {
    for (long t = 0; t < n; t++) {
        const long f0 = (first + t) / across(b) * e, m0 = (first + t) % across(b) * e;
        const long frames = b->frames - f0 < e ? b->frames - f0 : e, mels = b->mels - m0 < e ? b->mels - m0 : e;
        float *to = y + (f0 * b->mels + m0) * b->out;
        for (long c = 0; c < b->out; c += L) {
            vf d[36], u[36];
            for (long k = 0; k < K; k++) d[k] = load(m + k * STEP(b->out) + t * b->out + c);
            for (long j = 0; j < 6; j++) turn_y(d + j, 6, u + j, 6, e);
            const vf bias = b->bias ? load(b->bias + c) : (vf){0};
            for (long i = 0; i < frames; i++) {
                turn_y(u + 6 * i, 1, d, 1, e);
                for (long j = 0; j < mels; j++) store(to + (i * b->mels + j) * b->out + c, d[j] + bias);
            }
        }
    }
}

/* g[k, panel, tile, 16] of a clip's grad. */
INLINE void read_grad(const convolution *b, const float *grad, long first, long n, float *g, const float *zeros,
                      const int e) {
    for (long t = 0; t < n; t++) {
        const float *at[16];
        positions(b, grad, b->out, (first + t) / across(b) * e, (first + t) % across(b) * e, e, zeros, at);
        for (long c = 0; c < b->out; c += L) {
            vf d[36], u[36];
            for (long i = 0; i < e; i++) {
                for (long j = 0; j < e; j++) d[j] = load(at[e * i + j] + c);
                turn_grad(d, 1, u + 6 * i, 1, e);
            }
            for (long j = 0; j < 6; j++) turn_grad(u + j, 6, d + j, 6, e);
            float *to = g + (c / PANEL * TILES + t) * PANEL + c % PANEL;
            for (long k = 0; k < K; k++) store(to + k * STEP(b->out), d[k]);
        }
    }
}

/* m[tile, out] = v[tile, in] kernel, whole ROWS of tiles. */
INLINE void product(const float *v, const float *kernel, float *m, long n, long in, long out) {
    for (long p = 0; p < out; p += PANEL)
        for (long i = 0; i < n; i += ROWS) {
            const float *a = v + i * in, *b = kernel + p * in;
            vf s[ROWS][WIDE];
            for (int r = 0; r < ROWS; r++)
                for (int w = 0; w < WIDE; w++) s[r][w] = (vf){0};
            for (long c = 0; c < in; c++) {
                vf row[WIDE];
                for (int w = 0; w < WIDE; w++) row[w] = load(b + c * PANEL + w * L);
                for (int r = 0; r < ROWS; r++)
                    for (int w = 0; w < WIDE; w++) s[r][w] += a[r * in + c] * row[w];
            }
            for (int r = 0; r < ROWS; r++)
                for (int w = 0; w < WIDE; w++) store(m + (i + r) * out + p + w * L, s[r][w]);
        }
}

/* sums[panel, in, 16] += v[tile, in]' g[panel, tile, 16] */
INLINE void outer(const float *v, const float *g, float *sums, long n, long in, long out) {
    for (long p = 0; p < out; p += PANEL)
        for (long i = 0; i < in; i += OUTER) {
            const float *b = g + p * TILES;
            float *to = sums + p * in + i * PANEL;
            vf s[OUTER][WIDE];
            for (int r = 0; r < OUTER; r++)
                for (int w = 0; w < WIDE; w++) s[r][w] = load(to + r * PANEL + w * L);
            for (long t = 0; t < n; t++) {
                vf row[WIDE];
                for (int w = 0; w < WIDE; w++) row[w] = load(b + t * PANEL + w * L);
                for (int r = 0; r < OUTER; r++)
                    for (int w = 0; w < WIDE; w++) s[r][w] += v[t * in + i + r] * row[w];
            }
            for (int r = 0; r < OUTER; r++)
                for (int w = 0; w < WIDE; w++) store(to + r * PANEL + w * L, s[r][w]);
        }
}

/* How many floats of scratch are needed: the 36 of both sides, and the zeros beyond a map's edge. */
long convolve_scratch(long in, long out) { return K * (STEP(in) + STEP(out)) + (in > out ? in : out); }

/* y = x * kernel + bias */
void convolve(const convolution *b) {
    const long clip = b->frames * b->mels, in = b->in, out = b->out;
    float *v = b->scratch, *m = v + K * STEP(in), *zeros = m + K * STEP(out);
    for (long i = 0; i < b->clips; i++)
        for (long t = 0; t < tiles(b); t += TILES) {
            const long n = tiles(b) - t < TILES ? tiles(b) - t : TILES;
            read_x(b, b->x + i * clip * in, t, n, v, zeros);
            for (long k = 0; k < K; k++)
                product(v + k * STEP(in), b->kernel + k * in * out, m + k * STEP(out), n, in, out);
            if (b->edge == 4)
                write_y(b, b->y + i * clip * out, t, n, m, 4);
            else
                write_y(b, b->y + i * clip * out, t, n, m, 2);
        }
}

/* sums += the gradient of kernel */
void convolve_kernel(const convolution *b) {
    const long clip = b->frames * b->mels, in = b->in, out = b->out;
    float *v = b->scratch, *g = v + K * STEP(in), *zeros = g + K * STEP(out);
    for (long i = 0; i < b->clips; i++)
        for (long t = 0; t < tiles(b); t += TILES) {
            const long n = tiles(b) - t < TILES ? tiles(b) - t : TILES;
            read_x(b, b->x + i * clip * in, t, n, v, zeros);
            if (b->edge == 4)
                read_grad(b, b->grad + i * clip * out, t, n, g, zeros, 4);
            else
                read_grad(b, b->grad + i * clip * out, t, n, g, zeros, 2);
            for (long k = 0; k < K; k++) outer(v + k * STEP(in), g + k * STEP(out), b->sums + k * in * out, n, in, out);
        }
}
