#include "pack.h"

namespace paceline {
namespace {

// Items of `kBytes` bytes, each copied as a whole: [64 rows][depth] -> [depth][64].
template <int kBytes>
void transpose(const PanelSource& source, int num_items, std::uint8_t* to) {
    constexpr int kBlock = 64 / kBytes;  // one cache line of each row at a time
    for (int begin = 0; begin < num_items; begin += kBlock) {
        const int end = begin + kBlock < num_items ? begin + kBlock : num_items;
        for (int column = 0; column < kPanel; ++column) {
            const std::uint8_t* row = source.rows[column];
            if (row == nullptr) continue;
            for (int item = begin; item < end; ++item)
                std::memcpy(to + (static_cast<std::size_t>(item) * kPanel + column) * kBytes, row + item * kBytes,
                            kBytes);
        }
    }
}

float widen(Kind kind, const std::uint8_t* row, int index) {
    if (kind == Kind::f32) {
        float value;
        std::memcpy(&value, row + index * 4, 4);
        return value;
    }
    std::uint16_t half;
    std::memcpy(&half, row + index * 2, 2);
    return kind == Kind::bf16 ? widen_bf16(half) : _cvtsh_ss(half);
}

void pack_group(Kind kind, const PanelSource& source, int begin, std::uint8_t* to) {
    alignas(64) float values[kInt8Group * kPanel] = {};
    const int end = begin + group_of(kind) < source.depth ? begin + group_of(kind) : source.depth;
    for (int column = 0; column < kPanel; ++column) {
        if (source.rows[column] == nullptr) continue;
        for (int k = begin; k < end; ++k)
            values[(k - begin) * kPanel + column] = widen(source.kind, source.rows[column], k);
    }
    (kind == Kind::int8 ? quantize_int8 : quantize_int4)(values, to);
}

void pack_integers(Matrix& matrix, std::uint8_t* to, const PanelSource& source) {
    const int size = group_of(matrix.kind);
    const std::size_t group_bytes = panel_bytes(matrix.kind, size);
    for (int begin = 0; begin < matrix.depth; begin += size)
        pack_group(matrix.kind, source, begin, to + begin / size * group_bytes);
}

}  // namespace

void pack_panel(Matrix& matrix, int panel, const PanelSource& source) {
    std::uint8_t* to = matrix.panel(panel);
    switch (matrix.kind) {
        case Kind::f32:
            transpose<4>(source, source.depth, to);
            break;
        case Kind::f16:
            transpose<2>(source, source.depth, to);
            break;
        case Kind::bf16:
            transpose<4>(source, source.depth / 2, to);
            break;
        default:
            pack_integers(matrix, to, source);
            break;
    }
}

void quantize_group(const float* rows, int bits, std::int8_t* levels, float* scales) {
    const Kind kind = bits == 8 ? Kind::int8 : Kind::int4;
    const int size = group_of(kind);
    PanelSource source;
    source.depth = size;
    for (int row = 0; row < kPanel; ++row)
        source.rows[row] = reinterpret_cast<const std::uint8_t*>(rows + row * size);
    alignas(64) std::uint8_t packed[kInt8Group * kPanel + kPanel * sizeof(bf16)];
    pack_group(kind, source, 0, packed);
    for (int row = 0; row < kPanel; ++row) {
        for (int k = 0; k < size; ++k) {
            const int half = bits == 8 ? 0 : k / 4 % 2;
            const int word = bits == 8 ? k / 4 : k / 8;
            const int byte = packed[(word * kPanel + row) * 4 + k % 4];
            levels[row * size + k] = static_cast<std::int8_t>(bits == 8 ? byte - 128 : (byte >> (4 * half) & 15) - 8);
        }
        bf16 scale;
        std::memcpy(&scale, packed + size * kPanel * bits / 8 + row * sizeof scale, sizeof scale);
        scales[row] = widen_bf16(scale);
    }
}

}  // namespace paceline
