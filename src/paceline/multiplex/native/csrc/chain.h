// A chain: operators of one request after another, for many tenants that differ in their weights.
//
// Nothing is stacked: every weight is found in a table of addresses by the tenant's slot, so any tenants run in any order.
// library.py mirrors these structures.
#pragma once

#include <cstdint>

enum PacelineKind : std::int32_t { kLinear, kLayerNorm, kUnary, kBinary, kAttention, kLstm };
enum PacelineUnary : std::int32_t { kNone, kRelu, kSigmoid, kTanh, kSilu, kGelu, kGeluTanh };
enum PacelineBinary : std::int32_t { kAdd, kSubtract, kMultiply };

// A value of `rows` rows, each [size 0, size 1, size 2] with numbers of the last dimension side by side.
// `buffer` numbers the tensors of the call, then what lies between; below zero: the weight of this number less one, negated.
struct PacelineView {
    std::int32_t buffer, unused;
    std::int64_t offset, row_stride;  // in floats
    std::int64_t size[3], stride[3];
};

struct PacelineStep {
    std::int32_t kind, function;
    std::int32_t weights[4];  // rows of the table, -1 for none
    float number, unused;     // epsilon, or scale
    PacelineView sources[3], result;
};

struct PacelineChain {
    std::int32_t num_steps, num_tensors, num_buffers, num_slots;
    const PacelineStep* steps;
    const std::int64_t* row_sizes;  // floats of each buffer for one row of a request
    const float* const* table;      // [weights, slots]
};

// What one instruction set has.
using PacelineRun = int (*)(const PacelineChain*, const std::int32_t* slots, const std::int32_t* rows, int num_tenants,
                            float* const* tensors);

namespace paceline_avx512 {
int run(const PacelineChain*, const std::int32_t*, const std::int32_t*, int, float* const*);
}
namespace paceline_avx2 {
int run(const PacelineChain*, const std::int32_t*, const std::int32_t*, int, float* const*);
}
namespace paceline_basic {
int run(const PacelineChain*, const std::int32_t*, const std::int32_t*, int, float* const*);
}
