/* Table layers with their gradients, for training on a CPU.
 *
 * One operation, a "mixing": every channel c of a feature map f reads a 4-bit index through its
 * own 3x3 taps, and every output o sums one table entry of each channel,
 *
 *   index[c,p] = clamp(half_up(sum_k taps[c,k] * f[c,p+k], tap_shift), -8, 7)
 *   S[o,p]     = sum_c T[c, index[c,p] + 8, o]
 *   out[o,p]   = clamp(f[o,p] + half_up(S[o,p], shift), -128, 127)   (residual)
 *   out[o,p]   = S[o,p]                                             (otherwise)
 *
 * half_up(v, k) = (v + 2^(k-1)) >> k. Maps are float32 [batch][channels][height*width] that hold
 * integers; outside the map f is 0. One image at a time stays in the level-2 cache, one block of
 * positions in the level-1 cache.
 *
 * A "code" is one byte: index + 8 in bits 0..3; bit 4: clamped from below; bit 5: from above.
 *
 * Gradients pass straight through the roundings; through a clamp they pass if a step against
 * them pulls the value back. The index gradient is sum_o g[o,p] * slope[c, row, o].
 *
 * Needs gcc or clang (vector extensions). AVX-512 paths where the compiler targets it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>
#define WIDE 1
#endif

#define ROWS 16
#define BLOCK 128 /* positions in a block; a multiple of 64 */
#define ALIGN 64
#define SLACK 64 /* elements that may be read past the end of a padded plane */
#define INLINE static inline __attribute__((always_inline))

typedef float v8f __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v16f __attribute__((vector_size(64), aligned(4), may_alias));

INLINE float sum_lanes(v16f v) {
  float sum = 0;
  for (int n = 0; n < 16; n++) sum += v[n];
  return sum;
}

static size_t round_up(size_t n, size_t k) { return (n + k - 1) / k * k; }

static void *scratch(size_t bytes) { return aligned_alloc(ALIGN, round_up(bytes + 1, ALIGN)); }

/* Copy a plane into the middle of a zero plane of (h+2) x (w+2) with slack behind it. */
static void pad_plane(const float *plane, int h, int w, float *padded) {
  size_t pitch = (size_t)w + 2;
  memset(padded, 0, pitch * sizeof(float));
  for (int i = 0; i < h; i++) {
    float *row = padded + (i + 1) * pitch;
    row[0] = 0;
    memcpy(row + 1, plane + (size_t)i * w, w * sizeof(float));
    row[w + 1] = 0;
  }
  memset(padded + (h + 1) * pitch, 0, (pitch + SLACK) * sizeof(float));
}

/* ---- indices ------------------------------------------------------------------------------ */

/* Copy a plane of integers into the middle of a zero int16 plane of (h+2) x (w+2). */
static void pad_integers(const float *restrict plane, int h, int w, int16_t *restrict padded) {
  const size_t pitch = (size_t)w + 2;
  memset(padded, 0, pitch * sizeof(int16_t));
  for (int i = 0; i < h; i++) {
    int16_t *restrict row = padded + (i + 1) * pitch;
    const float *restrict from = plane + (size_t)i * w;
    row[0] = 0;
    for (int j = 0; j < w; j++) row[j + 1] = (int16_t)from[j];
    row[w + 1] = 0;
  }
  memset(padded + (h + 1) * pitch, 0, (pitch + SLACK) * sizeof(int16_t));
}

/* Codes of one channel: a 3x3 correlation, rounded, clamped. The taps' sizes add up to at most
 * 255, so 16 bits hold the sum (but not the sum plus a half: hence the rounding bit apart). The
 * loop runs over the padded plane, border columns and all; ``wide`` holds h * (w+2) codes. */
static void channel_codes(const int16_t *restrict padded, const float *restrict t, int h, int w,
                          int tap_shift, uint8_t *restrict wide, uint8_t *restrict codes) {
  const size_t pitch = (size_t)w + 2, n = h * pitch;
  const int16_t *restrict b = padded + pitch, *restrict d = padded + 2 * pitch;
  const int below_bit = tap_shift ? tap_shift - 1 : 0, round_mask = tap_shift ? 1 : 0;
  int16_t k[9];
  for (int i = 0; i < 9; i++) k[i] = (int16_t)t[i];
  for (size_t q = 0; q < n; q++) {
    int16_t sum = (int16_t)(k[0] * padded[q]);
    sum = (int16_t)(sum + (int16_t)(k[1] * padded[q + 1]));
    sum = (int16_t)(sum + (int16_t)(k[2] * padded[q + 2]));
    sum = (int16_t)(sum + (int16_t)(k[3] * b[q]));
    sum = (int16_t)(sum + (int16_t)(k[4] * b[q + 1]));
    sum = (int16_t)(sum + (int16_t)(k[5] * b[q + 2]));
    sum = (int16_t)(sum + (int16_t)(k[6] * d[q]));
    sum = (int16_t)(sum + (int16_t)(k[7] * d[q + 1]));
    sum = (int16_t)(sum + (int16_t)(k[8] * d[q + 2]));
    int16_t v = (int16_t)((sum >> tap_shift) + ((sum >> below_bit) & round_mask) + 8);
    int16_t flags = (int16_t)((v < 0 ? 16 : 0) | (v > ROWS - 1 ? 32 : 0));
    v = v < 0 ? 0 : v;
    v = v > ROWS - 1 ? ROWS - 1 : v;
    wide[q] = (uint8_t)(v | flags);
  }
  for (int i = 0; i < h; i++) memcpy(codes + (size_t)i * w, wide + i * pitch, w);
}

/* ---- sums of table entries ---------------------------------------------------------------- */

#ifdef WIDE
/* Tables for in-register look-ups: bytes [op][channels][ROWS]; op = outputs, multiple of 8. */
static void pack_tables(const float *tables, int c, int o, int op, void *packed) {
  int8_t *out = packed;
  memset(out, 0, (size_t)op * c * ROWS);
  for (int ci = 0; ci < c; ci++)
    for (int r = 0; r < ROWS; r++)
      for (int oi = 0; oi < o; oi++)
        out[((size_t)oi * c + ci) * ROWS + r] = (int8_t)tables[((size_t)ci * ROWS + r) * o + oi];
}

static size_t packed_bytes(int c, int op) { return (size_t)op * c * ROWS; }

/* sums[op][64] of 64 positions: pshufb reads 64 entries at once; two channels are interleaved
 * and added in pairs to int16. */
static void sum_block(const uint8_t *codes, size_t stride, const void *packed, int c, int op,
                      int16_t *sums) {
  const int8_t *tables = packed;
  const __m512i ones = _mm512_set1_epi8(1);
  /* unpack works inside 128-bit lanes; these put the halves back in order of positions */
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int o = 0; o < op; o += 4) {
    __m512i low[4], high[4];
    for (int k = 0; k < 4; k++) low[k] = high[k] = _mm512_setzero_si512();
    for (int ci = 0; ci < c; ci += 2) {
      __m512i x = _mm512_loadu_si512(codes + ci * stride);
      __m512i y = _mm512_loadu_si512(codes + (ci + 1) * stride);
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) {
        const __m128i *t = (const __m128i *)(tables + ((size_t)(o + k) * c + ci) * ROWS);
        __m512i a = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(t)), x);
        __m512i b = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(t + 1)), y);
        __m512i l = _mm512_unpacklo_epi8(a, b), h = _mm512_unpackhi_epi8(a, b);
        low[k] = _mm512_add_epi16(low[k], _mm512_maddubs_epi16(ones, l));
        high[k] = _mm512_add_epi16(high[k], _mm512_maddubs_epi16(ones, h));
      }
    }
    for (int k = 0; k < 4; k++) {
      int16_t *row = sums + (size_t)(o + k) * 64;
      _mm512_storeu_si512(row, _mm512_permutex2var_epi64(low[k], first, high[k]));
      _mm512_storeu_si512(row + 32, _mm512_permutex2var_epi64(low[k], second, high[k]));
    }
  }
}
#else
/* Tables as rows: int16 [channels][ROWS][op]; op = outputs, multiple of 8. */
static void pack_tables(const float *tables, int c, int o, int op, void *packed) {
  int16_t *out = packed;
  memset(out, 0, (size_t)op * c * ROWS * sizeof(int16_t));
  for (int r = 0; r < c * ROWS; r++)
    for (int oi = 0; oi < o; oi++) out[(size_t)r * op + oi] = (int16_t)tables[(size_t)r * o + oi];
}

static size_t packed_bytes(int c, int op) { return (size_t)op * c * ROWS * sizeof(int16_t); }

/* sums[op][64] of 64 positions: whole rows are added. */
static void sum_block(const uint8_t *codes, size_t stride, const void *packed, int c, int op,
                      int16_t *sums) {
  int16_t acc[64 * 64];
  memset(acc, 0, sizeof(int16_t) * 64 * op);
  for (int ci = 0; ci < c; ci++) {
    const int16_t *table = (const int16_t *)packed + (size_t)ci * ROWS * op;
    for (int p = 0; p < 64; p++) {
      const int16_t *restrict row = table + (codes[ci * stride + p] & 15) * op;
      int16_t *restrict a = acc + p * op;
      for (int o = 0; o < op; o++) a[o] += row[o];
    }
  }
  for (int o = 0; o < op; o++)
    for (int p = 0; p < 64; p++) sums[o * 64 + p] = acc[p * op + o];
}
#endif

/* out = clamp(f + half_up(sum, shift)) for n positions of one output. */
static void add_residual(const int16_t *restrict sums, const float *restrict f, int n, int shift,
                         float *restrict out) {
  const int half = shift ? 1 << (shift - 1) : 0;
  for (int p = 0; p < n; p++) {
    float v = f[p] + (float)((sums[p] + half) >> shift);
    v = v < -128.0f ? -128.0f : v;
    out[p] = v > 127.0f ? 127.0f : v;
  }
}

/* Padded size of a plane of codes. */
size_t intaglio_code_pitch(int h, int w) { return round_up((size_t)h * w, BLOCK); }

/* f [b][c][h*w], taps [c][9], tables [c][ROWS][o] (integers, |entry| <= 127), c a multiple of 8
 * and at most 64, o at most 64 -> out [b][o][h*w], codes [b][c][code_pitch]. Returns 0, or 1 if
 * memory is short. */
int intaglio_mixing_forward(const float *f, const float *taps, const float *tables, int b, int c,
                            int h, int w, int o, int tap_shift, int shift, int residual,
                            float *out, uint8_t *codes) {
  const size_t hw = (size_t)h * w, pitch = intaglio_code_pitch(h, w);
  const int op = (int)round_up(o, 8);
  const size_t plane = (size_t)(h + 2) * (w + 2) + SLACK;
  int16_t *padded = scratch(sizeof(int16_t) * plane);
  uint8_t *wide = scratch(plane);
  void *packed = scratch(packed_bytes(c, op));
  int16_t *sums = scratch(sizeof(int16_t) * 64 * op);
  int failed = !padded || !wide || !packed || !sums;
  if (!failed) {
    pack_tables(tables, c, o, op, packed);
    for (int bi = 0; bi < b; bi++) {
      const float *image = f + bi * c * hw;
      uint8_t *image_codes = codes + bi * c * pitch;
      for (int ci = 0; ci < c; ci++) {
        pad_integers(image + ci * hw, h, w, padded);
        channel_codes(padded, taps + 9 * ci, h, w, tap_shift, wide, image_codes + ci * pitch);
        memset(image_codes + ci * pitch + hw, 0, pitch - hw);
      }
      for (size_t p = 0; p < hw; p += 64) {
        int n = hw - p < 64 ? (int)(hw - p) : 64;
        sum_block(image_codes + p, pitch, packed, c, op, sums);
        for (int oi = 0; oi < o; oi++) {
          float *row = out + (bi * (size_t)o + oi) * hw + p;
          if (residual) {
            add_residual(sums + oi * 64, image + oi * hw + p, n, shift, row);
          } else {
            for (int k = 0; k < n; k++) row[k] = sums[oi * 64 + k];
          }
        }
      }
    }
  }
  free(padded);
  free(wide);
  free(packed);
  free(sums);
  return failed;
}

/* ---- gradients ---------------------------------------------------------------------------- */

/* Gate the gradient of one output at n positions; write it to gf and, scaled, to g. */
static void gate_output(const float *restrict gout, const float *restrict out, size_t n,
                        float scale, float *restrict gf, float *restrict g) {
  for (size_t p = 0; p < n; p++) {
    int blocked = ((out[p] <= -128.0f) & (gout[p] > 0.0f)) | ((out[p] >= 127.0f) & (gout[p] < 0.0f));
    float v = blocked ? 0.0f : gout[p];
    gf[p] = v;
    g[p] = v * scale;
  }
}

/* BLOCK positions of g [op][stride] -> rows [BLOCK][op]. */
static void transpose_block(const float *restrict g, size_t stride, int op,
                            float *restrict rows) {
  for (int o = 0; o < op; o += 8)
    for (int p = 0; p < BLOCK; p += 8)
      for (int q = 0; q < 8; q++)
        for (int k = 0; k < 8; k++) rows[(p + q) * op + o + k] = g[(o + k) * stride + p + q];
}

/* Add the gradient rows to the rows of the table gradients [c][ROWS][op]. Eight channels side
 * by side: two neighbours that hit the same row are far enough apart for the store to land. */
INLINE void scatter_fixed(const float *rows, const uint8_t *codes, size_t stride, int c, int n,
                          float *gtables, const int op) {
  for (int c0 = 0; c0 < c; c0 += 8) {
    float *base = gtables + (size_t)c0 * ROWS * op;
    const uint8_t *code = codes + c0 * stride;
    for (int p = 0; p < n; p++) {
      const float *from = rows + p * op;
      const v8f last = *(const v8f *)(from + (op - 8)); /* of an odd number of eights */
      v16f g[4];
#pragma GCC unroll 4
      for (int k = 0; k < op / 16; k++) g[k] = *(const v16f *)(from + 16 * k);
#pragma GCC unroll 8
      for (int ci = 0; ci < 8; ci++) {
        float *row = base + (ci * ROWS + (code[ci * stride + p] & 15)) * op;
#pragma GCC unroll 4
        for (int k = 0; k < op / 16; k++) *(v16f *)(row + 16 * k) += g[k];
        if (op % 16) *(v8f *)(row + (op - 8)) += last;
      }
    }
  }
}

static void scatter(const float *rows, const uint8_t *codes, size_t stride, int c, int n,
                    float *gtables, int op) {
  switch (op) {
    case 8: scatter_fixed(rows, codes, stride, c, n, gtables, 8); break;
    case 16: scatter_fixed(rows, codes, stride, c, n, gtables, 16); break;
    case 24: scatter_fixed(rows, codes, stride, c, n, gtables, 24); break;
    case 32: scatter_fixed(rows, codes, stride, c, n, gtables, 32); break;
    case 40: scatter_fixed(rows, codes, stride, c, n, gtables, 40); break;
    case 48: scatter_fixed(rows, codes, stride, c, n, gtables, 48); break;
    case 56: scatter_fixed(rows, codes, stride, c, n, gtables, 56); break;
    default: scatter_fixed(rows, codes, stride, c, n, gtables, 64); break;
  }
}

#ifdef WIDE
/* Slopes [c][op][ROWS]: one register holds the 16 rows of one (channel, output). */
static void pack_slopes(const float *slopes, int c, int o, int op, float *packed) {
  memset(packed, 0, sizeof(float) * c * op * ROWS);
  for (int ci = 0; ci < c; ci++)
    for (int r = 0; r < ROWS; r++)
      for (int oi = 0; oi < o; oi++)
        packed[((size_t)ci * op + oi) * ROWS + r] = slopes[((size_t)ci * ROWS + r) * o + oi];
}

/* gi[BLOCK] = sum_o g[o] * slope[row, o] of one channel. */
static void index_gradient(const float *g, size_t stride, const float *rows, const uint8_t *code,
                           const float *slopes, int o, int op, float *gi) {
  enum { GROUPS = BLOCK / 16 };
  __m512i index[GROUPS];
  __m512 acc[GROUPS];
  (void)rows;
  (void)op;
#pragma GCC unroll 8
  for (int k = 0; k < GROUPS; k++) {
    index[k] = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(code + 16 * k)));
    acc[k] = _mm512_setzero_ps();
  }
  for (int oi = 0; oi < o; oi++) {
    __m512 t = _mm512_loadu_ps(slopes + (size_t)oi * ROWS);
#pragma GCC unroll 8
    for (int k = 0; k < GROUPS; k++)
      acc[k] = _mm512_fmadd_ps(_mm512_permutexvar_ps(index[k], t),
                               _mm512_loadu_ps(g + oi * stride + 16 * k), acc[k]);
  }
#pragma GCC unroll 8
  for (int k = 0; k < GROUPS; k++) _mm512_storeu_ps(gi + 16 * k, acc[k]);
}
#else
/* Slopes as rows [c][ROWS][op]. */
static void pack_slopes(const float *slopes, int c, int o, int op, float *packed) {
  memset(packed, 0, sizeof(float) * c * op * ROWS);
  for (int r = 0; r < c * ROWS; r++)
    memcpy(packed + (size_t)r * op, slopes + (size_t)r * o, sizeof(float) * o);
}

/* gi[BLOCK] = sum_o g[o] * slope[row, o] of one channel. */
static void index_gradient(const float *g, size_t stride, const float *rows, const uint8_t *code,
                           const float *slopes, int o, int op, float *gi) {
  (void)g;
  (void)stride;
  (void)o;
  for (int p = 0; p < BLOCK; p++) {
    const float *slope = slopes + (code[p] & 15) * op;
    v8f acc = {0};
    for (int k = 0; k < op; k += 8) acc += *(const v8f *)(slope + k) * *(const v8f *)(rows + p * op + k);
    gi[p] = ((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7]));
  }
}
#endif

/* Zero the index gradients that push a clamped index further out. */
static void gate_index(const uint8_t *restrict code, float *restrict gi) {
  for (int p = 0; p < BLOCK; p++) {
    int blocked = ((code[p] & 16) && gi[p] > 0.0f) || ((code[p] & 32) && gi[p] < 0.0f);
    gi[p] = blocked ? 0.0f : gi[p];
  }
}

/* gf += transposed correlation of the padded index gradient with the taps (times scale). */
static void spread_gradient(const float *restrict padded, const float *restrict t, int h, int w,
                            float scale, float *restrict gf) {
  const size_t pitch = (size_t)w + 2;
  const float t0 = t[0] * scale, t1 = t[1] * scale, t2 = t[2] * scale, t3 = t[3] * scale;
  const float t4 = t[4] * scale, t5 = t[5] * scale, t6 = t[6] * scale, t7 = t[7] * scale;
  const float t8 = t[8] * scale;
  for (int i = 0; i < h; i++) {
    const float *restrict a = padded + i * pitch, *restrict b = a + pitch, *restrict d = b + pitch;
    float *restrict row = gf + (size_t)i * w;
    for (int j = 0; j < w; j++)
      row[j] += (t8 * a[j] + t7 * a[j + 1] + t6 * a[j + 2]) +
                (t5 * b[j] + t4 * b[j + 1] + t3 * b[j + 2]) +
                (t2 * d[j] + t1 * d[j + 1] + t0 * d[j + 2]);
  }
}

/* gtaps[k] += scale * sum_p gi[p] * f[p + k]; both planes padded. */
static void tap_gradient(const float *gi, const float *f, int h, int w, float scale,
                         float *gtaps) {
  const size_t pitch = (size_t)w + 2, last = (size_t)h * pitch;
  v16f acc[9];
  memset(acc, 0, sizeof acc);
  for (size_t q = 0; q < last; q += 16) { /* the border of gi is 0: no need to skip it */
    v16f g = *(const v16f *)(gi + pitch + 1 + q);
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++) acc[k] += g * *(const v16f *)(f + q + (k / 3) * pitch + k % 3);
  }
  for (int k = 0; k < 9; k++) {
    gtaps[k] += scale * sum_lanes(acc[k]);
  }
}

/* Gradients of intaglio_mixing_forward. slopes [c][ROWS][o]; out as computed (read only with
 * residual); gout as out -> gf as f, gtaps [c][9], gtables [c][ROWS][o] (all overwritten). */
int intaglio_mixing_backward(const float *f, const float *taps, const float *slopes,
                             const uint8_t *codes, const float *out, const float *gout, int b,
                             int c, int h, int w, int o, int tap_shift, int shift, int residual,
                             float *gf, float *gtaps, float *gtables) {
  const size_t hw = (size_t)h * w, pitch = intaglio_code_pitch(h, w);
  const size_t plane = (size_t)(h + 2) * (w + 2) + SLACK;
  const int op = (int)round_up(o, 8);
  const float scale = residual ? 1.0f / (float)(1 << shift) : 1.0f;
  const float tap_scale = 1.0f / (float)(1 << tap_shift);
  float *padded_f = scratch(sizeof(float) * plane), *padded_g = scratch(sizeof(float) * plane);
  float *packed = scratch(sizeof(float) * c * op * ROWS);
  float *sums = scratch(sizeof(float) * c * op * ROWS);
  float *g = scratch(sizeof(float) * op * pitch), *rows = scratch(sizeof(float) * op * BLOCK);
  float *gi = scratch(sizeof(float) * c * pitch);
  int failed = !padded_f || !padded_g || !packed || !sums || !g || !rows || !gi;
  if (!failed) {
    pack_slopes(slopes, c, o, op, packed);
    memset(sums, 0, sizeof(float) * c * op * ROWS);
    memset(g, 0, sizeof(float) * op * pitch); /* beyond the positions it stays 0 */
    memset(gtaps, 0, sizeof(float) * c * 9);
    for (int bi = 0; bi < b; bi++) {
      const uint8_t *image_codes = codes + bi * c * pitch;
      const float *image = f + bi * c * hw;
      float *image_gf = gf + bi * c * hw;
      for (int oi = 0; oi < o; oi++) { /* whole planes: long runs for the prefetcher */
        const size_t at = (bi * (size_t)o + oi) * hw;
        float *row = g + oi * pitch;
        if (residual) {
          gate_output(gout + at, out + at, hw, scale, image_gf + oi * hw, row);
        } else {
          memcpy(row, gout + at, sizeof(float) * hw);
        }
      }
      for (size_t p = 0; p < hw; p += BLOCK) {
        int n = hw - p < BLOCK ? (int)(hw - p) : BLOCK;
        transpose_block(g + p, pitch, op, rows);
        scatter(rows, image_codes + p, pitch, c, n, sums, op);
        for (int ci = 0; ci < c; ci++) {
          const uint8_t *code = image_codes + ci * pitch + p;
          float *row = gi + ci * pitch + p;
          index_gradient(g + p, pitch, rows, code, packed + (size_t)ci * op * ROWS, o, op, row);
          gate_index(code, row);
        }
      }
      for (int ci = 0; ci < c; ci++) {
        float *channel = image_gf + ci * hw;
        pad_plane(gi + ci * pitch, h, w, padded_g);
        pad_plane(image + ci * hw, h, w, padded_f);
        if (!residual) memset(channel, 0, sizeof(float) * hw);
        spread_gradient(padded_g, taps + 9 * ci, h, w, tap_scale, channel);
        tap_gradient(padded_g, padded_f, h, w, tap_scale, gtaps + 9 * ci);
      }
    }
    for (int r = 0; r < c * ROWS; r++)
      memcpy(gtables + (size_t)r * o, sums + (size_t)r * op, sizeof(float) * o);
  }
  free(padded_f);
  free(padded_g);
  free(packed);
  free(sums);
  free(g);
  free(rows);
  free(gi);
  return failed;
}

/* ---- stem --------------------------------------------------------------------------------- */

/* Windows of one image: patches [k*k][pitch], entry (a, b) of every cell's window, pixel - 128,
 * edges replicated; 0 beyond the cells. */
static void cut_patches(const uint8_t *x, int h, int w, int k, int stride, size_t pitch,
                        float *patches) {
  const int rows = (h + stride - 1) / stride, columns = (w + stride - 1) / stride;
  const int before = (k - stride) / 2;
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) {
      float *restrict plane = patches + (size_t)(a * k + b) * pitch;
      for (int i = 0; i < rows; i++) {
        int y = stride * i + a - before;
        y = y < 0 ? 0 : y > h - 1 ? h - 1 : y;
        const uint8_t *restrict line = x + (size_t)y * w;
        float *restrict to = plane + (size_t)i * columns;
        int start = b - before, j = 0, end = columns; /* inside: 0 <= stride*j + start < w */
        for (; j < end && stride * j + start < 0; j++) to[j] = (float)line[0] - 128.0f;
        while (end > j && stride * (end - 1) + start > w - 1) to[--end] = (float)line[w - 1] - 128.0f;
        if (stride == 1) {
          for (; j < end; j++) to[j] = (float)line[j + start] - 128.0f;
        } else {
          for (; j < end; j++) to[j] = (float)line[stride * j + start] - 128.0f;
        }
      }
      memset(plane + (size_t)rows * columns, 0, sizeof(float) * (pitch - (size_t)rows * columns));
    }
}

/* f = clamp(half_up(weights * (x - 128) + bias, shift)) for the first c outputs, the sums
 * themselves for the other o - c. x [b][h][w], weights [o][k*k], bias [o] (integers, sums below
 * 2^24) -> f [b][c][cells], skip [b][o-c][cells]. Returns 1 if memory is short. */
int intaglio_stem_forward(const uint8_t *x, const float *weights, const float *bias, int b, int h,
                          int w, int k, int stride, int c, int o, int shift, float *f,
                          float *skip) {
  const int rows = (h + stride - 1) / stride, columns = (w + stride - 1) / stride;
  const size_t cells = (size_t)rows * columns, pitch = intaglio_code_pitch(rows, columns);
  const int half = shift ? 1 << (shift - 1) : 0;
  float *patches = scratch(sizeof(float) * k * k * pitch);
  if (!patches) return 1;
  for (int bi = 0; bi < b; bi++) {
    cut_patches(x + (size_t)bi * h * w, h, w, k, stride, pitch, patches);
    for (int oi = 0; oi < o; oi++) {
      float *to = oi < c ? f + ((size_t)bi * c + oi) * cells
                         : skip + ((size_t)bi * (o - c) + oi - c) * cells;
      for (size_t p = 0; p < cells; p += 64) {
        v16f acc[4];
        for (int g = 0; g < 4; g++) acc[g] = (v16f){0} + bias[oi];
        for (int t = 0; t < k * k; t++)
#pragma GCC unroll 4
          for (int g = 0; g < 4; g++)
            acc[g] += weights[oi * k * k + t] * *(const v16f *)(patches + t * pitch + p + 16 * g);
        const float *sums = (const float *)acc;
        const int n = cells - p < 64 ? (int)(cells - p) : 64;
        if (oi < c) {
          for (int q = 0; q < n; q++) {
            int v = ((int)sums[q] + half) >> shift;
            v = v < -128 ? -128 : v;
            to[p + q] = (float)(v > 127 ? 127 : v);
          }
        } else {
          memcpy(to + p, sums, sizeof(float) * n);
        }
      }
    }
  }
  free(patches);
  return 0;
}

/* Gradients of intaglio_stem_forward for weights and bias (overwritten); f as computed. */
int intaglio_stem_backward(const uint8_t *x, const float *f, const float *gf, const float *gskip,
                           int b, int h, int w, int k, int stride, int c, int o, int shift,
                           float *gweights, float *gbias) {
  const int rows = (h + stride - 1) / stride, columns = (w + stride - 1) / stride;
  const size_t cells = (size_t)rows * columns, pitch = intaglio_code_pitch(rows, columns);
  const int area = k * k;
  float *patches = scratch(sizeof(float) * area * pitch);
  float *gated = scratch(sizeof(float) * pitch), *unscaled = scratch(sizeof(float) * pitch);
  int failed = !patches || !gated || !unscaled;
  if (!failed) {
    memset(gweights, 0, sizeof(float) * o * area);
    memset(gbias, 0, sizeof(float) * o);
    memset(gated, 0, sizeof(float) * pitch);
    for (int bi = 0; bi < b; bi++) {
      cut_patches(x + (size_t)bi * h * w, h, w, k, stride, pitch, patches);
      for (int oi = 0; oi < o; oi++) {
        if (oi < c) {
          const size_t at = ((size_t)bi * c + oi) * cells;
          gate_output(gf + at, f + at, cells, 1.0f / (float)(1 << shift), unscaled, gated);
        } else {
          memcpy(gated, gskip + ((size_t)bi * (o - c) + oi - c) * cells, sizeof(float) * cells);
        }
        float total = 0;
        for (size_t p = 0; p < cells; p += 16) total += sum_lanes(*(const v16f *)(gated + p));
        gbias[oi] += total;
        for (int t = 0; t < area; t++) {
          const float *patch = patches + t * pitch;
          v16f acc[4] = {{0}, {0}, {0}, {0}};
          for (size_t p = 0; p < pitch; p += 64)
#pragma GCC unroll 4
            for (int g = 0; g < 4; g++)
              acc[g] += *(const v16f *)(gated + p + 16 * g) * *(const v16f *)(patch + p + 16 * g);
          gweights[oi * area + t] += sum_lanes((acc[0] + acc[1]) + (acc[2] + acc[3]));
        }
      }
    }
  }
  free(patches);
  free(gated);
  free(unscaled);
  return failed;
}

/* ---- tables from their parameters --------------------------------------------------------- */

/* raw = basis theta for each channel; tables = round(clamp(raw)), slopes = central differences of
 * clamp(raw), one-sided at both ends. basis [ROWS][knots], theta [c][knots][o] -> raw, tables,
 * slopes [c][ROWS][o]. */
void intaglio_tables_forward(const float *basis, const float *theta, int c, int knots, int o,
                             float limit, float *raw, float *tables, float *slopes) {
  const size_t size = (size_t)ROWS * o;
  for (int ci = 0; ci < c; ci++) {
    float *all = raw + ci * size, *rounded = tables + ci * size, *slope = slopes + ci * size;
    memset(all, 0, sizeof(float) * size);
    for (int r = 0; r < ROWS; r++)
      for (int k = 0; k < knots; k++) {
        const float weight = basis[r * knots + k];
        if (weight == 0.0f) continue; /* a row lies between two knots of a block */
        const float *restrict from = theta + ((size_t)ci * knots + k) * o;
        float *restrict to = all + (size_t)r * o;
        for (int oi = 0; oi < o; oi++) to[oi] += weight * from[oi];
      }
    for (size_t n = 0; n < size; n++) {
      float v = all[n] < -limit ? -limit : all[n];
      v = v > limit ? limit : v;
      slope[n] = v;
      rounded[n] = __builtin_rintf(v);
    }
    for (int oi = 0; oi < o; oi++) {
      float column[ROWS];
      for (int r = 0; r < ROWS; r++) column[r] = slope[(size_t)r * o + oi];
      slope[oi] = column[1] - column[0];
      for (int r = 1; r < ROWS - 1; r++)
        slope[(size_t)r * o + oi] = 0.5f * (column[r + 1] - column[r - 1]);
      slope[(ROWS - 1) * (size_t)o + oi] = column[ROWS - 1] - column[ROWS - 2];
    }
  }
}

/* gtheta = basis^T gtables where the gradient passes the clamp. */
void intaglio_tables_backward(const float *basis, const float *raw, const float *gtables, int c,
                              int knots, int o, float limit, float *gtheta) {
  memset(gtheta, 0, sizeof(float) * c * knots * o);
  for (int ci = 0; ci < c; ci++)
    for (int r = 0; r < ROWS; r++) {
      const size_t at = ((size_t)ci * ROWS + r) * o;
      float gated[64];
      for (int oi = 0; oi < o; oi++) {
        float v = raw[at + oi], g = gtables[at + oi];
        gated[oi] = ((v < -limit) & (g > 0.0f)) | ((v > limit) & (g < 0.0f)) ? 0.0f : g;
      }
      for (int k = 0; k < knots; k++) {
        const float weight = basis[r * knots + k];
        if (weight == 0.0f) continue;
        float *restrict to = gtheta + ((size_t)ci * knots + k) * o;
        for (int oi = 0; oi < o; oi++) to[oi] += weight * gated[oi];
      }
    }
}

/* ---- last step ---------------------------------------------------------------------------- */

/* out = centre + half_up(u << head_shift + skip, out_shift): u, skip, out [n]; exact while the
 * sums stay below 2^31. */
void intaglio_finish(const float *restrict u, const float *restrict skip,
                     const float *restrict centre, size_t n, int head_shift, int out_shift,
                     float *restrict out) {
  const int half = out_shift ? 1 << (out_shift - 1) : 0, factor = 1 << head_shift;
  for (size_t p = 0; p < n; p++)
    out[p] = centre[p] + (float)(((int)u[p] * factor + (int)skip[p] + half) >> out_shift);
}
