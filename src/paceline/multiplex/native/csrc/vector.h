// Sixteen numbers at once. Compilers make as many registers of them as the instruction set needs, and the same sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace PACELINE_LEVEL {

constexpr int kLanes = 16;
using V = float __attribute__((vector_size(64), aligned(64)));
using I = std::int32_t __attribute__((vector_size(64), aligned(64)));

inline V load(const float* from) {
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store(float* to, V value) {
    std::memcpy(to, &value, sizeof value);
}

// The first `count` numbers, zeros after them.
inline V load_part(const float* from, std::int64_t count) {
#if defined(__AVX512F__)
    return (V)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
#else
    V value = {};
    std::memcpy(&value, from, std::size_t(count) * sizeof(float));
    return value;
#endif
}

inline void store_part(float* to, V value, std::int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)value);
#else
    std::memcpy(to, &value, std::size_t(count) * sizeof(float));
#endif
}

inline V all(float value) {
    return V{} + value;
}

inline float sum(V v) {
    float part[kLanes];
    store(part, v);
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; ++lane) part[lane] += part[lane + width];
    return part[0];
}

// Lane i of the result is the sum of the lanes of v[i], in the order of `sum`.
inline V sums(V (&v)[kLanes]) {
#if defined(__AVX512F__)
    const auto join = [](V a, V b, auto low, auto high) { return low(a, b) + high(a, b); };
    for (int i = 0; i < 8; ++i)
        v[i] = join(
            v[i], v[i + 8],
            [](V a, V b) { return (V)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x44); },
            [](V a, V b) { return (V)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xee); });
    for (int i = 0; i < 4; ++i)
        v[i] = join(
            v[i], v[i + 4],
            [](V a, V b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27); },
            [](V a, V b) { return __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31); });
    for (int i = 0; i < 2; ++i)
        v[i] = join(
            v[i], v[i + 2], [](V a, V b) { return (V)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x44); },
            [](V a, V b) { return (V)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xee); });
    return join(
        v[0], v[1],
        [](V a, V b) { return (V)_mm512_permute_ps(_mm512_shuffle_ps((__m512)a, (__m512)b, 0x88), 0xd8); },
        [](V a, V b) { return (V)_mm512_permute_ps(_mm512_shuffle_ps((__m512)a, (__m512)b, 0xdd), 0xd8); });
#else
    V out;
    for (int i = 0; i < kLanes; ++i) out[i] = sum(v[i]);
    return out;
#endif
}

// e^x to about 2 ulp; NaN stays NaN, since no comparison with it holds.
inline V exponential(V x) {
    x = x < all(-87.0f) ? all(-87.0f) : x;
    x = x > all(88.0f) ? all(88.0f) : x;
    const V shifted = x * 1.44269504088896341f + 12582912.0f;  // the nearest whole number stands in the last bits
    const V n = shifted - 12582912.0f;
    const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.0f);
    return p * (V)(((I)shifted + (127 - 0x4b400000)) << 23);
}

inline V sigmoid(V x) {
    return 1.0f / (1.0f + exponential(-x));
}

inline V tangent(V x) {
    return 2.0f * sigmoid(2.0f * x) - 1.0f;
}

// Abramowitz and Stegun 7.1.26: within 2e-7.
inline V error_function(V x) {
    const V size = x < 0.0f ? -x : x;
    const V t = 1.0f / (1.0f + 0.3275911f * size);
    V p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const V value = 1.0f - p * t * exponential(-size * size);
    return x < 0.0f ? -value : value;
}

}  // namespace PACELINE_LEVEL
