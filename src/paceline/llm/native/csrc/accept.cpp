// Bounds of what comes over the C interface: a wrong batch would write past the buffers.
#include <algorithm>

#include "model.h"

namespace paceline {
namespace {

bool within(const std::int32_t* values, std::size_t count, std::int32_t end) {
    return std::all_of(values, values + count, [end](std::int32_t value) { return value >= 0 && value < end; });
}

// Each row of a tree sees itself, and none beyond its sequence.
bool trees_are_sound(const PacelineBatch& batch, int begin, int end) {
    const int rows = end - begin;
    const std::uint64_t all = rows >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << rows) - 1;
    for (int index = 0; index < rows; ++index) {
        const std::uint64_t mask = batch.ancestors[begin + index];
        if (mask == 0) continue;
        if (rows > 64 || (mask & ~all) != 0 || (mask >> index & 1) == 0) return false;
    }
    return true;
}

}  // namespace

bool Model::accepts(const std::int32_t* slots, int count) const {
    return count >= 0 && within(slots, count, spec_.num_blocks * kBlock);
}

bool Model::accepts(const PacelineBatch& batch) const {
    const int rows = batch.num_rows, seqs = batch.num_seqs;
    if (rows < 1 || rows > spec_.max_rows || seqs < 1 || batch.num_logits < 0 || batch.num_logits > rows) return false;
    if (!within(batch.token_ids, rows, spec_.vocab) || !within(batch.positions, rows, spec_.max_positions))
        return false;
    if (!within(batch.logit_rows, batch.num_logits, rows)) return false;
    if (batch.row_starts[0] != 0 || batch.row_starts[seqs] != rows) return false;
    for (int seq = 0; seq < seqs; ++seq) {
        const int begin = batch.row_starts[seq], end = batch.row_starts[seq + 1];
        if (begin >= end || end > rows || batch.num_cached[seq] < 0) return false;
        const std::int64_t stored = std::int64_t{batch.num_cached[seq]} + end - begin;
        const std::int64_t blocks = (stored + kBlock - 1) / kBlock;
        if (stored > spec_.max_positions || blocks > batch.table_width) return false;
        const std::int32_t* table = batch.block_tables + static_cast<std::size_t>(seq) * batch.table_width;
        if (!within(table, blocks, spec_.num_blocks) || !trees_are_sound(batch, begin, end)) return false;
    }
    return true;
}

}  // namespace paceline
