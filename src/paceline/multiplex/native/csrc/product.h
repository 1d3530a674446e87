// y [rows, outputs] = x [rows, width] times matrix [outputs, width] transposed, in two ways with the same bits.
//
// Each output is sixteen sums over k = lane, lane + 16, …, then `sum` of these. Few rows read the matrix as it lies; for more
// it is first turned, a block of sixteen outputs after another, so that no sums must change places.
#pragma once

#include <algorithm>
#include <vector>

#include "vector.h"

#define PACELINE_INLINE inline __attribute__((always_inline))

namespace PACELINE_LEVEL {

constexpr std::int64_t kFewRows = 12;  // below, turning the matrix takes longer than it saves

// Sums of kRows rows with kColumns rows of the matrix, 16 in all.
template <int kRows, int kColumns>
PACELINE_INLINE void tile(const float* const* x, const float* matrix, std::int64_t width, float* to) {
    static_assert(kRows * kColumns == kLanes, "one vector of sums");
    V total[kLanes] = {};
    const auto add = [&](auto read) {
        V row[kRows];
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) row[i] = read(x[i]);
#pragma GCC unroll 16
        for (int j = 0; j < kColumns; ++j) {
            const V weight = read(matrix + j * width);
#pragma GCC unroll 16
            for (int i = 0; i < kRows; ++i) total[i * kColumns + j] += row[i] * weight;
        }
    };
    std::int64_t k = 0;
    for (; k + kLanes <= width; k += kLanes) add([k](const float* from) { return load(from + k); });
    if (k < width) add([k, width](const float* from) { return load_part(from + k, width - k); });
    store(to, sums(total));
}

template <int kRows, int kColumns>
void strip(const float* matrix, std::int64_t outputs, std::int64_t width, const float* const* x, float* const* y) {
    alignas(64) float made[kLanes];
    if (outputs < kColumns) {
        for (std::int64_t n = 0; n < outputs; ++n)
            for (int i = 0; i < kRows; ++i) {
                V total = {};
                std::int64_t k = 0;
                for (; k + kLanes <= width; k += kLanes) total += load(x[i] + k) * load(matrix + n * width + k);
                if (k < width) total += load_part(x[i] + k, width - k) * load_part(matrix + n * width + k, width - k);
                y[i][n] = sum(total);
            }
        return;
    }
    for (std::int64_t n = 0; n < outputs; n += kColumns) {
        const std::int64_t first = std::min(n, outputs - kColumns);  // the last block may overlap with the one before
        tile<kRows, kColumns>(x, matrix + first * width, width, made);
        for (int i = 0; i < kRows; ++i) std::memcpy(y[i] + first, made + i * kColumns, kColumns * sizeof(float));
    }
}

// ── turned ───────────────────────────────────────────────────────────────────────────────────────

#if defined(__AVX512F__)
// v[i][j] and v[j][i] change places.
PACELINE_INLINE void transpose(__m512 (&v)[kLanes]) {
    __m512 w[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i += 4) {
        const __m512 a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        w[i] = _mm512_shuffle_ps(a, c, 0x44);
        w[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        w[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        w[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 4; ++i) {
        const __m512 a = _mm512_shuffle_f32x4(w[i], w[i + 4], 0x88), b = _mm512_shuffle_f32x4(w[i], w[i + 4], 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(w[i + 8], w[i + 12], 0x88), d = _mm512_shuffle_f32x4(w[i + 8], w[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}
#endif

// Sixteen rows of the matrix, or fewer and zeros, as [width, 16].
inline void turn(const float* matrix, std::int64_t count, std::int64_t width, float* to) {
    std::int64_t k = 0;
#if defined(__AVX512F__)
    for (; count == kLanes && k + kLanes <= width; k += kLanes) {
        __m512 v[kLanes];
#pragma GCC unroll 16
        for (int n = 0; n < kLanes; ++n) v[n] = _mm512_loadu_ps(matrix + n * width + k);
        transpose(v);
#pragma GCC unroll 16
        for (int n = 0; n < kLanes; ++n) _mm512_storeu_ps(to + (k + n) * kLanes, v[n]);
    }
#endif
    for (; k < width; ++k)
        for (std::int64_t n = 0; n < kLanes; ++n) to[k * kLanes + n] = n < count ? matrix[n * width + k] : 0.0f;
}

template <int kRows>
void turned_rows(const float* turned, std::int64_t width, const float* const* x, float* const* y, std::int64_t count) {
    V whole[kRows];
    V quarter[4][kRows];
#pragma GCC unroll 4
    for (int lane = 0; lane < 4; ++lane) {
        V total[4][kRows] = {};
        std::int64_t k = lane;
        for (; k + 12 < width; k += kLanes) {
#pragma GCC unroll 4
            for (int part = 0; part < 4; ++part) {
                const V weight = load(turned + (k + 4 * part) * kLanes);
#pragma GCC unroll 4
                for (int i = 0; i < kRows; ++i) total[part][i] += x[i][k + 4 * part] * weight;
            }
        }
#pragma GCC unroll 4
        for (int part = 0; part < 4; ++part)
            if (k + 4 * part < width) {
                const V weight = load(turned + (k + 4 * part) * kLanes);
                for (int i = 0; i < kRows; ++i) total[part][i] += x[i][k + 4 * part] * weight;
            }
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) quarter[lane][i] = (total[0][i] + total[2][i]) + (total[1][i] + total[3][i]);
    }
    for (int i = 0; i < kRows; ++i) {
        whole[i] = (quarter[0][i] + quarter[2][i]) + (quarter[1][i] + quarter[3][i]);
        if (count == kLanes)
            store(y[i], whole[i]);
        else
            store_part(y[i], whole[i], count);
    }
}

// `room` holds [width, 16] floats.
inline void product(const float* matrix, std::int64_t outputs, std::int64_t width, const float* const* x, float* const* y,
                    std::int64_t rows, std::vector<float>& room, std::vector<float*>& places) {
    std::int64_t row = 0;
    if (rows < kFewRows) {
        for (; row + 4 <= rows; row += 4) strip<4, 4>(matrix, outputs, width, x + row, y + row);
        for (; row + 2 <= rows; row += 2) strip<2, 8>(matrix, outputs, width, x + row, y + row);
        for (; row < rows; ++row) strip<1, 16>(matrix, outputs, width, x + row, y + row);
        return;
    }
    room.resize(std::size_t(width * kLanes));
    places.resize(std::size_t(rows));
    for (std::int64_t n = 0; n < outputs; n += kLanes) {
        const std::int64_t count = std::min<std::int64_t>(kLanes, outputs - n);
        turn(matrix + n * width, count, width, room.data());
        for (row = 0; row < rows; ++row) places[std::size_t(row)] = y[row] + n;
        row = 0;
        for (; row + 4 <= rows; row += 4) turned_rows<4>(room.data(), width, x + row, places.data() + row, count);
        for (; row < rows; ++row) turned_rows<1>(room.data(), width, x + row, places.data() + row, count);
    }
}

}  // namespace PACELINE_LEVEL
