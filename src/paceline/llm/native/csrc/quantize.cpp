// The arithmetic of quantize.py, 16 columns at a time: every rounding step is the same.
#include <cmath>

#include "pack.h"

namespace paceline {
namespace {

__m512i round_to_integer(__m512 value, int low, int high) {
    const __m512i rounded = _mm512_cvtps_epi32(value);
    return _mm512_min_epi32(_mm512_max_epi32(rounded, _mm512_set1_epi32(low)), _mm512_set1_epi32(high));
}

// bf16 bits in the upper half of each lane, the lower half zero.
__m512 round_bf16(__m512 value) {
    alignas(32) bf16 half[kLanes];
    narrow_bf16(half, value);
    return widen_bf16(half);
}

// The smallest bf16 that is not below a non-negative value: a largest weight is never clipped.
__m512 round_bf16_up(__m512 value) {
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(value), _mm512_set1_epi32(0xffff));
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

void store_scale(std::uint8_t* scales, int part, __m512 scale) {
    const __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(scale), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(scales + part * kLanes * sizeof(bf16)), half);
}

__m512 not_a_number() {
    return _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
}

// Extremes of each column; lanes that hold a NaN anywhere are flagged.
struct Range {
    Range(const float* values, int size) {
        for (int k = 0; k < size; ++k) {
            const __m512 value = _mm512_load_ps(values + k * kPanel);
            low = _mm512_min_ps(low, value);
            high = _mm512_max_ps(high, value);
            broken |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
        }
    }
    __m512 low = _mm512_setzero_ps();
    __m512 high = _mm512_setzero_ps();
    __mmask16 broken = 0;
};

// The inverse of a scale near zero could overflow: such a group is all zeros.
__m512 inverse_or_zero(__m512 scale) {
    const __mmask16 usable = _mm512_cmp_ps_mask(_mm512_abs_ps(scale), _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    return _mm512_maskz_div_ps(usable, _mm512_set1_ps(1.0f), scale);
}

// Scales of 16 columns of a group of four bits, the best so far.
class Search {
public:
    Search(const float* values, __m512 first) : values_(values), best_(first) {}

    void consider(__m512 scale) {
        const __m512 inverse = inverse_or_zero(scale);
        __m512 error = _mm512_setzero_ps();
        for (int k = 0; k < kInt4Group; ++k) {
            const __m512 difference = _mm512_sub_ps(value(k), _mm512_mul_ps(level(k, inverse), scale));
            error = _mm512_add_ps(error, _mm512_mul_ps(difference, difference));
        }
        const __mmask16 better = _mm512_cmp_ps_mask(error, least_, _CMP_LT_OQ);
        best_ = _mm512_mask_blend_ps(better, best_, scale);
        least_ = _mm512_mask_blend_ps(better, least_, error);
    }

    // Of all real scales the one that fits the levels of the best.
    void fit() {
        const __m512 inverse = inverse_or_zero(best_);
        __m512 products = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int k = 0; k < kInt4Group; ++k) {
            const __m512 whole = level(k, inverse);
            products = _mm512_add_ps(products, _mm512_mul_ps(value(k), whole));
            squares = _mm512_add_ps(squares, _mm512_mul_ps(whole, whole));
        }
        const __mmask16 any = _mm512_cmp_ps_mask(squares, _mm512_setzero_ps(), _CMP_GT_OQ);
        consider(round_bf16(_mm512_mask_div_ps(best_, any, products, squares)));
    }

    __m512 best() const { return best_; }

private:
    __m512 value(int k) const { return _mm512_load_ps(values_ + k * kPanel); }
    __m512 level(int k, __m512 inverse) const {
        return _mm512_cvtepi32_ps(round_to_integer(_mm512_mul_ps(value(k), inverse), -8, 7));
    }

    const float* values_;
    __m512 best_;
    __m512 least_ = _mm512_set1_ps(INFINITY);
};

constexpr float kClips[] = {1.0f, 1.15f, 1.1f, 1.05f, 0.95f, 0.9f, 0.85f, 0.8f};

__m512 search_scale(const float* values, const Range& range) {
    // The value of largest magnitude becomes -8, the level without a positive twin.
    const __m512 minus_low = _mm512_sub_ps(_mm512_setzero_ps(), range.low);
    const __mmask16 positive = _mm512_cmp_ps_mask(range.high, minus_low, _CMP_GE_OQ);
    const __m512 extreme = _mm512_mask_blend_ps(positive, range.low, range.high);
    const __m512 base = _mm512_mul_ps(extreme, _mm512_set1_ps(-0.125f));
    Search search(values, round_bf16(base));
    for (const float clip : kClips)
        search.consider(round_bf16(_mm512_mul_ps(base, _mm512_set1_ps(clip))));
    search.fit();
    return search.best();
}

}  // namespace

void quantize_int8(const float* values, std::uint8_t* group) {
    std::uint8_t* scales = group + kInt8Group * kPanel;
    for (int part = 0; part < 4; ++part) {
        const float* columns = values + part * kLanes;
        const Range range(columns, kInt8Group);
        const __m512 largest = _mm512_max_ps(range.high, _mm512_sub_ps(_mm512_setzero_ps(), range.low));
        __m512 scale = round_bf16_up(_mm512_div_ps(largest, _mm512_set1_ps(127.0f)));
        const __m512 inverse = inverse_or_zero(scale);
        for (int k = 0; k < kInt8Group; ++k) {
            const __m512 value = _mm512_mul_ps(_mm512_load_ps(columns + k * kPanel), inverse);
            const __m512i level = _mm512_add_epi32(round_to_integer(value, -127, 127), _mm512_set1_epi32(128));
            alignas(16) std::uint8_t bytes[kLanes];
            _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(level));
            std::uint8_t* to = group + (k / 4 * kPanel + part * kLanes) * 4 + k % 4;
            for (int lane = 0; lane < kLanes; ++lane)
                to[lane * 4] = bytes[lane];
        }
        store_scale(scales, part, _mm512_mask_blend_ps(range.broken, scale, not_a_number()));
    }
}

void quantize_int4(const float* values, std::uint8_t* group) {
    std::uint8_t* scales = group + kInt4Group / 2 * kPanel;
    for (int part = 0; part < 4; ++part) {
        const float* columns = values + part * kLanes;
        const Range range(columns, kInt4Group);
        const __m512 scale = search_scale(columns, range);
        const __m512 inverse = inverse_or_zero(scale);
        for (int eight = 0; eight < kInt4Group / 8; ++eight) {
            __m512i word = _mm512_setzero_si512();
            for (int i = 0; i < 8; ++i) {
                const __m512 value = _mm512_mul_ps(_mm512_load_ps(columns + (eight * 8 + i) * kPanel), inverse);
                const __m512i level = _mm512_add_epi32(round_to_integer(value, -8, 7), _mm512_set1_epi32(8));
                const int shift = i % 4 * 8 + i / 4 * 4;
                word = _mm512_or_si512(word, _mm512_sll_epi32(level, _mm_cvtsi32_si128(shift)));
            }
            _mm512_storeu_si512(group + (eight * kPanel + part * kLanes) * 4, word);
        }
        store_scale(scales, part, _mm512_mask_blend_ps(range.broken, scale, not_a_number()));
    }
}

}  // namespace paceline
