// Attention over paged keys and values, for tiles of query vectors that share a key-value head.
//
// A query meets its keys in storage order, one chain of additions per output: the result does not
// depend on which other queries are in the tile or in the batch. Keys it does not see are never
// multiplied, so a NaN there does not spread.
#pragma once

#include "batch.h"
#include "matrix.h"

namespace paceline {

constexpr int kQueryTile = 6;  // query vectors of a tile: row-major over (row, head of the group)

struct AttentionShape {
    int heads_per_kv = 1;
    int window = 0;  // keys a query sees, itself included; 0: all
    float scale = 1.0f;
};

struct AttentionInput {
    const Batch& batch;
    const KvStore& store;
    int layer;
    const std::uint8_t* queries;  // [rows][stride] of the store's item type, rotated
    std::size_t query_stride;     // in items
    AttentionShape shape;
};

// Where results go: as bf16 or float32 rows.
struct AttentionOutput {
    std::uint8_t* rows;
    std::size_t stride;  // in items
    bool wide;
};

// Per worker: scores [6][positions], sums [6][dim].
struct AttentionScratch {
    AttentionScratch() = default;
    AttentionScratch(int max_positions, int dim)
        : score_stride(round_up(max_positions, kBlock) + kBlock),
          scores(kQueryTile * score_stride),
          sums(kQueryTile * round_up(dim, kLanes)) {}

    std::size_t score_stride = 0;
    Array<float> scores;
    Array<float> sums;
};

int count_tiles(int num_rows, const AttentionShape& shape);

// Tile `tile` of sequence `seq`, for key-value head `head`.
void attend(const AttentionInput& input, int seq, int tile, int head, const AttentionOutput& output,
            AttentionScratch& scratch);

}  // namespace paceline
