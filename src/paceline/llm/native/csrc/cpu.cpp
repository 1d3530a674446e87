// Compiled for any x86-64: the one file that may run before the instruction sets are known.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)
bool operating_system_saves_zmm() {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 0xe6u) == 0xe6u;  // XMM, YMM, opmask, upper ZMM, ZMM16-31
}
#endif

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// The first instruction set that is missing, or null when all are there.
const char* paceline_cpu_missing() {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return "OSXSAVE";
    if (!(c & bit_FMA)) return "FMA";
    if (!(c & bit_F16C)) return "F16C";
    if (!operating_system_saves_zmm()) return "AVX-512 state";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return "AVX512F";
    if (!(b & bit_AVX512F)) return "AVX512F";
    if (!(b & bit_AVX512BW)) return "AVX512BW";
    if (!(b & bit_AVX512DQ)) return "AVX512DQ";
    if (!(b & bit_AVX512VL)) return "AVX512VL";
    if (!(c & bit_AVX512VNNI)) return "AVX512_VNNI";
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & (1u << 5))) return "AVX512_BF16";
    return nullptr;
#else
    return "x86-64";
#endif
}
}
