#include "gemm.h"

namespace paceline {
namespace {

constexpr int kFloatDepth = 128;  // depth of a unit: its weights stay in the first-level cache for all tiles

// A unit: 64 columns by a stretch of K, multiplied with every tile before the next unit is touched.
struct Units {
    int depth;  // of one unit
    std::size_t bytes;
};

Units units_of(const Matrix& matrix) {
    const int depth = is_integer(matrix.kind) ? group_of(matrix.kind) : kFloatDepth;
    return {depth, panel_bytes(matrix.kind, depth)};
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
        if (output.finish == Finish::add) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(exists, to + part * kLanes));
        _mm512_mask_storeu_ps(to + part * kLanes, exists, value);
    }
}

class PanelProduct {
public:
    PanelProduct(const Operand& left, const Matrix& matrix, int panel, Scratch& scratch)
        : left_(left), matrix_(matrix), panel_(panel), units_(units_of(matrix)), scratch_(scratch) {}

    void multiply(int row, int rows, bool fetch_panel, const std::uint8_t* ahead) {
        if (is_integer(matrix_.kind)) std::memset(scratch_.sums, 0, sizeof(float) * kPanel * rows);
        const int count = static_cast<int>(round_up(matrix_.depth, units_.depth)) / units_.depth;
        for (int unit = 0; unit < count; ++unit) {
            const std::uint8_t* next = unit + 1 < count ? matrix_.panel(panel_) + (unit + 1) * units_.bytes : ahead;
            if (unit + 1 < count && !fetch_panel) next = nullptr;
            multiply_unit(unit, row, rows, next);
        }
    }

private:
    void multiply_unit(int unit, int row, int rows, const std::uint8_t* next) {
        const std::uint8_t* unpacked = nullptr;
        if (matrix_.kind == Kind::int4 && rows > kMaxDirectRows) {
            unpack_nibbles(matrix_.panel(panel_) + unit * units_.bytes, scratch_.unpacked);
            unpacked = scratch_.unpacked;
        }
        const int tiles = (rows + kMaxTile - 1) / kMaxTile;
        const int lines = next == nullptr ? 0 : static_cast<int>(units_.bytes / 64);
        for (int tile = 0; tile < tiles; ++tile) {
            const int begin = rows * tile / tiles, end = rows * (tile + 1) / tiles;
            const int line = lines * tile / tiles;
            const Prefetch prefetch{next + line * 64, lines * (tile + 1) / tiles - line};
            multiply_tile(unit, {row + begin, end - begin}, scratch_.sums + begin * kPanel, unpacked, prefetch);
        }
    }

    void multiply_tile(int unit, Tile tile, float* sums, const std::uint8_t* unpacked, Prefetch prefetch) {
        if (is_integer(matrix_.kind)) {
            multiply_integer(left_, matrix_, panel_, unit, tile, sums, unpacked, prefetch);
            return;
        }
        const int begin = unit * units_.depth;
        const int end = begin + units_.depth < matrix_.depth ? begin + units_.depth : matrix_.depth;
        multiply_float(left_, matrix_, panel_, begin, end, tile, sums, prefetch);
    }

    static constexpr int kMaxDirectRows = 2;

    const Operand& left_;
    const Matrix& matrix_;
    int panel_;
    Units units_;
    Scratch& scratch_;
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
