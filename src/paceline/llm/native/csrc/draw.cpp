// The largest score plus Gumbel noise among all tokens, as paceline/llm/noise.py defines both.
//
// A token with score s (relative to the leader's) beats the best so far, b, only if its noise is above b - s, that is
// if -log(u) < exp(s - b), which needs 1 - u < exp(s - b). So a hash and an exponential tell nearly all tokens apart
// from the few whose logarithms are worth taking.
#include <cmath>

#include "simd.h"

namespace paceline {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15, kFirst = 0xBF58476D1CE4E5B9, kSecond = 0x94D049BB133111EB;
constexpr double kNear = 1e-6;    // values this close are left to the caller: libraries round logarithms differently
constexpr float kSlack = 1e-3f;   // more than single precision loses on the way
constexpr double kUnit = 1.0 / 4294967296.0;

__m512i mix(__m512i x) {
    x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 30)), _mm512_set1_epi64(kFirst));
    x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 27)), _mm512_set1_epi64(kSecond));
    return _mm512_srli_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 31)), 32);
}

class Contest {
public:
    Contest(const float* logits, int leader, double temperature, std::int32_t* nearest, int room)
        : logits_(logits), peak_(logits[leader]), temperature_(temperature), nearest_(nearest), room_(room) {}

    // One token whose 32 random bits are known. False when there is no room for another near tie.
    bool enter(int token, std::uint64_t bits) {
        const double noise = -std::log(-std::log((static_cast<double>(bits) + 0.5) * kUnit));
        const double value = (static_cast<double>(logits_[token]) - peak_) / temperature_ + noise;
        if (value < best_ - kNear) return true;
        if (value > best_ + kNear) count_ = 0;
        if (value > best_) best_ = value;
        if (count_ == room_) return false;
        nearest_[count_++] = token;
        return true;
    }

    double best() const { return best_; }
    int count() const { return count_; }

private:
    const float* logits_;
    double peak_, temperature_;
    std::int32_t* nearest_;
    int room_;
    int count_ = 0;
    double best_ = -HUGE_VAL;
};

}  // namespace
}  // namespace paceline

#pragma GCC visibility push(default)
extern "C" {

// Tokens within 1e-6 of the largest value, ascending within each round: the winner alone, nearly always. -1 if there are more than
// `room`. The logit of `leader` is the largest, none is NaN or +inf.
int paceline_draw(const float* logits, int count, int leader, double temperature, std::uint64_t key,
                  std::int32_t* nearest, int room) {
    using namespace paceline;
    const auto bits_of = [key](int token) {
        alignas(64) std::uint64_t lanes[8];
        _mm512_store_si512(lanes, mix(_mm512_set1_epi64(key + (static_cast<std::uint64_t>(token) + 1) * kGolden)));
        return lanes[0];
    };
    Contest contest(logits, leader, temperature, nearest, room);
    contest.enter(leader, bits_of(leader));
    const __m512 peak = _mm512_set1_ps(logits[leader]), inverse = _mm512_set1_ps(static_cast<float>(1.0 / temperature));
    const __m512i step = _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(kGolden));
    for (int begin = 0; begin < count; begin += kLanes) {
        const __mmask16 exists = first_lanes(count - begin);
        const __m512 score = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(exists, logits + begin), peak), inverse);
        const __m512 bar = _mm512_set1_ps(static_cast<float>(contest.best()) - kSlack);
        const __m512 chance = exp(_mm512_sub_ps(score, bar));
        const std::uint64_t first = key + (static_cast<std::uint64_t>(begin) + 1) * kGolden;
        const __m512i low = mix(_mm512_add_epi64(_mm512_set1_epi64(first), step));
        const __m512i high = mix(_mm512_add_epi64(_mm512_set1_epi64(first + 8 * kGolden), step));
        const __m512i bits = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low)),
                                                _mm512_cvtepi64_epi32(high), 1);
        const __m512 missing = _mm512_mul_ps(_mm512_cvtepu32_ps(_mm512_xor_si512(bits, _mm512_set1_epi32(-1))),
                                             _mm512_set1_ps(static_cast<float>(kUnit)));
        unsigned open = _mm512_mask_cmp_ps_mask(exists, missing, chance, _CMP_LE_OQ);
        alignas(64) std::uint32_t lanes[kLanes];
        if (open != 0) _mm512_store_si512(lanes, bits);
        for (; open != 0; open &= open - 1) {
            const int lane = __builtin_ctz(open);
            if (begin + lane != leader && !contest.enter(begin + lane, lanes[lane])) return -1;
        }
    }
    return contest.count();
}
}
