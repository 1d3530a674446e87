#include "gemm.h"

namespace paceline {
namespace {

// One step along K: 64 columns of weights against one item (or pair) of each row.
struct Bf16Weights {
    using Item = bf16;
    static constexpr int kDepth = 2, kStepBytes = kPanel * 4;
    static __m512 load(const std::uint8_t* at, int part) { return _mm512_load_ps(at + part * 64); }
    static __m512 broadcast(const Item* at) {
        std::int32_t pair;
        std::memcpy(&pair, at, sizeof pair);
        return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
    }
    static __m512 multiply_add(__m512 sum, __m512 row, __m512 weight) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(row), reinterpret_cast<__m512bh>(weight));
    }
};

struct F32Weights {
    using Item = float;
    static constexpr int kDepth = 1, kStepBytes = kPanel * 4;
    static __m512 load(const std::uint8_t* at, int part) { return _mm512_load_ps(at + part * 64); }
    static __m512 broadcast(const Item* at) { return _mm512_set1_ps(*at); }
    static __m512 multiply_add(__m512 sum, __m512 row, __m512 weight) { return _mm512_fmadd_ps(row, weight, sum); }
};

struct F16Weights : F32Weights {
    static constexpr int kStepBytes = kPanel * 2;
    static __m512 load(const std::uint8_t* at, int part) {
        return widen_f16(reinterpret_cast<const f16*>(at + part * 32));
    }
};

constexpr int kUnroll = 4;  // steps between two rounds of prefetching

template <class Weights, int kRows>
void multiply_tile(const TileCall& call) {
    const auto* left = static_cast<const typename Weights::Item*>(call.left);
    const std::size_t stride = call.left_stride;
    const std::uint8_t* weights = call.weights;
    float* sums = call.sums;
    __m512 sum[kRows][4];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c)
            sum[r][c] = call.first ? _mm512_setzero_ps() : _mm512_load_ps(sums + r * kPanel + c * kLanes);
    const int rounds = call.steps / kUnroll;
    const int per_round = (call.fetch_lines + rounds - 1) / rounds;
    const std::uint8_t* fetch = call.fetch;
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < per_round; ++i)
            _mm_prefetch(reinterpret_cast<const char*>(fetch + i * 64), _MM_HINT_T1);
        fetch += per_round * 64;
#pragma GCC unroll 4
        for (int step = 0; step < kUnroll; ++step) {
            __m512 weight[4];
#pragma GCC unroll 4
            for (int c = 0; c < 4; ++c)
                weight[c] = Weights::load(weights + step * Weights::kStepBytes, c);
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) {
                const __m512 row = Weights::broadcast(left + r * stride + step * Weights::kDepth);
#pragma GCC unroll 4
                for (int c = 0; c < 4; ++c)
                    sum[r][c] = Weights::multiply_add(sum[r][c], row, weight[c]);
            }
        }
        weights += kUnroll * Weights::kStepBytes;
        left += kUnroll * Weights::kDepth;
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c)
            _mm512_store_ps(sums + r * kPanel + c * kLanes, sum[r][c]);
}

template <class Weights>
constexpr TileFunctions kTiles = {{multiply_tile<Weights, 1>, multiply_tile<Weights, 2>, multiply_tile<Weights, 3>,
                                   multiply_tile<Weights, 4>, multiply_tile<Weights, 5>, multiply_tile<Weights, 6>}};

}  // namespace

const TileFunctions& float_tiles(Kind kind) {
    if (kind == Kind::bf16) return kTiles<Bf16Weights>;
    return kind == Kind::f16 ? kTiles<F16Weights> : kTiles<F32Weights>;
}

}  // namespace paceline
