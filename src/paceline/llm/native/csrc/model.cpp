#include "model.h"

#include <cmath>

#include "forward.h"

namespace paceline {
namespace {

Kind packed_kind(const PacelineSpec& spec) {
    if (spec.quantize == 8) return Kind::int8;
    return spec.quantize == 4 ? Kind::int4 : static_cast<Kind>(spec.dtype);
}

// Float rows beside integer operands, else what the matrix reads.
Kind left_kind(Kind weights) {
    return weights == Kind::f16 ? Kind::f32 : weights;
}

}  // namespace

Model::Model(const PacelineSpec& spec)
    : spec_(spec),
      stored_(static_cast<Kind>(spec.dtype)),
      packed_(packed_kind(spec)),
      head_kind_(spec.quantize != 0 ? Kind::int8 : stored_),
      shape_{spec.heads / spec.kv_heads, spec.window, 1.0f / std::sqrt(static_cast<float>(spec.head_dim))},
      layers_(spec.layers),
      store_(spec.layers, spec.num_blocks, spec.kv_heads, spec.head_dim, stored_ == Kind::f32),
      hidden_padded_(static_cast<int>(round_up(spec.hidden, kDepthStep))),
      residual_(static_cast<std::size_t>(spec.max_rows) * hidden_padded_),
      qkv_(static_cast<std::size_t>(spec.max_rows) * round_up(qkv_columns(), kPanel)),
      normed_(left_kind(packed_), spec.max_rows, spec.hidden),
      attended_(left_kind(packed_), spec.max_rows, spec.heads * spec.head_dim),
      gated_(left_kind(packed_), spec.max_rows, spec.feed_forward),
      head_rows_(left_kind(head_kind_), spec.max_rows, spec.hidden),
      queries_(static_cast<std::size_t>(spec.max_rows) * spec.heads * spec.head_dim * store_.item),
      pool_(spec.threads, spec.layers * Forward::kPhasesPerLayer + Forward::kOtherPhases) {
    if (is_integer(packed_)) {
        attended_float_ = Operand(Kind::f32, spec.max_rows, spec.heads * spec.head_dim);
        gated_float_ = Operand(Kind::f32, spec.max_rows, spec.feed_forward);
    }
    for (int i = 0; i < spec.threads; ++i) {
        desks_.push_back(std::make_unique<Desk>());
        desks_.back()->attention = AttentionScratch(spec.max_positions, spec.head_dim);
        desks_.back()->row = Array<float>(round_up(hidden_padded_ + 2 * spec.head_dim, kDepthStep));
    }
}

std::size_t Model::weight_bytes() const {
    std::size_t total = head_.bytes();
    if (!embed_from_head_)
        total += static_cast<std::size_t>(spec_.vocab) * spec_.hidden * (stored_ == Kind::f32 ? 4 : 2);
    for (const Layer& layer : layers_)
        total += layer.qkv.bytes() + layer.o.bytes() + layer.gate_up.bytes() + layer.down.bytes();
    return total;
}

void Model::forward(const PacelineBatch& given, float* logits, float* hidden) {
    auto batch = std::make_shared<Batch>(given);
    batch->tile_starts.assign(1, 0);
    for (int seq = 0; seq < given.num_seqs; ++seq) {
        const int rows = given.row_starts[seq + 1] - given.row_starts[seq];
        batch->tile_starts.push_back(batch->tile_starts.back() + count_tiles(rows, shape_));
    }
    pool_.run([this, batch, logits, hidden](Worker& worker) { Forward(*this, *batch, worker).run(logits, hidden); });
}

void Model::move(const std::int32_t* sources, const std::int32_t* targets, int count) {
    const std::size_t bytes = store_.move_bytes(count);
    Buffer buffer(bytes * pool_.size());
    pool_.run([&, layers = spec_.layers](Worker& worker) {
        worker.phase(layers, [&](int layer, int) {
            store_.move(layer, sources, targets, count, buffer.as<std::uint8_t>() + worker.index() * bytes);
        });
    });
}

}  // namespace paceline
