// Rows times packed weights, for any number of rows.
//
// Every output is one chain of additions over K in ascending order. The chain does not depend on the
// number of rows, on the tile a row falls into, nor on the other rows: a batch of any shape gives
// bit-identical rows.
#pragma once

#include "matrix.h"

namespace paceline {

constexpr int kMaxTile = 6;  // rows whose 6 x 4 accumulators, 4 weights and a broadcast fit 32 registers

// What becomes of a finished block of 64 columns.
enum class Finish { store, add, gate };

struct Output {
    Finish finish = Finish::store;
    float* values = nullptr;  // store, add: [rows, stride]
    std::size_t stride = 0;
    const float* bias = nullptr;  // store, add: [columns] or null
    int columns = 0;              // store, add: columns that exist
    Operand* operand = nullptr;   // gate: silu(first 32 columns) * last 32, as operand rows (not of an integer kind)
};

// Per worker: accumulators [kRowBlock, 64], unpacked nibbles, and the gate's row.
constexpr int kRowBlock = 48;
struct alignas(64) Scratch {
    float sums[kRowBlock * kPanel];
    std::uint8_t unpacked[kInt4Group * kPanel];
};

// One panel for all rows. `ahead`: the panel this worker multiplies next, or null; it is prefetched.
void multiply_panel(const Operand& left, int num_rows, const Matrix& matrix, int panel, const std::uint8_t* ahead,
                    const Output& output, Scratch& scratch);

// One call of a kernel: a tile of 1..6 rows times a unit, that is 64 columns by a stretch of K.
struct TileCall {
    const void* left = nullptr;   // first item of the first row
    std::size_t left_stride = 0;  // in items
    const std::uint8_t* weights = nullptr;
    float* sums = nullptr;  // [rows, 64]
    const std::uint8_t* fetch = nullptr;
    int fetch_lines = 0;  // to prefetch meanwhile
    int steps = 0;        // float kinds: along K
    bool first = false;   // float kinds: sums start at zero
    // Integer kinds: scales and offsets of the first row, `groups` apart between rows.
    int groups = 0;
    const bf16* weight_scales = nullptr;
    const float* scales = nullptr;
    const std::int32_t* offsets = nullptr;
};

// By reference: a copy of the structure would be read in other pieces than it was written, which stalls.
using TileFunction = void (*)(const TileCall&);
struct TileFunctions {
    TileFunction by_rows[kMaxTile];
};

const TileFunctions& float_tiles(Kind kind);
const TileFunctions& int8_tiles();
const TileFunctions& int4_tiles();           // of packed nibbles
const TileFunctions& unpacked_int4_tiles();  // of what unpack_nibbles writes
void unpack_nibbles(const std::uint8_t* group, std::uint8_t* unpacked);

}  // namespace paceline
