// A decoder: packed weights, the store of keys and values, and one forward over a batch of rows.
#pragma once

#include <memory>
#include <vector>

#include "attention.h"
#include "gemm.h"
#include "pool.h"

extern "C" {

struct PacelineSpec {
    std::int32_t vocab, hidden, layers, heads, kv_heads, head_dim, feed_forward;
    std::int32_t window;    // 0: none
    std::int32_t dtype;     // of the stored weights: 0 float32, 1 bfloat16, 2 float16
    std::int32_t quantize;  // 0, 8 or 4
    std::int32_t num_blocks, max_rows, max_positions, threads;
    float epsilon;
};

// Weights of one layer; norms and biases float32, matrices [out, in] of the spec's dtype.
struct PacelineLayer {
    const float *input_norm, *post_norm, *q_bias, *k_bias, *v_bias, *o_bias, *q_norm, *k_norm;
    const void *q, *k, *v, *o, *gate, *up, *down;
};

// `head` null: tied to the embeddings.
struct PacelineEnds {
    const void *embed, *head;
    const float* final_norm;
    const float *cos, *sin;  // [max_positions, head_dim / 2]
};
}

namespace paceline {

struct Layer {
    Array<float> input_norm, post_norm;             // padded
    Array<float> qkv_bias, o_bias, q_norm, k_norm;  // empty where the family has none; biases padded
    Matrix qkv, o, gate_up, down;
};

class Model {
public:
    explicit Model(const PacelineSpec& spec);

    void load_layer(int index, const PacelineLayer& layer);
    void load_ends(const PacelineEnds& ends);

    // Whether every index of the arguments is within bounds.
    bool accepts(const PacelineBatch& batch) const;
    bool accepts(const std::int32_t* slots, int count) const;

    // logits [num_logits, vocab]; hidden [num_logits, hidden], what the head reads, null if it is not wanted
    void forward(const PacelineBatch& batch, float* logits, float* hidden);
    void move(const std::int32_t* sources, const std::int32_t* targets, int count);

    std::size_t weight_bytes() const;

private:
    friend class Forward;

    // Buffers of one worker.
    struct Desk {
        Scratch gemm;
        AttentionScratch attention;
        Array<float> row;  // widest padded row
    };

    void embed_row(int token, float* out) const;
    int qkv_columns() const { return (spec_.heads + 2 * spec_.kv_heads) * spec_.head_dim; }

    PacelineSpec spec_;
    Kind stored_, packed_, head_kind_;  // of the checkpoint, the layers' matrices, the head
    AttentionShape shape_;
    std::vector<Layer> layers_;
    Matrix head_;
    Array<float> final_norm_, cos_, sin_;
    Buffer embed_;  // [vocab, hidden] of the stored kind; empty when the head's panels serve
    bool embed_from_head_ = false;
    KvStore store_;

    int hidden_padded_;
    Array<float> residual_, qkv_;        // [max_rows, padded]
    Operand normed_, attended_, gated_;  // what the matrices read
    Operand head_rows_;
    Operand attended_float_, gated_float_;  // integer kinds: before they are quantised
    Buffer queries_;                        // [max_rows, heads * head_dim] of the store's item type
    std::vector<std::unique_ptr<Desk>> desks_;
    Pool pool_;
};

}  // namespace paceline
