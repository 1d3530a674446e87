#include <algorithm>
#include <functional>

#include "model.h"
#include "pack.h"

namespace paceline {
namespace {

std::size_t item_bytes(Kind kind) {
    return kind == Kind::f32 ? 4 : 2;
}

// Output rows of one or more checkpoint matrices, by output column of the packed matrix.
class Columns {
public:
    Columns(Kind kind, int depth) : kind_(kind), depth_(depth) {}

    void append(const void* rows, int count) { parts_.push_back({static_cast<const std::uint8_t*>(rows), count}); }

    const std::uint8_t* row(int column) const {
        for (const Part& part : parts_) {
            if (column < part.count) return part.rows + static_cast<std::size_t>(column) * depth_ * item_bytes(kind_);
            column -= part.count;
        }
        return nullptr;
    }

    const std::uint8_t* row_of(std::size_t part, int column) const {
        if (column >= parts_[part].count) return nullptr;
        return parts_[part].rows + static_cast<std::size_t>(column) * depth_ * item_bytes(kind_);
    }

    Kind kind() const { return kind_; }
    int depth() const { return depth_; }

private:
    struct Part {
        const std::uint8_t* rows;
        int count;
    };
    Kind kind_;
    int depth_;
    std::vector<Part> parts_;
};

// `interleaved`: 32 columns of the first part, then 32 of the second, in each panel.
Matrix pack(Pool& pool, Kind kind, const Columns& columns, int count, bool interleaved) {
    Matrix matrix(kind, count, columns.depth());
    pool.run([&, panels = matrix.num_panels](Worker& worker) {
        worker.phase(panels, [&](int panel, int) {
            PanelSource source;
            source.kind = columns.kind();
            source.depth = columns.depth();
            for (int c = 0; c < kPanel; ++c)
                source.rows[c] =
                    interleaved ? columns.row_of(c / 32, panel * 32 + c % 32) : columns.row(panel * kPanel + c);
            pack_panel(matrix, panel, source);
        });
    });
    return matrix;
}

Array<float> copy(const float* values, int count, std::size_t padded) {
    if (values == nullptr) return {};
    Array<float> out(padded);
    std::copy(values, values + count, out.data());
    return out;
}

}  // namespace

void Model::load_layer(int index, const PacelineLayer& from) {
    Layer& layer = layers_[index];
    const int q_size = spec_.heads * spec_.head_dim, kv_size = spec_.kv_heads * spec_.head_dim;
    layer.input_norm = copy(from.input_norm, spec_.hidden, hidden_padded_);
    layer.post_norm = copy(from.post_norm, spec_.hidden, hidden_padded_);
    layer.o_bias = copy(from.o_bias, spec_.hidden, hidden_padded_);
    layer.q_norm = copy(from.q_norm, spec_.head_dim, spec_.head_dim);
    layer.k_norm = copy(from.k_norm, spec_.head_dim, spec_.head_dim);
    if (from.q_bias != nullptr) {
        layer.qkv_bias = Array<float>(qkv_columns());
        float* to = std::copy(from.q_bias, from.q_bias + q_size, layer.qkv_bias.data());
        to = std::copy(from.k_bias, from.k_bias + kv_size, to);
        std::copy(from.v_bias, from.v_bias + kv_size, to);
    }
    Columns qkv(stored_, spec_.hidden), o(stored_, q_size), gate_up(stored_, spec_.hidden),
        down(stored_, spec_.feed_forward);
    qkv.append(from.q, q_size);
    qkv.append(from.k, kv_size);
    qkv.append(from.v, kv_size);
    o.append(from.o, spec_.hidden);
    gate_up.append(from.gate, spec_.feed_forward);
    gate_up.append(from.up, spec_.feed_forward);
    down.append(from.down, spec_.hidden);
    layer.qkv = pack(pool_, packed_, qkv, qkv_columns(), false);
    layer.o = pack(pool_, packed_, o, spec_.hidden, false);
    layer.gate_up = pack(pool_, packed_, gate_up, static_cast<int>(2 * round_up(spec_.feed_forward, 32)), true);
    layer.down = pack(pool_, packed_, down, spec_.hidden, false);
}

void Model::load_ends(const PacelineEnds& ends) {
    const std::size_t angles = static_cast<std::size_t>(spec_.max_positions) * (spec_.head_dim / 2);
    cos_ = Array<float>(angles);
    sin_ = Array<float>(angles);
    std::copy(ends.cos, ends.cos + angles, cos_.data());
    std::copy(ends.sin, ends.sin + angles, sin_.data());
    final_norm_ = copy(ends.final_norm, spec_.hidden, hidden_padded_);
    Columns head(stored_, spec_.hidden);
    head.append(ends.head != nullptr ? ends.head : ends.embed, spec_.vocab);
    head_ = pack(pool_, head_kind_, head, spec_.vocab, false);
    embed_from_head_ = ends.head == nullptr && head_kind_ == stored_;
    if (embed_from_head_) return;
    const std::size_t bytes = static_cast<std::size_t>(spec_.vocab) * spec_.hidden * item_bytes(stored_);
    embed_ = Buffer(bytes);
    std::memcpy(embed_.as<void>(), ends.embed, bytes);
}

void Model::embed_row(int token, float* out) const {
    if (!embed_from_head_) {
        const std::size_t at = static_cast<std::size_t>(token) * spec_.hidden;
        for (int i = 0; i < spec_.hidden; i += kLanes) {
            const __mmask16 lanes = first_lanes(spec_.hidden - i);
            __m512 value;
            if (stored_ == Kind::f32) {
                value = _mm512_maskz_loadu_ps(lanes, embed_.as<float>() + at + i);
            } else {
                const __m256i half = _mm256_maskz_loadu_epi16(lanes, embed_.as<std::uint16_t>() + at + i);
                value = stored_ == Kind::f16 ? _mm512_cvtph_ps(half)
                                             : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
            }
            _mm512_mask_storeu_ps(out + i, lanes, value);
        }
        return;
    }
    // A token's row is one column of a panel.
    const std::uint8_t* panel = head_.panel(token / kPanel);
    const int column = token % kPanel;
    for (int i = 0; i < spec_.hidden; ++i) {
        if (stored_ == Kind::f32) {
            out[i] = reinterpret_cast<const float*>(panel)[i * kPanel + column];
        } else if (stored_ == Kind::f16) {
            out[i] = _cvtsh_ss(reinterpret_cast<const f16*>(panel)[i * kPanel + column]);
        } else {
            out[i] = widen_bf16(reinterpret_cast<const bf16*>(panel)[(i / 2 * kPanel + column) * 2 + i % 2]);
        }
    }
}

}  // namespace paceline
