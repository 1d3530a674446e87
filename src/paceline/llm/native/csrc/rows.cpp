#include "rows.h"

#include <cmath>

namespace paceline {
namespace {

constexpr float kNothing = 1e-30f;  // the inverse of less could overflow

float inverse_root(__m512 squares, int count, float epsilon) {
    return 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / static_cast<float>(count) + epsilon);
}

void write_bytes(Operand& operand, int row, const float* values) {
    const int size = group_of(operand.kind);
    const std::int32_t zero = operand.kind == Kind::int8 ? 128 : 8;
    std::int8_t* to = operand.row<std::int8_t>(row);
    for (int group = 0; group < operand.groups; ++group) {
        __m512 largest = _mm512_setzero_ps();
        __mmask16 broken = 0;
        for (int i = 0; i < size; i += kLanes) {
            const __m512 value = _mm512_loadu_ps(values + group * size + i);
            largest = _mm512_max_ps(largest, _mm512_abs_ps(value));
            broken |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
        }
        const float limit = _mm512_reduce_max_ps(largest);
        const __m512 inverse = _mm512_set1_ps(limit > kNothing ? 127.0f / limit : 0.0f);
        __m512i sum = _mm512_setzero_si512();
        for (int i = 0; i < size; i += kLanes) {
            const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(values + group * size + i), inverse);
            const __m512i level = _mm512_cvtps_epi32(value);
            sum = _mm512_add_epi32(sum, level);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + group * size + i), _mm512_cvtsepi32_epi8(level));
        }
        const std::size_t at = static_cast<std::size_t>(row) * operand.groups + group;
        operand.scales[at] = broken != 0 ? NAN : limit / 127.0f;
        operand.offsets[at] = -zero * _mm512_reduce_add_epi32(sum);
    }
}

}  // namespace

void write_operand(Operand& operand, int row, const float* values) {
    if (is_integer(operand.kind)) {
        write_bytes(operand, row, values);
    } else if (operand.kind == Kind::bf16) {
        for (int i = 0; i < operand.depth; i += kLanes)
            narrow_bf16(operand.row<bf16>(row) + i, _mm512_loadu_ps(values + i));
    } else {
        std::memcpy(operand.row<float>(row), values, sizeof(float) * operand.depth);
    }
}

void rms_norm(const float* values, const float* weight, int count, int padded, float epsilon, float* out) {
    __m512 squares[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int i = 0; i < padded; i += 4 * kLanes) {
#pragma GCC unroll 4
        for (int part = 0; part < 4; ++part) {
            const __m512 value = _mm512_loadu_ps(values + i + part * kLanes);
            squares[part] = _mm512_fmadd_ps(value, value, squares[part]);
        }
    }
    const __m512 total = _mm512_add_ps(_mm512_add_ps(squares[0], squares[1]), _mm512_add_ps(squares[2], squares[3]));
    const __m512 scale = _mm512_set1_ps(inverse_root(total, count, epsilon));
    for (int i = 0; i < padded; i += kLanes) {
        const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(values + i), scale);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(value, _mm512_loadu_ps(weight + i)));
    }
}

void rms_norm_head(float* values, const float* weight, int count, float epsilon) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < count; i += kLanes) {
        const __m512 value = _mm512_maskz_loadu_ps(first_lanes(count - i), values + i);
        squares = _mm512_fmadd_ps(value, value, squares);
    }
    const __m512 scale = _mm512_set1_ps(inverse_root(squares, count, epsilon));
    for (int i = 0; i < count; i += kLanes) {
        const __mmask16 lanes = first_lanes(count - i);
        const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, values + i), scale);
        _mm512_mask_storeu_ps(values + i, lanes, _mm512_mul_ps(value, _mm512_maskz_loadu_ps(lanes, weight + i)));
    }
}

void rotate_head(float* values, const float* cos, const float* sin, int dim) {
    const int half = dim / 2;
    for (int i = 0; i < half; i += kLanes) {
        const __mmask16 lanes = first_lanes(half - i);
        const __m512 c = _mm512_maskz_loadu_ps(lanes, cos + i), s = _mm512_maskz_loadu_ps(lanes, sin + i);
        const __m512 first = _mm512_maskz_loadu_ps(lanes, values + i);
        const __m512 second = _mm512_maskz_loadu_ps(lanes, values + half + i);
        _mm512_mask_storeu_ps(values + i, lanes, _mm512_fmsub_ps(first, c, _mm512_mul_ps(second, s)));
        _mm512_mask_storeu_ps(values + half + i, lanes, _mm512_fmadd_ps(second, c, _mm512_mul_ps(first, s)));
    }
}

}  // namespace paceline
