// The kernels of a chain, compiled once for each instruction set.
//
// Every sum runs over sixteen lanes of K and then over the lanes, whatever else is computed: the bits of a row depend neither
// on other rows nor on other tenants.
#include <algorithm>
#include <new>
#include <vector>

#include "chain.h"
#include "product.h"

namespace PACELINE_LEVEL {

constexpr std::int64_t kScratch = 64 << 10;  // floats that rows of one tenant take before they are cut

template <class Each>
inline void by_lanes(std::int64_t width, Each each) {
    std::int64_t at = 0;
    for (; at + kLanes <= width; at += kLanes) each(at, kLanes);
    if (at < width) each(at, width - at);
}

inline V load_some(const float* from, std::int64_t count) {
    return count == kLanes ? load(from) : load_part(from, count);
}

inline void store_some(float* to, V value, std::int64_t count) {
    if (count == kLanes)
        store(to, value);
    else
        store_part(to, value, count);
}

inline V applied(int function, V x) {
    switch (function) {
        case kRelu: return x < 0.0f ? V{} : x;
        case kSigmoid: return sigmoid(x);
        case kTanh: return tangent(x);
        case kSilu: return x * sigmoid(x);
        case kGelu: return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f));
        case kGeluTanh: return 0.5f * x * (1.0f + tangent(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        default: return x;
    }
}

// ── one tenant ───────────────────────────────────────────────────────────────────────────────────

struct Tenant {
    const PacelineChain& chain;
    std::vector<float*> bases;  // of its rows in every buffer
    std::int32_t slot = 0;
    std::int64_t rows = 0;
    std::vector<const float*> from, other;
    std::vector<float*> to;
    std::vector<float> room, turned;
    std::vector<float*> places;

    explicit Tenant(const PacelineChain& chain) : chain(chain), bases(std::size_t(chain.num_buffers)) {}

    const float* weight(int number) const {
        return number < 0 ? nullptr : chain.table[std::int64_t{number} * chain.num_slots + slot];
    }

    float* base(const PacelineView& view) const {
        if (view.buffer < 0) return const_cast<float*>(weight(-1 - view.buffer)) + view.offset;
        return bases[std::size_t(view.buffer)] + view.offset;
    }

    // Where every vector of the value begins.
    template <class Pointer>
    void vectors(const PacelineView& view, std::vector<Pointer>& out) const {
        out.clear();
        float* row = base(view);
        for (std::int64_t r = 0; r < rows; ++r, row += view.row_stride)
            for (std::int64_t i = 0; i < view.size[0]; ++i)
                for (std::int64_t j = 0; j < view.size[1]; ++j) out.push_back(row + i * view.stride[0] + j * view.stride[1]);
    }

    void run(const PacelineStep& step) {
        switch (step.kind) {
            case kLinear: return linear(step);
            case kLayerNorm: return layer_norm(step);
            case kUnary: return unary(step);
            case kBinary: return binary(step);
            case kAttention: return attention(step);
            case kLstm: return lstm(step);
        }
    }

    void linear(const PacelineStep& step) {
        const PacelineView &source = step.sources[0], &result = step.result;
        vectors(source, from);
        vectors(result, to);
        product(weight(step.weights[0]), result.size[2], source.size[2], from.data(), to.data(), std::int64_t(from.size()), turned,
                places);
        const float* shift = weight(step.weights[1]);
        if (shift == nullptr && step.function == kNone) return;
        for (float* y : to)
            by_lanes(result.size[2], [&](std::int64_t at, std::int64_t count) {
                V value = load_some(y + at, count);
                if (shift != nullptr) value += load_some(shift + at, count);
                store_some(y + at, applied(step.function, value), count);
            });
    }

    void layer_norm(const PacelineStep& step) {
        const std::int64_t width = step.result.size[2];
        const float *scale = weight(step.weights[0]), *shift = weight(step.weights[1]);
        vectors(step.sources[0], from);
        vectors(step.result, to);
        for (std::size_t place = 0; place < from.size(); ++place) {
            const float* x = from[place];
            V total = {}, square = {};
            by_lanes(width, [&](std::int64_t at, std::int64_t count) { total += load_some(x + at, count); });
            const float mean = sum(total) / float(width);
            by_lanes(width, [&](std::int64_t at, std::int64_t count) {
                V away = load_some(x + at, count) - mean;
                if (count < kLanes) {
                    V kept = {};
                    std::memcpy(&kept, &away, std::size_t(count) * sizeof(float));
                    away = kept;
                }
                square += away * away;
            });
            const float factor = 1.0f / std::sqrt(sum(square) / float(width) + step.number);
            by_lanes(width, [&](std::int64_t at, std::int64_t count) {
                V value = (load_some(x + at, count) - mean) * factor;
                if (scale != nullptr) value *= load_some(scale + at, count);
                if (shift != nullptr) value += load_some(shift + at, count);
                store_some(to[place] + at, applied(step.function, value), count);
            });
        }
    }

    void unary(const PacelineStep& step) {
        vectors(step.sources[0], from);
        vectors(step.result, to);
        for (std::size_t place = 0; place < from.size(); ++place)
            by_lanes(step.result.size[2], [&](std::int64_t at, std::int64_t count) {
                store_some(to[place] + at, applied(step.function, load_some(from[place] + at, count)), count);
            });
    }

    void binary(const PacelineStep& step) {
        vectors(step.sources[0], from);
        vectors(step.sources[1], other);
        vectors(step.result, to);
        for (std::size_t place = 0; place < from.size(); ++place)
            by_lanes(step.result.size[2], [&](std::int64_t at, std::int64_t count) {
                const V a = load_some(from[place] + at, count), b = load_some(other[place] + at, count);
                const V made = step.function == kAdd ? a + b : step.function == kSubtract ? a - b : a * b;
                store_some(to[place] + at, made, count);
            });
    }

    // [heads, queries, d] over [heads, keys, d].
    void attention(const PacelineStep& step) {
        const PacelineView &q = step.sources[0], &k = step.sources[1], &v = step.sources[2], &y = step.result;
        const std::int64_t keys = k.size[1], width = q.size[2];
        room.resize(std::size_t(keys));
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t head = 0; head < q.size[0]; ++head)
                for (std::int64_t i = 0; i < q.size[1]; ++i) {
                    const auto at = [r, head](const PacelineView& view, float* base, std::int64_t place) {
                        return base + r * view.row_stride + head * view.stride[0] + place * view.stride[1];
                    };
                    const float* query = at(q, base(q), i);
                    float most = -INFINITY;
                    for (std::int64_t j = 0; j < keys; ++j) {
                        const float* key = at(k, base(k), j);
                        V total = {};
                        by_lanes(width, [&](std::int64_t lane, std::int64_t count) {
                            total += load_some(query + lane, count) * load_some(key + lane, count);
                        });
                        room[std::size_t(j)] = sum(total) * step.number;
                        most = room[std::size_t(j)] > most ? room[std::size_t(j)] : most;
                    }
                    V total = {};
                    by_lanes(keys, [&](std::int64_t lane, std::int64_t count) {
                        V part = {};
                        const V made = exponential(load_some(room.data() + lane, count) - most);
                        std::memcpy(&part, &made, std::size_t(count) * sizeof(float));
                        store_some(room.data() + lane, part, count);
                        total += part;
                    });
                    const float whole = 1.0f / sum(total);
                    float* to = at(y, base(y), i);
                    by_lanes(y.size[2], [&](std::int64_t lane, std::int64_t count) {
                        V mixed = {};
                        for (std::int64_t j = 0; j < keys; ++j)
                            mixed += room[std::size_t(j)] * load_some(at(v, base(v), j) + lane, count);
                        store_some(to + lane, mixed * whole, count);
                    });
                }
    }

    // [1, steps, width] to [1, steps, hidden]; gates stand in the order input, forget, cell, output.
    void lstm(const PacelineStep& step) {
        const PacelineView &source = step.sources[0], &result = step.result;
        const std::int64_t steps = result.size[1], hidden = result.size[2], gates = 4 * hidden;
        vectors(source, from);
        vectors(result, to);
        room.assign(std::size_t((rows * steps + rows + 1) * gates + rows * hidden), 0.0f);
        float* entry = room.data();                     // [rows, steps, gates]
        float* made = entry + rows * steps * gates;     // [rows, gates]
        float* shift = made + rows * gates;             // [gates]
        float* cells = shift + gates;                   // [rows, hidden]
        for (const int number : {step.weights[2], step.weights[3]})
            if (number >= 0)
                for (std::int64_t at = 0; at < gates; ++at) shift[at] += weight(number)[at];
        std::vector<float*> entries, parts;
        for (std::int64_t place = 0; place < rows * steps; ++place) entries.push_back(entry + place * gates);
        for (std::int64_t r = 0; r < rows; ++r) parts.push_back(made + r * gates);
        product(weight(step.weights[0]), gates, source.size[2], from.data(), entries.data(), rows * steps, turned, places);
        for (std::int64_t t = 0; t < steps; ++t) {
            if (t > 0) {
                other.clear();
                for (std::int64_t r = 0; r < rows; ++r) other.push_back(to[std::size_t(r * steps + t - 1)]);
                product(weight(step.weights[1]), gates, hidden, other.data(), parts.data(), rows, turned, places);
            }
            for (std::int64_t r = 0; r < rows; ++r) {
                const float *in = entries[std::size_t(r * steps + t)], *state = parts[std::size_t(r)];
                float *cell = cells + r * hidden, *out = to[std::size_t(r * steps + t)];
                by_lanes(hidden, [&](std::int64_t at, std::int64_t count) {
                    const auto gate = [&](int number) {
                        const std::int64_t place = number * hidden + at;
                        return load_some(in + place, count) + load_some(state + place, count) +
                               load_some(shift + place, count);
                    };
                    const V kept = sigmoid(gate(1)) * load_some(cell + at, count) + sigmoid(gate(0)) * tangent(gate(2));
                    store_some(cell + at, kept, count);
                    store_some(out + at, sigmoid(gate(3)) * tangent(kept), count);
                });
            }
        }
    }
};

int run(const PacelineChain* chain, const std::int32_t* slots, const std::int32_t* rows, int num_tenants,
        float* const* tensors) {
    try {
        static thread_local std::vector<float> scratch;
        std::int64_t between = 0;
        for (int buffer = chain->num_tensors; buffer < chain->num_buffers; ++buffer) between += chain->row_sizes[buffer];
        const std::int64_t most = between == 0 ? 1 << 20 : std::max<std::int64_t>(1, kScratch / between);
        Tenant tenant(*chain);
        std::int64_t first = 0;
        for (int place = 0; place < num_tenants; ++place) {
            tenant.slot = slots[place];
            for (std::int64_t done = 0; done < rows[place]; done += tenant.rows, first += tenant.rows) {
                tenant.rows = std::min<std::int64_t>(most, rows[place] - done);
                if (std::int64_t(scratch.size()) < between * tenant.rows) scratch.resize(std::size_t(between * tenant.rows));
                float* next = scratch.data();
                for (int buffer = 0; buffer < chain->num_buffers; ++buffer) {
                    const std::int64_t size = chain->row_sizes[buffer];
                    const bool given = buffer < chain->num_tensors;
                    tenant.bases[std::size_t(buffer)] = given ? tensors[buffer] + first * size : next;
                    if (!given) next += size * tenant.rows;
                }
                for (int number = 0; number < chain->num_steps; ++number) tenant.run(chain->steps[number]);
            }
        }
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace PACELINE_LEVEL
