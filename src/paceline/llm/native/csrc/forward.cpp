#include "forward.h"

#include "rows.h"

namespace paceline {
namespace {

constexpr int kRowChunk = 4;     // rows normalised as one chunk
constexpr int kPlaceChunk = 16;  // rows rotated and stored as one chunk: neighbours share lines of the key store

}  // namespace

void Forward::run(float* logits, float* hidden) {
    const int rows = batch_.num_rows;
    const bool integer = is_integer(model_.packed_);
    Output to_qkv, to_residual, to_logits;
    to_qkv.values = model_.qkv_.data();
    to_qkv.stride = round_up(model_.qkv_columns(), kPanel);
    to_qkv.columns = model_.qkv_columns();
    to_residual.finish = Finish::add;
    to_residual.values = model_.residual_.data();
    to_residual.stride = to_residual.columns = model_.hidden_padded_;
    embed();
    for (int index = 0; index < model_.spec_.layers; ++index) {
        const Layer& layer = model_.layers_[index];
        const bool last = index + 1 == model_.spec_.layers;
        normalize(layer.input_norm);
        to_qkv.bias = layer.qkv_bias.data();
        multiply(model_.normed_, rows, layer.qkv, to_qkv, &layer.o);
        place(layer, index);
        attend_all(index);
        if (integer) quantize_rows(model_.attended_float_, model_.attended_);
        to_residual.bias = layer.o_bias.data();
        multiply(model_.attended_, rows, layer.o, to_residual, &layer.gate_up);
        to_residual.bias = nullptr;
        normalize(layer.post_norm);
        feed_forward(layer);
        multiply(model_.gated_, rows, layer.down, to_residual, last ? &model_.head_ : &model_.layers_[index + 1].qkv);
    }
    normalize_logit_rows(hidden);
    to_logits.values = logits;
    to_logits.stride = to_logits.columns = model_.spec_.vocab;
    multiply(model_.head_rows_, batch_.num_logits, model_.head_, to_logits, nullptr);
}

void Forward::embed() {
    by_chunk(batch_.num_rows, kRowChunk, [&](int row) {
        model_.embed_row(batch_.token_ids[row],
                         model_.residual_.data() + static_cast<std::size_t>(row) * model_.hidden_padded_);
    });
}

void Forward::normalize(const Array<float>& weight) {
    float* scratch = model_.desks_[worker_.index()]->row.data();
    by_chunk(batch_.num_rows, kRowChunk, [&](int row) {
        const float* from = model_.residual_.data() + static_cast<std::size_t>(row) * model_.hidden_padded_;
        rms_norm(from, weight.data(), model_.spec_.hidden, model_.hidden_padded_, model_.spec_.epsilon, scratch);
        write_operand(model_.normed_, row, scratch);
    });
}

void Forward::normalize_logit_rows(float* hidden) {
    float* scratch = model_.desks_[worker_.index()]->row.data();
    by_chunk(batch_.num_logits, kRowChunk, [&](int index) {
        const float* from =
            model_.residual_.data() + static_cast<std::size_t>(batch_.logit_rows[index]) * model_.hidden_padded_;
        rms_norm(from, model_.final_norm_.data(), model_.spec_.hidden, model_.hidden_padded_, model_.spec_.epsilon,
                 scratch);
        write_operand(model_.head_rows_, index, scratch);
        if (hidden != nullptr)
            std::memcpy(hidden + static_cast<std::size_t>(index) * model_.spec_.hidden, scratch,
                        sizeof(float) * model_.spec_.hidden);
    });
}

void Forward::multiply(const Operand& left, int rows, const Matrix& matrix, const Output& output,
                       const Matrix* following) {
    // The last panel fetches the start of what this worker will likely be given in the next matrix.
    const std::uint8_t* then =
        following == nullptr ? nullptr : following->panel(worker_.index() % following->num_panels);
    worker_.phase(matrix.num_panels, [&](int panel, int ahead) {
        const std::uint8_t* next = ahead < 0 ? then : matrix.panel(ahead);
        multiply_panel(left, rows, matrix, panel, next, output, model_.desks_[worker_.index()]->gemm);
    });
}

// Queries and keys normalised and rotated; keys and values into the store.
void Forward::place(const Layer& layer, int index) {
    float* scratch = model_.desks_[worker_.index()]->row.data();
    by_chunk(batch_.num_rows, kPlaceChunk, [&](int row) { place_row(layer, index, row, scratch); });
}

void Forward::place_row(const Layer& layer, int index, int row, float* head) {
    const int dim = model_.spec_.head_dim, slot = batch_.slot(row);
    const float* from = model_.qkv_.data() + row * round_up(model_.qkv_columns(), kPanel);
    const std::size_t angles = static_cast<std::size_t>(batch_.positions[row]) * (dim / 2);
    const auto prepare = [&](const float* values, const Array<float>& norm) {
        std::memcpy(head, values, sizeof(float) * dim);
        if (norm.size() != 0) rms_norm_head(head, norm.data(), dim, model_.spec_.epsilon);
        rotate_head(head, model_.cos_.data() + angles, model_.sin_.data() + angles, dim);
    };
    for (int h = 0; h < model_.spec_.heads; ++h, from += dim) {
        prepare(from, layer.q_norm);
        const std::size_t at = (static_cast<std::size_t>(row) * model_.spec_.heads + h) * dim;
        if (model_.store_.wide) {
            std::memcpy(model_.queries_.as<float>() + at, head, sizeof(float) * dim);
            continue;
        }
        for (int i = 0; i < dim; i += kLanes) {
            const __mmask16 lanes = first_lanes(dim - i);
            const __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, head + i));
            _mm256_mask_storeu_epi16(model_.queries_.as<bf16>() + at + i, lanes, half);
        }
    }
    const float* values = from + model_.spec_.kv_heads * dim;
    for (int h = 0; h < model_.spec_.kv_heads; ++h, from += dim) {
        prepare(from, layer.k_norm);
        model_.store_.write(index, slot, h, head, values + h * dim);
    }
}

void Forward::attend_all(int index) {
    Operand& to = is_integer(model_.packed_) ? model_.attended_float_ : model_.attended_;
    const AttentionInput input{batch_,
                               model_.store_,
                               index,
                               model_.queries_.as<std::uint8_t>(),
                               static_cast<std::size_t>(model_.spec_.heads) * model_.spec_.head_dim,
                               model_.shape_};
    const AttentionOutput output{to.values.as<std::uint8_t>(), to.stride, to.kind == Kind::f32};
    // A chunk is one head of a tile, or all of them where tiles abound.
    const int tiles = batch_.tile_starts.back();
    const int heads_apart = tiles >= 4 * model_.pool_.size() ? 1 : model_.spec_.kv_heads;
    worker_.phase(tiles * heads_apart, [&](int chunk, int) {
        const int tile = chunk / heads_apart, seq = batch_.sequence_of_tile(tile);
        const int begin = heads_apart == 1 ? 0 : chunk % heads_apart;
        const int end = heads_apart == 1 ? model_.spec_.kv_heads : begin + 1;
        for (int head = begin; head < end; ++head)
            attend(input, seq, tile - batch_.tile_starts[seq], head, output, model_.desks_[worker_.index()]->attention);
    });
}

void Forward::quantize_rows(const Operand& from, Operand& to) {
    by_chunk(batch_.num_rows, kRowChunk, [&](int row) { write_operand(to, row, from.row<float>(row)); });
}

void Forward::feed_forward(const Layer& layer) {
    const bool integer = is_integer(model_.packed_);
    Output to_gated;
    to_gated.finish = Finish::gate;
    to_gated.operand = integer ? &model_.gated_float_ : &model_.gated_;
    multiply(model_.normed_, batch_.num_rows, layer.gate_up, to_gated, &layer.down);
    if (integer) quantize_rows(model_.gated_float_, model_.gated_);
}

}  // namespace paceline
