/* Batch norm, gate, dropout and average pooling in one pass over what a convolution gave: see norm_gated_pool() of crnn.py.

   y is [clips, frames, mels, channels], channels a multiple of 16, in float or (half != 0) bfloat16. With

       z = scale y + shift,   gate = weight z + bias,   out = pooled mean of gate sigmoid(z) keep / share_kept

   forward() writes out. backward() writes grad z to where grad y is to be and adds up what the parameters' gradients
   need; norm_backward() then turns it into grad y. Bit i of keep says whether element i is kept. Positions (frame and
   mel) are worked on `rows` at a time, whole pooled frames. */

/* Lanes of a vector, and how many rows and vectors product() and outer() hold in registers at a time. gcc keeps vectors
   that are wider than the processor's in memory, which takes five times as long. */
#if defined(__AVX512F__)
#define L 16
#define ROWS 8
#define WIDE 1
#elif defined(__AVX__)
#define L 8
#define ROWS 4
#define WIDE 2
#else
#define L 4
#define ROWS 4
#define WIDE 2
#endif
#define VERSION 3 /* of what the functions here and in winograd.c are given and mean */
typedef float vf __attribute__((vector_size(4 * L)));
typedef float vfu __attribute__((vector_size(4 * L), aligned(4)));
typedef int vi __attribute__((vector_size(4 * L)));
typedef unsigned vu __attribute__((vector_size(4 * L)));
typedef unsigned short vh __attribute__((vector_size(2 * L), aligned(2)));
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    long clips, frames, mels, channels, pool_frames, pool_mels, half, rows;
    float kept;                         /* 1 - dropout */
    const float *scale, *shift, *mean;  /* [channels] */
    const float *weight, *turned;       /* [channels out, channels in] and its transpose */
    const float *bias;                  /* [channels] */
    const void *y;
    const unsigned char *keep;          /* a bit an element of y, or null */
    void *out;                          /* [clips, frames / pool_frames, mels / pool_mels, channels], as y */
    const void *grad;                   /* as out */
    void *grad_y;                       /* as y */
    float *sums;                        /* added to: grad weight [channels, channels], grad bias, the sum of grad z
                                           and that of grad z (y - mean) */
    float *scratch;                     /* 3 x rows x channels */
    const float *offset, *slope;        /* [channels], of norm_backward() */
} block;

INLINE vf splat(float x) { return x - (vf){0}; }

INLINE vf load(const void *p, long i, int half) {
    if (half) return (vf)(__builtin_convertvector(*(const vh *)((const unsigned short *)p + i), vu) << 16);
    return *(const vfu *)((const float *)p + i);
}

INLINE void store(void *p, long i, vf x, int half) {
    if (half) {
        vu bits = (vu)x;
        bits += 0x7fff + ((bits >> 16) & 1); /* to nearest, ties to even */
        *(vh *)((unsigned short *)p + i) = __builtin_convertvector(bits >> 16, vh);
    } else
        *(vfu *)((float *)p + i) = x;
}

INLINE vf where(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

INLINE vf sigmoid(vf x) {
    x = where(x < splat(-87.0f), splat(-87.0f), x);
    x = where(x > splat(87.0f), splat(87.0f), x);
    vf n = x * -1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer, which the low bits then hold */
    vi power = (vi)n - 0x4b400000;
    n = n - 12582912.0f;
    vf r = -x - n * 0.693359375f + n * 2.12194440e-4f; /* -x = n ln 2 + r */
    vf p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return 1.0f / (1.0f + p * (vf)((power + 127) << 23));
}

/* The bits of L elements from element i on, lowest first. */
INLINE int bits_at(const unsigned char *keep, long i) {
#if L == 16
    return keep[i / 8] | keep[i / 8 + 1] << 8;
#else
    return keep[i / 8] >> i % 8;
#endif
}

INLINE vf dropped(vf x, const unsigned char *keep, long i) {
    if (!keep) return x;
#if L == 16
    const vi bit = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
#elif L == 8
    const vi bit = {1, 2, 4, 8, 16, 32, 64, 128};
#else
    const vi bit = {1, 2, 4, 8};
#endif
    vi kept = (bits_at(keep, i) & bit) != 0;
    return (vf)((vi)x & kept);
}

/* Rows of out from row i on: start + sum over k of a[i, k] b[k], at WIDE vectors from column d on. */
INLINE void product_at(const float *a, const float *b, const float *start, const float *added, float *out, long width,
                       long i, long d, int rows) {
    vf s[ROWS][WIDE];
    for (int j = 0; j < rows; j++)
        for (int w = 0; w < WIDE; w++) s[j][w] = load(start ? start : added + (i + j) * width, d + w * L, 0);
    for (long k = 0; k < width; k++) {
        vf row[WIDE];
        for (int w = 0; w < WIDE; w++) row[w] = load(b, k * width + d + w * L, 0);
        for (int j = 0; j < rows; j++)
            for (int w = 0; w < WIDE; w++) s[j][w] += a[(i + j) * width + k] * row[w];
    }
    for (int j = 0; j < rows; j++)
        for (int w = 0; w < WIDE; w++) store(out, (i + j) * width + d + w * L, s[j][w], 0);
}

/* out[i] = start + sum over k of a[i, k] b[k], n rows of a, all widths `width`. */
INLINE void product(const float *a, const float *b, const float *start, const float *added, float *out, long n,
                    long width) {
    for (long d = 0; d < width; d += L * WIDE) {
        long i = 0;
        for (; i + ROWS <= n; i += ROWS) product_at(a, b, start, added, out, width, i, d, ROWS);
        for (; i < n; i++) product_at(a, b, start, added, out, width, i, d, 1);
    }
}

/* out += a' b of a and b [n, width]. */
INLINE void outer(const float *a, const float *b, float *out, long n, long width) {
    for (long d = 0; d < width; d += ROWS)
        for (long c = 0; c < width; c += L * WIDE) {
            vf s[ROWS][WIDE];
            for (int j = 0; j < ROWS; j++)
                for (int w = 0; w < WIDE; w++) s[j][w] = (vf){0};
            for (long i = 0; i < n; i++) {
                vf row[WIDE];
                for (int w = 0; w < WIDE; w++) row[w] = load(b, i * width + c + w * L, 0);
                for (int j = 0; j < ROWS; j++)
                    for (int w = 0; w < WIDE; w++) s[j][w] += a[i * width + d + j] * row[w];
            }
            for (int j = 0; j < ROWS; j++)
                for (int w = 0; w < WIDE; w++) {
                    const long at = (d + j) * width + c + w * L;
                    store(out, at, load(out, at, 0) + s[j][w], 0);
                }
        }
}

/* z of n positions from element `first` of y on. */
INLINE void normed(const block *b, long first, long n, float *z, int half) {
    const long width = b->channels;
    for (long i = 0; i < n; i++)
        for (long c = 0; c < width; c += L)
            store(z, i * width + c, load(b->y, first + i * width + c, half) * load(b->scale, c, 0) + load(b->shift, c, 0), 0);
}

INLINE void forward_clip(const block *b, long clip, int half) {
    const long rows = b->rows;
    const long width = b->channels, row = b->mels * width, frames = b->frames / b->pool_frames;
    const long mels = b->mels / b->pool_mels, step = rows / (b->pool_frames * b->mels);
    const float share = 1.0f / (b->kept * b->pool_frames * b->pool_mels);
    float *z = b->scratch, *gate = z + rows * width;
    for (long t = 0; t < frames; t += step) {
        const long count = t + step < frames ? step : frames - t;
        const long first = (clip * b->frames + t * b->pool_frames) * row, n = count * b->pool_frames * b->mels;
        normed(b, first, n, z, half);
        product(z, b->turned, b->bias, 0, gate, n, width);
        for (long k = 0; k < count; k++)
            for (long m = 0; m < mels; m++)
                for (long c = 0; c < width; c += L) {
                    vf s = {0};
                    for (long f = 0; f < b->pool_frames; f++)
                        for (long g = 0; g < b->pool_mels; g++) {
                            const long i = (k * b->pool_frames + f) * row + (m * b->pool_mels + g) * width + c;
                            s += dropped(load(gate, i, 0) * sigmoid(load(z, i, 0)), b->keep, first + i);
                        }
                    store(b->out, ((clip * frames + t + k) * mels + m) * width + c, s * share, half);
                }
    }
}

INLINE void backward_clip(const block *b, long clip, int half) {
    const long rows = b->rows;
    const long width = b->channels, row = b->mels * width, frames = b->frames / b->pool_frames;
    const long mels = b->mels / b->pool_mels, step = rows / (b->pool_frames * b->mels);
    const float share = 1.0f / (b->kept * b->pool_frames * b->pool_mels);
    float *z = b->scratch, *gate = z + rows * width, *d_gate = gate + rows * width;
    float *grad_weight = b->sums, *grad_bias = grad_weight + width * width, *sum = grad_bias + width, *product_y = sum + width;
    const vf none = {0};
    for (long t = 0; t < frames; t += step) {
        const long count = t + step < frames ? step : frames - t;
        const long first = (clip * b->frames + t * b->pool_frames) * row, n = count * b->pool_frames * b->mels;
        normed(b, first, n, z, half);
        product(z, b->turned, b->bias, 0, gate, n, width);
        for (long i = 0; i < n; i++) {
            const long frame = i / b->mels, mel = i % b->mels;
            const long pooled = ((clip * frames + t + frame / b->pool_frames) * mels + mel / b->pool_mels) * width;
            const int used = mel < mels * b->pool_mels;
            for (long c = 0; c < width; c += L) {
                const long j = i * width + c;
                vf d = used ? load(b->grad, pooled + c, half) * share : none;
                d = dropped(d, b->keep, first + j);
                vf s = sigmoid(load(z, j, 0));
                store(d_gate, j, d * s, 0);
                store(gate, j, load(gate, j, 0) * d * s * (1.0f - s), 0);
            }
        }
        outer(d_gate, z, grad_weight, n, width);
        for (long c = 0; c < width; c += L) {
            vf s = {0};
            for (long i = 0; i < n; i++) s += load(d_gate, i * width + c, 0);
            store(grad_bias, c, load(grad_bias, c, 0) + s, 0);
        }
        product(d_gate, b->weight, 0, gate, gate, n, width);
        for (long c = 0; c < width; c += L) {
            vf s = {0}, p = {0};
            for (long i = 0; i < n; i++) {
                vf d = load(gate, i * width + c, 0);
                s += d;
                p += d * (load(b->y, first + i * width + c, half) - load(b->mean, c, 0));
                store(b->grad_y, first + i * width + c, d, half);
            }
            store(sum, c, load(sum, c, 0) + s, 0);
            store(product_y, c, load(product_y, c, 0) + p, 0);
        }
    }
    for (long i = frames * b->pool_frames * row; i < b->frames * row; i += L) /* frames that pooling leaves out */
        store(b->grad_y, clip * b->frames * row + i, none, half);
}

int version(void) { return VERSION; }

void forward(const block *b) {
    for (long clip = 0; clip < b->clips; clip++)
        if (b->half)
            forward_clip(b, clip, 1);
        else
            forward_clip(b, clip, 0);
}

void backward(const block *b) {
    for (long clip = 0; clip < b->clips; clip++)
        if (b->half)
            backward_clip(b, clip, 1);
        else
            backward_clip(b, clip, 0);
}

INLINE void norm_backward_all(const block *b, int half) {
    const long n = b->clips * b->frames * b->mels, width = b->channels;
    for (long i = 0; i < n; i++)
        for (long c = 0; c < width; c += L) {
            vf grad = load(b->grad_y, i * width + c, half) * load(b->scale, c, 0) - load(b->offset, c, 0);
            store(b->grad_y, i * width + c, grad - load(b->slope, c, 0) * load(b->y, i * width + c, half), half);
        }
}

/* grad y = scale grad z - offset - slope y, in place. */
void norm_backward(const block *b) {
    if (b->half)
        norm_backward_all(b, 1);
    else
        norm_backward_all(b, 0);
}
