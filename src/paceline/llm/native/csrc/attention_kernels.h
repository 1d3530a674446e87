// The two products of attention: queries with keys, weights with values.
#pragma once

#include "kv.h"

namespace paceline {

struct Bf16Kv {
    using Item = bf16;
    static constexpr int kPair = 2;  // depths that one multiply_add takes
    static __m512 broadcast(const Item* query) {
        std::int32_t pair;
        std::memcpy(&pair, query, sizeof pair);
        return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
    }
    static __m512 multiply_add(__m512 sum, __m512 query, __m512 keys) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(query), reinterpret_cast<__m512bh>(keys));
    }
};

struct F32Kv {
    using Item = float;
    static constexpr int kPair = 1;
    static __m512 broadcast(const Item* query) { return _mm512_set1_ps(*query); }
    static __m512 multiply_add(__m512 sum, __m512 query, __m512 keys) { return _mm512_fmadd_ps(query, keys, sum); }
};

constexpr int kScoreBlocks = 4;  // blocks scored together, for enough independent chains

template <class Kv, int kQueries>
void score_tile(const typename Kv::Item* const* rows, const typename Kv::Item* const* keys, int dim, __m512 scale,
                float* scores, std::size_t stride, int blocks) {
    __m512 sum[kQueries][kScoreBlocks];
#pragma GCC unroll 6
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
        for (int b = 0; b < kScoreBlocks; ++b)
            sum[q][b] = _mm512_setzero_ps();
    for (int depth = 0; depth < dim; depth += Kv::kPair) {
        __m512 key[kScoreBlocks];
#pragma GCC unroll 4
        for (int b = 0; b < kScoreBlocks; ++b)
            key[b] = _mm512_loadu_ps(reinterpret_cast<const float*>(keys[b] + depth * kBlock));
#pragma GCC unroll 6
        for (int q = 0; q < kQueries; ++q) {
            const __m512 query = Kv::broadcast(rows[q] + depth);
#pragma GCC unroll 4
            for (int b = 0; b < kScoreBlocks; ++b)
                sum[q][b] = Kv::multiply_add(sum[q][b], query, key[b]);
        }
    }
#pragma GCC unroll 6
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
        for (int b = 0; b < kScoreBlocks; ++b)
            if (b < blocks) _mm512_storeu_ps(scores + q * stride + b * kBlock, _mm512_mul_ps(sum[q][b], scale));
}

// scores [q][16 b + lane] of 1..6 queries with up to 4 blocks of keys; the spare key pointers repeat one.
template <class Kv>
void score_blocks(int queries, const typename Kv::Item* const* rows, const typename Kv::Item* const* keys, int dim,
                  __m512 scale, float* scores, std::size_t stride, int blocks) {
    using Function = decltype(&score_tile<Kv, 1>);
    static constexpr Function kByQueries[] = {score_tile<Kv, 1>, score_tile<Kv, 2>, score_tile<Kv, 3>,
                                              score_tile<Kv, 4>, score_tile<Kv, 5>, score_tile<Kv, 6>};
    kByQueries[queries - 1](rows, keys, dim, scale, scores, stride, blocks);
}

// sums [q][kParts * 16] += weights [q][lane] * values [lane], for the lanes of the mask, in ascending order.
template <class Kv, int kQueries, int kParts>
void add_part(const float* weights, std::size_t stride, const typename Kv::Item* values, int value_stride,
              unsigned mask, float* sums) {
    __m512 sum[kQueries][kParts];
#pragma GCC unroll 6
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p)
            sum[q][p] = _mm512_loadu_ps(sums + q * value_stride + p * kLanes);
    for (; mask != 0; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        __m512 value[kParts];
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p)
            value[p] = load(values + lane * value_stride + p * kLanes);
#pragma GCC unroll 6
        for (int q = 0; q < kQueries; ++q) {
            const __m512 weight = _mm512_set1_ps(weights[q * stride + lane]);
#pragma GCC unroll 4
            for (int p = 0; p < kParts; ++p)
                sum[q][p] = _mm512_fmadd_ps(weight, value[p], sum[q][p]);
        }
    }
#pragma GCC unroll 6
    for (int q = 0; q < kQueries; ++q)
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p)
            _mm512_storeu_ps(sums + q * value_stride + p * kLanes, sum[q][p]);
}

template <class Kv, int kParts>
void add_parts(int queries, const float* weights, std::size_t stride, const typename Kv::Item* values, int value_stride,
               unsigned mask, float* sums) {
    using Function = decltype(&add_part<Kv, 1, kParts>);
    static constexpr Function kByQueries[] = {add_part<Kv, 1, kParts>, add_part<Kv, 2, kParts>,
                                              add_part<Kv, 3, kParts>, add_part<Kv, 4, kParts>,
                                              add_part<Kv, 5, kParts>, add_part<Kv, 6, kParts>};
    kByQueries[queries - 1](weights, stride, values, value_stride, mask, sums);
}

// One block of values, for queries whose score rows lie `stride` apart and sums `value_stride` apart.
template <class Kv>
void add_values(int queries, const float* weights, std::size_t stride, const typename Kv::Item* values,
                int value_stride, unsigned mask, float* sums) {
    int at = 0;
    for (; at + 4 * kLanes <= value_stride; at += 4 * kLanes)
        add_parts<Kv, 4>(queries, weights, stride, values + at, value_stride, mask, sums + at);
    for (; at < value_stride; at += kLanes)
        add_parts<Kv, 1>(queries, weights, stride, values + at, value_stride, mask, sums + at);
}

}  // namespace paceline
