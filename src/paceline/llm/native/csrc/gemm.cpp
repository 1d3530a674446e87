#include "gemm.h"

#include <algorithm>

namespace paceline {
namespace {

constexpr int kFloatDepth = 512;  // of a unit, at most: its 64 KiB stay in the second-level cache for all tiles
constexpr std::size_t kFetchAhead = 64 << 10;  // bytes between what is multiplied and what is prefetched
constexpr int kMaxDirectRows = 2;              // up to here nibbles are taken apart in registers, row by row

// K cut evenly into stretches of at most kFloatDepth.
int float_depth(int depth) {
    const int count = (depth + kFloatDepth - 1) / kFloatDepth;
    return static_cast<int>(round_up((depth + count - 1) / count, kDepthStep));
}

void finish_gate(const float* sums, Operand& operand, int row, int panel) {
    for (int part = 0; part < 2; ++part) {
        const __m512 gate = _mm512_load_ps(sums + part * kLanes);
        const __m512 product = _mm512_mul_ps(silu(gate), _mm512_load_ps(sums + 32 + part * kLanes));
        const std::size_t column = static_cast<std::size_t>(panel) * 32 + part * kLanes;
        if (operand.kind == Kind::bf16) {
            narrow_bf16(operand.row<bf16>(row) + column, product);
        } else {
            _mm512_storeu_ps(operand.row<float>(row) + column, product);
        }
    }
}

void finish_values(const float* sums, const Output& output, int row, int panel) {
    float* to = output.values + row * output.stride + static_cast<std::size_t>(panel) * kPanel;
    for (int part = 0; part < 4; ++part) {
        const int column = panel * kPanel + part * kLanes;
        const __mmask16 exists = first_lanes(output.columns - column);
        __m512 value = _mm512_load_ps(sums + part * kLanes);
        if (output.bias != nullptr) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(exists, output.bias + column));
        if (output.finish == Finish::add)
            value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(exists, to + part * kLanes));
        _mm512_mask_storeu_ps(to + part * kLanes, exists, value);
    }
}

// One panel times a block of rows, unit by unit: 64 columns by a stretch of K meet every tile before the next unit.
class PanelProduct {
public:
    PanelProduct(const Operand& left, const Matrix& matrix, int panel, Scratch& scratch)
        : left_(left),
          matrix_(matrix),
          weights_(matrix.panel(panel)),
          scratch_(scratch),
          integer_(is_integer(matrix.kind)),
          unit_depth_(integer_ ? group_of(matrix.kind) : float_depth(matrix.depth)),
          unit_bytes_(panel_bytes(matrix.kind, unit_depth_)) {}

    // `fetch_panel`: the panel itself comes from memory. `ahead`: the panel to prefetch behind its end, or null.
    void multiply(int row, int rows, bool fetch_panel, const std::uint8_t* ahead) {
        if (integer_) std::memset(scratch_.sums, 0, sizeof(float) * kPanel * rows);
        const int count = (matrix_.depth + unit_depth_ - 1) / unit_depth_;
        const std::size_t lead = std::min(std::max(kFetchAhead, unit_bytes_), matrix_.stride);
        for (int unit = 0; unit < count; ++unit) {
            TileCall call;
            const TileFunctions& tiles = integer_ ? begin_group(call, unit, row, rows) : begin_depth(call, unit, row);
            const std::size_t at = unit * unit_bytes_ + lead;
            if (at < matrix_.stride) {
                call.fetch = fetch_panel ? weights_ + at : nullptr;
            } else {
                call.fetch = ahead != nullptr ? ahead + (at - matrix_.stride) : nullptr;
            }
            multiply_tiles(call, tiles, rows);
        }
    }

private:
    const TileFunctions& begin_depth(TileCall& call, int unit, int row) {
        const int begin = unit * unit_depth_;
        const int depth = matrix_.depth - begin < unit_depth_ ? matrix_.depth - begin : unit_depth_;
        const bool pairs = matrix_.kind == Kind::bf16;
        call.weights = weights_ + unit * unit_bytes_;
        call.steps = pairs ? depth / 2 : depth;
        call.first = unit == 0;
        item_bytes_ = pairs ? 2 : 4;
        call.left = left_.row<std::uint8_t>(0) + (row * left_.stride + begin) * item_bytes_;
        return float_tiles(matrix_.kind);
    }

    const TileFunctions& begin_group(TileCall& call, int unit, int row, int rows) {
        const std::uint8_t* group = weights_ + unit * unit_bytes_;
        const std::size_t at = static_cast<std::size_t>(row) * left_.groups + unit;
        call.weights = group;
        call.weight_scales = reinterpret_cast<const bf16*>(group + unit_bytes_ - kPanel * sizeof(bf16));
        call.scales = left_.scales.data() + at;
        call.offsets = left_.offsets.data() + at;
        call.groups = left_.groups;
        item_bytes_ = 1;
        call.left = left_.row<std::int8_t>(row) + unit * unit_depth_;
        if (matrix_.kind == Kind::int8) return int8_tiles();
        if (rows <= kMaxDirectRows) return int4_tiles();
        unpack_nibbles(group, scratch_.unpacked);
        call.weights = scratch_.unpacked;
        return unpacked_int4_tiles();
    }

    void multiply_tiles(TileCall& call, const TileFunctions& functions, int rows) {
        const int tiles = (rows + kMaxTile - 1) / kMaxTile;
        const int lines = call.fetch == nullptr ? 0 : static_cast<int>(unit_bytes_ / 64);
        call.left_stride = left_.stride;
        call.sums = scratch_.sums;
        for (int tile = 0, begin = 0, line = 0; tile < tiles; ++tile) {
            const int end = rows * (tile + 1) / tiles, line_end = lines * (tile + 1) / tiles;
            call.fetch_lines = line_end - line;
            functions.by_rows[end - begin - 1](call);
            call.left = static_cast<const std::uint8_t*>(call.left) + (end - begin) * left_.stride * item_bytes_;
            call.sums += (end - begin) * kPanel;
            call.scales += (end - begin) * call.groups;
            call.offsets += (end - begin) * call.groups;
            call.fetch += (line_end - line) * 64;
            begin = end;
            line = line_end;
        }
    }

    const Operand& left_;
    const Matrix& matrix_;
    const std::uint8_t* weights_;
    Scratch& scratch_;
    bool integer_;
    int unit_depth_;
    std::size_t unit_bytes_;
    std::size_t item_bytes_ = 0;
};

}  // namespace

void multiply_panel(const Operand& left, int num_rows, const Matrix& matrix, int panel, const std::uint8_t* ahead,
                    const Output& output, Scratch& scratch) {
    PanelProduct product(left, matrix, panel, scratch);
    for (int row = 0; row < num_rows; row += kRowBlock) {
        const int rows = num_rows - row < kRowBlock ? num_rows - row : kRowBlock;
        product.multiply(row, rows, row == 0, row + rows == num_rows ? ahead : nullptr);
        for (int r = 0; r < rows; ++r) {
            const float* sums = scratch.sums + r * kPanel;
            if (output.finish == Finish::gate) {
                finish_gate(sums, *output.operand, row + r, panel);
            } else {
                finish_values(sums, output, row + r, panel);
            }
        }
    }
}

}  // namespace paceline
