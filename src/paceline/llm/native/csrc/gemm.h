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
    float* values = nullptr;      // store, add: [rows, stride]
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

// The parts of it, by kind.
struct Tile {
    int row;   // first row
    int rows;  // 1..6
};

// Bytes to bring into the cache during a tile, spread over it.
struct Prefetch {
    const std::uint8_t* from = nullptr;
    int lines = 0;
};

void multiply_float(const Operand& left, const Matrix& matrix, int panel, int depth_begin, int depth_end, Tile tile,
                    float* sums, Prefetch prefetch);
void multiply_integer(const Operand& left, const Matrix& matrix, int panel, int group, Tile tile, float* sums,
                      const std::uint8_t* unpacked, Prefetch prefetch);
void unpack_nibbles(const std::uint8_t* group, std::uint8_t* unpacked);

}  // namespace paceline
