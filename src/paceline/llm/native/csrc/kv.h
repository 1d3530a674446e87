// The paged store of keys and values.
#pragma once

#include "memory.h"
#include "simd.h"

namespace paceline {

constexpr int kBlock = 16;  // positions of a block: the lanes of a vector

// [layers][blocks][kv_heads]{ keys, values } where, of one block and head,
//   bf16 keys [dim / 2][16][2], float32 keys [dim][16]: 16 scores come from whole vectors;
//   values [16][dim rounded up to 16].
struct KvStore {
    KvStore() = default;
    KvStore(int layers_, int blocks_, int heads_, int dim_, bool wide_)
        : layers(layers_),
          blocks(blocks_),
          heads(heads_),
          dim(dim_),
          value_stride(static_cast<int>(round_up(dim_, kLanes))),
          wide(wide_),
          item(wide_ ? 4 : 2),
          tile(round_up(static_cast<std::size_t>(kBlock) * (dim_ + value_stride) * item, 64)),
          data(static_cast<std::size_t>(layers_) * blocks_ * heads_ * tile) {}

    std::uint8_t* keys(int layer, int block, int head) const {
        return data.as<std::uint8_t>() + ((static_cast<std::size_t>(layer) * blocks + block) * heads + head) * tile;
    }
    std::uint8_t* values(int layer, int block, int head) const {
        return keys(layer, block, head) + static_cast<std::size_t>(kBlock) * dim * item;
    }

    // Stores one position of one head from float32 [dim].
    void write(int layer, int slot, int head, const float* key, const float* value) const;

    // Copies whole positions in one layer; sources are read before targets are written.
    void move(int layer, const std::int32_t* sources, const std::int32_t* targets, int count,
              std::uint8_t* buffer) const;
    std::size_t move_bytes(int count) const {
        return static_cast<std::size_t>(count) * heads * (dim + value_stride) * item;
    }

    int layers = 0, blocks = 0, heads = 0, dim = 0, value_stride = 0;
    bool wide = false;  // float32, else bf16
    std::size_t item = 2, tile = 0;
    Buffer data;
};

}  // namespace paceline
