#include "gemm.h"

namespace paceline {
namespace {

// 64 columns of unsigned weights [steps][64][4] against kRows signed rows of one group.
struct Bytes {
    static constexpr int kBytes = 256;  // per step of depth 4
    static __m512i load(const std::uint8_t* at, int step, int part) {
        return _mm512_load_si512(at + step * kBytes + part * 64);
    }
};

// Nibbles read in place: worth it while few rows share the work of taking them apart.
struct Nibbles {
    static __m512i load(const std::uint8_t* at, int step, int part) {
        const __m512i both = _mm512_load_si512(at + step / 2 * 256 + part * 64);
        const __m512i low = step % 2 == 0 ? both : _mm512_srli_epi16(both, 4);
        return _mm512_and_si512(low, _mm512_set1_epi8(15));
    }
};

// GCC 12 spills every accumulator of the intrinsic in each step.
inline void add_dots(__m512i& sum, __m512i weights, __m512i row) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(row));
}

template <class Weights, int kSteps, int kRows>
void multiply_tile(const TileCall& call) {
    const auto* left = static_cast<const std::int8_t*>(call.left);
    const std::size_t stride = call.left_stride, groups = call.groups;
    __m512i dot[kRows][4];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c)
            dot[r][c] = _mm512_set1_epi32(call.offsets[r * groups]);
    const int per_step = (call.fetch_lines + kSteps - 1) / kSteps;
    const std::uint8_t* fetch = call.fetch;
#pragma GCC unroll 4
    for (int step = 0; step < kSteps; ++step) {
        for (int i = 0; i < per_step; ++i)
            _mm_prefetch(reinterpret_cast<const char*>(fetch + i * 64), _MM_HINT_T1);
        fetch += per_step * 64;
        __m512i weight[4];
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c)
            weight[c] = Weights::load(call.weights, step, c);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
            std::int32_t four;
            std::memcpy(&four, left + r * stride + step * 4, sizeof four);
            const __m512i row = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (int c = 0; c < 4; ++c)
                add_dots(dot[r][c], weight[c], row);
        }
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512 weight_scale = widen_bf16(call.weight_scales + c * kLanes);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
            float* sum = call.sums + r * kPanel + c * kLanes;
            const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(call.scales[r * groups]));
            _mm512_store_ps(sum, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][c]), scale, _mm512_load_ps(sum)));
        }
    }
}

template <class Weights, int kSteps>
constexpr TileFunctions kTiles = {{multiply_tile<Weights, kSteps, 1>, multiply_tile<Weights, kSteps, 2>,
                                   multiply_tile<Weights, kSteps, 3>, multiply_tile<Weights, kSteps, 4>,
                                   multiply_tile<Weights, kSteps, 5>, multiply_tile<Weights, kSteps, 6>}};

}  // namespace

const TileFunctions& int8_tiles() {
    return kTiles<Bytes, kInt8Group / 4>;
}
const TileFunctions& int4_tiles() {
    return kTiles<Nibbles, kInt4Group / 4>;
}
const TileFunctions& unpacked_int4_tiles() {
    return kTiles<Bytes, kInt4Group / 4>;
}

void unpack_nibbles(const std::uint8_t* group, std::uint8_t* unpacked) {
    for (int step = 0; step < kInt4Group / 4; ++step)
        for (int part = 0; part < 4; ++part)
            _mm512_store_si512(unpacked + step * Bytes::kBytes + part * 64, Nibbles::load(group, step, part));
}

}  // namespace paceline
