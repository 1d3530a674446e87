// Small vector helpers. Every file that includes this one is compiled for AVX-512 BF16 and VNNI.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace paceline {

using bf16 = std::uint16_t;
using f16 = std::uint16_t;

constexpr int kLanes = 16;

inline std::size_t round_up(std::size_t value, std::size_t step) {
    return (value + step - 1) / step * step;
}

inline __m512 widen_bf16(const bf16* from) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

inline __m512 widen_f16(const f16* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline float widen_bf16(bf16 value) {
    const std::uint32_t bits = std::uint32_t{value} << 16;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

// Round to nearest even.
inline void narrow_bf16(bf16* to, __m512 value) {
    const __m256bh half = _mm512_cvtneps_pbh(value);
    std::memcpy(to, &half, sizeof half);
}

inline __m512 load(const float* from) {
    return _mm512_loadu_ps(from);
}
inline __m512 load(const bf16* from) {
    return widen_bf16(from);
}
inline void store(float* to, __m512 value) {
    _mm512_storeu_ps(to, value);
}
inline void store(bf16* to, __m512 value) {
    narrow_bf16(to, value);
}

// e^x to 2 ulp; NaN stays NaN: max_ps returns its second operand when either is NaN.
inline __m512 exp(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, n);
}

inline __m512 silu(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(x, _mm512_add_ps(one, exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __mmask16 first_lanes(int count) {
    return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << (count < 0 ? 0 : count)) - 1);
}

}  // namespace paceline
