/* Table layers of TinyLUT's structure with their gradients, for training on a CPU.
 *
 * Maps are channels-last float32 that hold integers; tables have any number of rows, and outputs
 * padded to a multiple of 8. With rne(v) = v rounded to nearest, ties to even:
 *
 *   S[p,o] = sum_c T[c, f[p,c] - low, o]
 *   m[p,o] = clamp(rne(S / count) + rest, least, most)     rest: f[p,o], or f[p, last] for all o
 *   y[p,o] = clamp(rne(alpha[o] * m), least, most)         alpha may be missing: y = m
 *
 * and the depthwise layer, whose window reaches two positions up and left (f = 0 outside):
 *
 *   S[p,c] = sum_t T[t, c, f[p + t - (2,2), c] - low]
 *
 * Gradients pass straight through roundings; through a clamp they pass if a step against them
 * pulls the value back. What a clamp did is seen from the clamped value, so one at the very end of
 * the range counts as clamped.
 *
 * Needs gcc or clang (vector extensions).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define REACH 2
#define TAPS 9

typedef float v8f __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4f __attribute__((vector_size(16), aligned(4), may_alias));

INLINE v8f load(const float *at) { return *(const v8f *)at; }

/* Sum of eight numbers. */
INLINE float total(v8f v) {
  v4f half = (v4f){v[0], v[1], v[2], v[3]} + (v4f){v[4], v[5], v[6], v[7]};
  return (half[0] + half[1]) + (half[2] + half[3]);
}

INLINE float within(float v, float least, float most) {
  v = v < least ? least : v;
  return v > most ? most : v;
}

/* Whether a gradient is stopped by a clamp that made v. */
INLINE float pass(float gradient, float v, float least, float most) {
  return ((v <= least) & (gradient > 0)) | ((v >= most) & (gradient < 0)) ? 0.0f : gradient;
}

INLINE void forward(const float *restrict f, long positions, int channels, int rest, float low,
                    int rows, int outputs, const float *restrict tables, float count, float least,
                    float most, const float *restrict alpha, float *restrict mean,
                    float *restrict y) {
  for (long p = 0; p < positions; p++) {
    const float *x = f + p * channels;
    float sum[32] __attribute__((aligned(64)));
    for (int o = 0; o < outputs; o++) sum[o] = 0;
    for (int c = 0; c < channels; c++) {
      const float *row = tables + ((long)c * rows + (int)(x[c] - low)) * outputs;
      for (int o = 0; o < outputs; o++) sum[o] += row[o];
    }
    float *m = mean + p * outputs;
    if (rest < 0)
      for (int o = 0; o < outputs; o++) m[o] = __builtin_rintf(sum[o] / count) + x[channels - 1];
    else if (rest == outputs)
      for (int o = 0; o < outputs; o++) m[o] = __builtin_rintf(sum[o] / count) + x[o];
    else
      for (int o = 0; o < outputs; o++) m[o] = o < rest ? __builtin_rintf(sum[o] / count) + x[o] : 0;
    for (int o = 0; o < outputs; o++) m[o] = within(m[o], least, most);
    float *out = y + p * outputs;
    for (int o = 0; o < outputs; o++)
      out[o] = alpha ? within(__builtin_rintf(alpha[o] * m[o]), least, most) : m[o];
  }
}

/* Gradient of m from that of y; adds to alpha's. */
INLINE void settle_back(const float *restrict g, const float *restrict m, int outputs, float least,
                        float most, const float *restrict alpha, float *restrict for_alpha,
                        float *restrict inner) {
  for (int o = 0; o < outputs; o++) {
    float v = g[o];
    if (alpha) {
      float scaled = alpha[o] * m[o];
      v = (scaled < least && v > 0) || (scaled > most && v < 0) ? 0.0f : v;
      for_alpha[o] += v * m[o];
      v *= alpha[o];
    }
    inner[o] = pass(v, m[o], least, most);
  }
}

INLINE void backward(const float *restrict f, long positions, int channels, int rest, float low,
                     int rows, int outputs, const float *restrict slopes, float count, float least,
                     float most, const float *restrict alpha, const float *restrict mean,
                     const float *restrict gradient, float *restrict for_f,
                     float *restrict for_tables, float *restrict for_alpha) {
  for (long p = 0; p < positions; p++) {
    float g[32] __attribute__((aligned(64)));
    settle_back(gradient + p * outputs, mean + p * outputs, outputs, least, most, alpha, for_alpha,
                g);
    const float *x = f + p * channels;
    float *back = for_f ? for_f + p * channels : 0;
    if (back) {
      for (int c = 0; c < channels; c++) back[c] = 0;
      for (int o = 0; o < rest; o++) back[o] = g[o];
    }
    for (int o = 0; o < outputs; o++) g[o] /= count;
    for (int c = 0; c < channels; c++) {
      long row = ((long)c * rows + (int)(x[c] - low)) * outputs;
      v8f dot = {0};
      for (int o = 0; o < outputs; o += 8) {
        v8f part = load(g + o);
        *(v8f *)(for_tables + row + o) += part;
        if (back) dot += part * load(slopes + row + o);
      }
      if (back) back[c] += total(dot);
    }
  }
}

/* Constant sizes let the compiler keep a position's outputs in registers. */
#define EACH_SIZE(call) \
  switch (outputs) {    \
    case 8: call(8)     \
    case 16: call(16)   \
    case 24: call(24)   \
    case 32: call(32)   \
    default: return 1;  \
  }

/* mean, y: [positions, outputs]. rest: how many f are added one by one, or -1 for the last. */
int intaglio_rows_forward(const float *f, long positions, int channels, int rest, float low,
                          int rows, int outputs, const float *tables, float count, float least,
                          float most, const float *alpha, float *mean, float *y) {
#define CALL(n)                                                                                    \
  if (channels == 16) forward(f, positions, 16, rest, low, rows, n, tables, count, least, most,    \
                              alpha, mean, y);                                                     \
  else forward(f, positions, channels, rest, low, rows, n, tables, count, least, most, alpha,      \
               mean, y);                                                                           \
  return 0;
  EACH_SIZE(CALL)
#undef CALL
}

/* for_f may be missing; for_tables and for_alpha are overwritten. */
int intaglio_rows_backward(const float *f, long positions, int channels, int rest, float low,
                           int rows, int outputs, const float *slopes, float count, float least,
                           float most, const float *alpha, const float *mean,
                           const float *gradient, float *for_f, float *for_tables,
                           float *for_alpha) {
  memset(for_tables, 0, sizeof(float) * (size_t)channels * rows * outputs);
  if (alpha) memset(for_alpha, 0, sizeof(float) * outputs);
#define CALL(n)                                                                                    \
  backward(f, positions, channels, rest, low, rows, n, slopes, count, least, most, alpha, mean,    \
           gradient, for_f, for_tables, for_alpha);                                                \
  return 0;
  EACH_SIZE(CALL)
#undef CALL
}

/* Rows of a map with a border of two rows and columns of the level 0 in front. */
static uint16_t *padded_rows(const float *f, int h, int w, int channels, float low) {
  int pitch = (w + REACH) * channels;
  uint16_t *rows = malloc(sizeof(uint16_t) * (size_t)(h + REACH) * pitch);
  if (!rows) return 0;
  for (long n = 0; n < (long)(h + REACH) * pitch; n++) rows[n] = (uint16_t)(int)(0 - low);
  for (int i = 0; i < h; i++) {
    const float *x = f + (long)i * w * channels;
    uint16_t *to = rows + (long)(i + REACH) * pitch + REACH * channels;
    for (int n = 0; n < w * channels; n++) to[n] = (uint16_t)(int)(x[n] - low);
  }
  return rows;
}

/* f, mean, y: [images, h, w, channels]; tables [9, channels, rows]. */
int intaglio_depthwise_forward(const float *f, int images, int h, int w, int channels, float low,
                               int rows, const float *tables, float least, float most,
                               const float *alpha, float *mean, float *y) {
  float *sum = malloc(sizeof(float) * (size_t)w * channels);
  if (!sum) return 1;
  long pitch = (long)(w + REACH) * channels;
  for (int b = 0; b < images; b++) {
    const float *image = f + (long)b * h * w * channels;
    uint16_t *index = padded_rows(image, h, w, channels, low);
    if (!index) {
      free(sum);
      return 1;
    }
    for (int i = 0; i < h; i++) {
      memset(sum, 0, sizeof(float) * (size_t)w * channels);
      for (int t = 0; t < TAPS; t++) {
        const uint16_t *at = index + (i + t / 3) * pitch + (t % 3) * channels;
        const float *table = tables + (long)t * channels * rows;
        for (int j = 0; j < w; j++)
          for (int c = 0; c < channels; c++)
            sum[j * channels + c] += table[c * rows + at[j * channels + c]];
      }
      long line = ((long)b * h + i) * w * channels;
      for (int j = 0; j < w; j++)
        for (int c = 0; c < channels; c++) {
          long n = line + j * channels + c;
          float m = __builtin_rintf(sum[j * channels + c] / TAPS) + f[n];
          m = within(m, least, most);
          mean[n] = m;
          y[n] = alpha ? within(__builtin_rintf(alpha[c] * m), least, most) : m;
        }
    }
    free(index);
  }
  free(sum);
  return 0;
}

/* for_f, for_tables and for_alpha are overwritten. */
int intaglio_depthwise_backward(const float *f, int images, int h, int w, int channels, float low,
                                int rows, const float *slopes, float least, float most,
                                const float *alpha, const float *mean, const float *gradient,
                                float *for_f, float *for_tables, float *for_alpha) {
  long pitch = (long)(w + REACH) * channels, size = (long)(h + REACH) * pitch;
  float *padded = malloc(sizeof(float) * size);
  float *g = malloc(sizeof(float) * (size_t)w * channels);
  memset(for_tables, 0, sizeof(float) * (size_t)TAPS * channels * rows);
  if (alpha) memset(for_alpha, 0, sizeof(float) * channels);
  for (int b = 0; b < images && padded && g; b++) {
    long image = (long)b * h * w * channels;
    uint16_t *index = padded_rows(f + image, h, w, channels, low);
    if (!index) {
      free(padded);
      padded = 0;
      break;
    }
    memset(padded, 0, sizeof(float) * size);
    for (int i = 0; i < h; i++) {
      long line = image + (long)i * w * channels;
      float *own = padded + (i + REACH) * pitch + REACH * channels;
      for (int j = 0; j < w; j++)
        settle_back(gradient + line + j * channels, mean + line + j * channels, channels, least,
                    most, alpha, for_alpha, g + j * channels);
      for (int n = 0; n < w * channels; n++) {
        own[n] += g[n];
        g[n] /= TAPS;
      }
      for (int t = 0; t < TAPS; t++) {
        long place = (i + t / 3) * pitch + (t % 3) * channels;
        const uint16_t *at = index + place;
        float *to = padded + place;
        const float *slope = slopes + (long)t * channels * rows;
        float *entry = for_tables + (long)t * channels * rows;
        for (int j = 0; j < w; j++)
          for (int c = 0; c < channels; c++) {
            int row = c * rows + at[j * channels + c];
            float v = g[j * channels + c];
            to[j * channels + c] += v * slope[row];
            entry[row] += v;
          }
      }
    }
    for (int i = 0; i < h; i++)
      memcpy(for_f + image + (long)i * w * channels,
             padded + (i + REACH) * pitch + REACH * channels, sizeof(float) * w * channels);
    free(index);
  }
  int failed = !padded || !g;
  free(padded);
  free(g);
  return failed;
}
