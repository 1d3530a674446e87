// Draft heads (draft/heads.py has the formula): a chain of guesses for each sequence, on the caller's thread.
#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "simd.h"

extern "C" {

// Matrices [in, out]; width and inner are multiples of 64, padded with zeros.
struct PacelineHeads {
    std::int32_t hidden, width, inner, vocab, count;  // count: followers of a token
    const float *read, *read_bias;                    // [hidden, width], [width]
    const float* into;                                // [vocab, width]
    const float *up, *up_bias, *down;                 // [width, inner], [inner], [inner, width]
    const float *out, *bias;                          // [vocab + 1, width], [vocab, count + 1]
    const std::int32_t* followers;                    // [vocab, count]
};

// What comes out for each sequence, rows of `depth`; survival is 0 after the place where the chain ends.
struct PacelineGuesses {
    std::int32_t* tokens;  // [sequences, depth]
    float* survival;       // [sequences, depth]
    std::int32_t* second;  // [sequences] the second guess at the first token
    float* second_chance;  // [sequences]
};
}

namespace paceline {
namespace {

constexpr int kColumns = 64, kParts = kColumns / kLanes;
constexpr int kTogether = 4;  // sequences that share one pass over a matrix

// y += x * matrix for `Rows` rows; x [Rows][depth] and y [Rows][columns] contiguous.
template <int Rows>
void add_product(const float* x, int depth, const float* matrix, int columns, float* y) {
    for (int column = 0; column < columns; column += kColumns) {
        __m512 sums[Rows][kParts];
        for (int row = 0; row < Rows; ++row)
            for (int part = 0; part < kParts; ++part)
                sums[row][part] = load(y + row * columns + column + part * kLanes);
        for (int k = 0; k < depth; ++k) {
            const float* from = matrix + static_cast<std::size_t>(k) * columns + column;
            for (int part = 0; part < kParts; ++part) {
                const __m512 weight = load(from + part * kLanes);
                for (int row = 0; row < Rows; ++row)
                    sums[row][part] = _mm512_fmadd_ps(_mm512_set1_ps(x[row * depth + k]), weight, sums[row][part]);
            }
        }
        for (int row = 0; row < Rows; ++row)
            for (int part = 0; part < kParts; ++part)
                store(y + row * columns + column + part * kLanes, sums[row][part]);
    }
}

class Chains {
public:
    Chains(const PacelineHeads& heads, int depth, float least)
        : heads_(heads), depth_(depth), least_(least), state_(kTogether * heads.width), inner_(kTogether * heads.inner),
          chances_(round_up(heads.count + 1, kLanes)) {}

    // `Rows` sequences from the hidden states and tokens given, into the places given.
    template <int Rows>
    void grow(const float* hidden, const std::int32_t* last, const PacelineGuesses& to) {
        std::int32_t token[Rows];
        float survival[Rows];
        for (int row = 0; row < Rows; ++row) {
            std::memcpy(state_.data() + row * heads_.width, heads_.read_bias, sizeof(float) * heads_.width);
            token[row] = last[row];
            survival[row] = 1.0f;
        }
        add_product<Rows>(hidden, heads_.hidden, heads_.read, heads_.width, state_.data());
        std::fill(to.tokens, to.tokens + Rows * depth_, 0);
        std::fill(to.survival, to.survival + Rows * depth_, 0.0f);
        bool alive = true;
        for (int level = 0; level < depth_ && alive; ++level) {
            take_in<Rows>(token);
            alive = false;
            for (int row = 0; row < Rows; ++row) {
                const int best = guess(state_.data() + row * heads_.width, token[row]);
                const std::int32_t* followers = followers_of(token[row]);
                survival[row] *= chances_[best];
                if (level == 0) {
                    chances_[best] = -1.0f;
                    const int second = largest();
                    to.second[row] = followers[second];
                    to.second_chance[row] = std::max(chances_[second], 0.0f);
                }
                token[row] = followers[best];
                to.tokens[row * depth_ + level] = token[row];
                to.survival[row * depth_ + level] = survival[row];
                alive = alive || survival[row] >= least_;
            }
        }
    }

private:
    const std::int32_t* followers_of(int token) const {
        return heads_.followers + static_cast<std::size_t>(token) * heads_.count;
    }

    const float* row_of_out(int token) const { return heads_.out + static_cast<std::size_t>(token) * heads_.width; }

    template <int Rows>
    void take_in(const std::int32_t* token) {
        for (int row = 0; row < Rows; ++row) {
            for (int index = 0; index < heads_.count; ++index)  // the rows that will be scored lie far apart
                for (int i = 0; i < heads_.width; i += kLanes)
                    _mm_prefetch(reinterpret_cast<const char*>(row_of_out(followers_of(token[row])[index]) + i),
                                 _MM_HINT_T0);
            const float* taken = heads_.into + static_cast<std::size_t>(token[row]) * heads_.width;
            float* state = state_.data() + row * heads_.width;
            for (int i = 0; i < heads_.width; i += kLanes)
                store(state + i, _mm512_add_ps(load(state + i), load(taken + i)));
            std::memcpy(inner_.data() + row * heads_.inner, heads_.up_bias, sizeof(float) * heads_.inner);
        }
        add_product<Rows>(state_.data(), heads_.width, heads_.up, heads_.inner, inner_.data());
        for (int i = 0; i < Rows * heads_.inner; i += kLanes)
            store(inner_.data() + i, _mm512_max_ps(_mm512_setzero_ps(), load(inner_.data() + i)));
        add_product<Rows>(inner_.data(), heads_.inner, heads_.down, heads_.width, state_.data());
    }

    // Fills `chances_`, probabilities of the followers and of none of them; the likeliest follower.
    int guess(const float* state, int token) {
        const int count = heads_.count;
        const float* bias = heads_.bias + static_cast<std::size_t>(token) * (count + 1);
        float peak = -std::numeric_limits<float>::infinity();
        for (int index = 0; index <= count; ++index) {
            const float* row = row_of_out(index == count ? heads_.vocab : followers_of(token)[index]);
            __m512 sum = _mm512_setzero_ps();
            for (int i = 0; i < heads_.width; i += kLanes)
                sum = _mm512_fmadd_ps(load(state + i), load(row + i), sum);
            chances_[index] = _mm512_reduce_add_ps(sum) + bias[index];
            peak = std::max(peak, chances_[index]);
        }
        std::fill(chances_.begin() + count + 1, chances_.end(), -std::numeric_limits<float>::infinity());
        __m512 total = _mm512_setzero_ps();
        for (std::size_t i = 0; i < chances_.size(); i += kLanes) {
            const __m512 value = exp(_mm512_sub_ps(load(&chances_[i]), _mm512_set1_ps(peak)));
            store(&chances_[i], value);
            total = _mm512_add_ps(total, value);
        }
        const float scale = 1.0f / _mm512_reduce_add_ps(total);
        for (float& chance : chances_)
            chance *= scale;
        return largest();
    }

    int largest() const {
        return static_cast<int>(std::max_element(chances_.begin(), chances_.begin() + heads_.count) -
                                chances_.begin());
    }

    const PacelineHeads& heads_;
    int depth_;
    float least_;
    std::vector<float> state_, inner_, chances_;
};

void guess_all(const PacelineHeads& heads, const float* hidden, const std::int32_t* tokens, int count, int depth,
               float least, const PacelineGuesses& to) {
    Chains chains(heads, depth, least);
    for (int first = 0; first < count;) {
        const std::size_t at = static_cast<std::size_t>(first) * depth;
        const PacelineGuesses places{to.tokens + at, to.survival + at, to.second + first, to.second_chance + first};
        const float* states = hidden + static_cast<std::size_t>(first) * heads.hidden;
        if (count - first >= kTogether) {
            chains.grow<kTogether>(states, tokens + first, places);
            first += kTogether;
        } else {
            chains.grow<1>(states, tokens + first, places);
            ++first;
        }
    }
}

}  // namespace
}  // namespace paceline

#pragma GCC visibility push(default)
extern "C" {

// Chains end where no sequence of a group of four survives with `least`; hidden [count, heads->hidden].
// 0, or a code of api.cpp: 1 without memory, 3 for a token out of bounds.
int paceline_guess(const PacelineHeads* heads, const float* hidden, const std::int32_t* tokens, int count, int depth,
                   float least, const PacelineGuesses* to) {
    for (int i = 0; i < count; ++i)
        if (tokens[i] < 0 || tokens[i] >= heads->vocab) return 3;
    try {
        paceline::guess_all(*heads, hidden, tokens, count, depth, least, *to);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
}
