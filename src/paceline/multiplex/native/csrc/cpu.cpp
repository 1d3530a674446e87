// Compiled for any x86-64: picks what this processor can run.
#include "chain.h"

namespace {

struct Level {
    const char* name;
    PacelineRun run;
};

Level best() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return {"avx512", paceline_avx512::run};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {"avx2", paceline_avx2::run};
    return {"basic", paceline_basic::run};
}

const Level kBest = best();

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* paceline_chain_level() {
    return kBest.name;
}

// `rows` and `slots` of each tenant; tensors, first those taken, hold the rows of all tenants one after another.
// 1 if there is no memory for what lies between, else 0.
int paceline_chain_run(const PacelineChain* chain, const std::int32_t* slots, const std::int32_t* rows, int num_tenants,
                       float* const* tensors) {
    return kBest.run(chain, slots, rows, num_tenants, tensors);
}

// For tests: the code that every processor can run.
int paceline_chain_run_basic(const PacelineChain* chain, const std::int32_t* slots, const std::int32_t* rows, int num_tenants,
                             float* const* tensors) {
    return paceline_basic::run(chain, slots, rows, num_tenants, tensors);
}
}
