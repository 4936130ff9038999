/* How many entries of 16-row int8 tables can one thread look up and add, with all data in L1?

   sums[position][output] = sum over channels of tables[channel][row of it][output], as a table
   layer does it, and nothing else: the rows are known. Each processor has its own inner loop. */
#include <stdint.h>

#define CHANNELS 24
#define OUTPUTS 16
#define POSITIONS 64
#define ROWS 16

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#include <immintrin.h>

/* For 4 channels and one output, 64 bytes are the table of `vpermb`; a byte of the index is
   16 * channel + row, 16 positions of 4 channels each. `vpdpbusd` adds the 4. */
static int8_t packed[CHANNELS / 4][OUTPUTS][64] __attribute__((aligned(64)));
static uint8_t indices[POSITIONS / 16][CHANNELS / 4][64] __attribute__((aligned(64)));
static int32_t total[OUTPUTS][POSITIONS] __attribute__((aligned(64)));

const char *roofline_kernel(void) { return "vpermb + vpdpbusd"; }

void roofline_prepare(const int8_t *tables, const uint8_t *rows)
{
    int c, o, r, p;
    for (c = 0; c < CHANNELS; c++) {
        for (r = 0; r < ROWS; r++) {
            for (o = 0; o < OUTPUTS; o++) {
                packed[c / 4][o][c % 4 * ROWS + r] = tables[(c * ROWS + r) * OUTPUTS + o];
            }
        }
        for (p = 0; p < POSITIONS; p++) {
            indices[p / 16][c / 4][p % 16 * 4 + c % 4] =
                (uint8_t)(c % 4 * ROWS + rows[p * CHANNELS + c]);
        }
    }
}

static void look_up(void)
{
    const __m512i ones = _mm512_set1_epi8(1);
    int o, b, g;
    for (o = 0; o < OUTPUTS; o++) {
        __m512i table[CHANNELS / 4], sum[POSITIONS / 16];
        for (g = 0; g < CHANNELS / 4; g++) {
            table[g] = _mm512_load_si512(packed[g][o]);
        }
        for (b = 0; b < POSITIONS / 16; b++) {
            sum[b] = _mm512_setzero_si512();
        }
        /* Positions inside: their sums do not wait for each other. */
        for (g = 0; g < CHANNELS / 4; g++) {
            for (b = 0; b < POSITIONS / 16; b++) {
                const __m512i index = _mm512_load_si512(indices[b][g]);
                const __m512i found = _mm512_permutexvar_epi8(index, table[g]);
                sum[b] = _mm512_dpbusd_epi32(sum[b], ones, found);
            }
        }
        for (b = 0; b < POSITIONS / 16; b++) {
            _mm512_store_si512(total[o] + 16 * b, sum[b]);
        }
    }
}

void roofline_result(int32_t *sums)
{
    int p, o;
    for (p = 0; p < POSITIONS; p++) {
        for (o = 0; o < OUTPUTS; o++) {
            sums[p * OUTPUTS + o] = total[o][p];
        }
    }
}

#else
/* A row of 16 entries is 16 bytes: read it, widen it, add it. */
static int8_t packed[CHANNELS][ROWS][OUTPUTS] __attribute__((aligned(64)));
static uint8_t indices[POSITIONS][CHANNELS];
static int16_t total[POSITIONS][OUTPUTS] __attribute__((aligned(64)));

#if defined(__AVX2__)
#include <immintrin.h>

const char *roofline_kernel(void) { return "vpmovsxbw + vpaddw"; }

static void look_up(void)
{
    int p, c;
    for (p = 0; p < POSITIONS; p += 2) {
        __m256i first = _mm256_setzero_si256(), second = _mm256_setzero_si256();
        for (c = 0; c < CHANNELS; c++) {
            const __m128i *a = (const __m128i *)packed[c][indices[p][c]];
            const __m128i *b = (const __m128i *)packed[c][indices[p + 1][c]];
            first = _mm256_add_epi16(first, _mm256_cvtepi8_epi16(_mm_load_si128(a)));
            second = _mm256_add_epi16(second, _mm256_cvtepi8_epi16(_mm_load_si128(b)));
        }
        _mm256_store_si256((__m256i *)total[p], first);
        _mm256_store_si256((__m256i *)total[p + 1], second);
    }
}
#else

const char *roofline_kernel(void) { return "plain C"; }

static void look_up(void)
{
    int p, c, o;
    for (p = 0; p < POSITIONS; p++) {
        int16_t sum[OUTPUTS] = {0};
        for (c = 0; c < CHANNELS; c++) {
            const int8_t *row = packed[c][indices[p][c]];
            for (o = 0; o < OUTPUTS; o++) {
                sum[o] = (int16_t)(sum[o] + row[o]);
            }
        }
        for (o = 0; o < OUTPUTS; o++) {
            total[p][o] = sum[o];
        }
    }
}
#endif

void roofline_prepare(const int8_t *tables, const uint8_t *rows)
{
    int i;
    for (i = 0; i < CHANNELS * ROWS * OUTPUTS; i++) {
        ((int8_t *)packed)[i] = tables[i];
    }
    for (i = 0; i < POSITIONS * CHANNELS; i++) {
        ((uint8_t *)indices)[i] = rows[i];
    }
}

void roofline_result(int32_t *sums)
{
    int i;
    for (i = 0; i < POSITIONS * OUTPUTS; i++) {
        sums[i] = ((int16_t *)total)[i];
    }
}
#endif

void roofline_run(int64_t repeats)
{
    int64_t i;
    for (i = 0; i < repeats; i++) {
        look_up();
        /* Every repeat reads and writes its data anew. */
        __asm__ volatile("" ::: "memory");
    }
}
