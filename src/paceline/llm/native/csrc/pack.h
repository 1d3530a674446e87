// From rows of a checkpoint to the panels of a Matrix.
#pragma once

#include "matrix.h"

namespace paceline {

// The 64 weight rows (output columns) of one panel; null rows are zero.
struct PanelSource {
    Kind kind = Kind::f32;  // f32, bf16 or f16
    int depth = 0;
    const std::uint8_t* rows[kPanel] = {};
};

// The matrix is of the source's kind, or int8 or int4.
void pack_panel(Matrix& matrix, int panel, const PanelSource& source);

// Quantises 64 columns by one group along K. `values` [group][64] float32, zero where nothing is stored.
void quantize_int8(const float* values, std::uint8_t* group);
void quantize_int4(const float* values, std::uint8_t* group);

// 64 rows of one group, as levels [64][group] and scales [64]: what a matrix of `bits` bits would hold.
void quantize_group(const float* rows, int bits, std::int8_t* levels, float* scales);

}  // namespace paceline
