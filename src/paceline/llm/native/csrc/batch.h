// The rows of one forward, as they come over the C interface, and what is derived from them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kv.h"

extern "C" {

struct PacelineBatch {
    std::int32_t num_rows, num_seqs, table_width, num_logits;
    const std::int32_t* token_ids;     // [rows]
    const std::int32_t* positions;     // [rows]
    const std::int32_t* row_starts;    // [seqs + 1]
    const std::int32_t* num_cached;    // [seqs]
    const std::int32_t* block_tables;  // [seqs, table_width]
    const std::uint64_t* ancestors;    // [rows]
    const std::int32_t* logit_rows;    // [logits]
};
}

namespace paceline {

struct Batch : PacelineBatch {
    explicit Batch(const PacelineBatch& given)
        : PacelineBatch(given), sequence(given.num_rows), consecutive(given.num_seqs, 1) {
        for (int seq = 0; seq < num_seqs; ++seq) {
            for (int row = row_starts[seq]; row < row_starts[seq + 1]; ++row) {
                sequence[row] = seq;
                if (positions[row] != num_cached[seq] + row - row_starts[seq]) consecutive[seq] = 0;
            }
        }
    }

    std::vector<std::int32_t> sequence;     // [rows]
    std::vector<std::uint8_t> consecutive;  // [seqs] whether rotary positions are storage positions
    std::vector<std::int32_t> tile_starts;  // [seqs + 1] attention tiles of s: tile_starts[s]:tile_starts[s + 1]

    int sequence_of_tile(int tile) const {
        return static_cast<int>(std::upper_bound(tile_starts.begin(), tile_starts.end(), tile) - tile_starts.begin()) -
               1;
    }

    int slot(int row) const {
        const int seq = sequence[row];
        const int position = num_cached[seq] + row - row_starts[seq];
        return block_tables[seq * table_width + position / kBlock] * kBlock + position % kBlock;
    }
};

}  // namespace paceline
