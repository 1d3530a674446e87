// Weights as the kernels read them, and the rows they are multiplied with.
#pragma once

#include "memory.h"
#include "simd.h"

namespace paceline {

enum class Kind : std::int32_t { f32 = 0, bf16 = 1, f16 = 2, int8 = 3, int4 = 4 };

constexpr int kPanel = 64;      // output columns that are packed together
constexpr int kDepthStep = 64;  // the depth K is padded to a multiple of this
constexpr int kInt8Group = 64;  // weights along K that share a scale
constexpr int kInt4Group = 32;

inline bool is_integer(Kind kind) {
    return kind == Kind::int8 || kind == Kind::int4;
}
inline int group_of(Kind kind) {
    return kind == Kind::int4 ? kInt4Group : kInt8Group;
}

// Bytes of 64 columns of depth `depth`. Integer kinds keep the bf16 scales of a group behind its weights:
// one stream for the memory system.
inline std::size_t panel_bytes(Kind kind, int depth) {
    const std::size_t columns = kPanel, k = static_cast<std::size_t>(depth);
    switch (kind) {
        case Kind::f32:
            return columns * k * 4;
        case Kind::bf16:
        case Kind::f16:
            return columns * k * 2;
        case Kind::int8:
            return k / kInt8Group * columns * (kInt8Group + 2);
        default:
            return k / kInt4Group * columns * (kInt4Group / 2 + 2);
    }
}

// Panels of 64 output columns:
//   f32, f16  [N/64][K][64]
//   bf16      [N/64][K/2][64][2]
//   int8      [N/64][K/64]{ [16][64][4] of q + 128, bf16 scale [64] }
//   int4      [N/64][K/32]{ [4][64] words of 8 nibbles q + 8, bf16 scale [64] };
//             byte i of a word holds depth i in its low and depth 4 + i in its high nibble
struct Matrix {
    Matrix() = default;
    Matrix(Kind kind_, int columns_, int depth_)
        : kind(kind_),
          columns(columns_),
          depth(static_cast<int>(round_up(depth_, kDepthStep))),
          num_panels(static_cast<int>(round_up(columns_, kPanel) / kPanel)),
          stride(panel_bytes(kind_, depth)),
          data(num_panels * stride + kPrefetchSlack) {}

    const std::uint8_t* panel(int index) const { return data.as<const std::uint8_t>() + index * stride; }
    std::uint8_t* panel(int index) { return data.as<std::uint8_t>() + index * stride; }
    std::size_t bytes() const { return num_panels * stride; }

    static constexpr std::size_t kPrefetchSlack = 4096;

    Kind kind = Kind::f32;
    int columns = 0;
    int depth = 0;
    int num_panels = 0;
    std::size_t stride = 0;
    Buffer data;
};

// Left operands. float32 for f32 and f16 weights, bf16 for bf16, int8 with one scale per group for
// the integer kinds. `offsets` is -zero * sum of the group: where its integer accumulator starts.
// Row strides are odd multiples of 64 bytes, or rows would share cache sets.
struct Operand {
    Operand() = default;
    Operand(Kind kind_, int max_rows, int depth_) : kind(kind_), depth(static_cast<int>(round_up(depth_, kDepthStep))) {
        const int item = kind == Kind::bf16 ? 2 : is_integer(kind) ? 1 : 4;
        stride = (round_up(static_cast<std::size_t>(depth) * item, 64) | 64) / item;
        values = Buffer(max_rows * stride * item);
        if (is_integer(kind)) {
            groups = depth / group_of(kind);
            scales = Array<float>(static_cast<std::size_t>(max_rows) * groups);
            offsets = Array<std::int32_t>(static_cast<std::size_t>(max_rows) * groups);
        }
    }

    template <class T>
    T* row(int index) const {
        return values.as<T>() + index * stride;
    }

    Kind kind = Kind::f32;
    int depth = 0;
    std::size_t stride = 0;  // in items
    int groups = 0;
    Buffer values;
    Array<float> scales;          // [rows, groups]
    Array<std::int32_t> offsets;  // [rows, groups]
};

// Writes float32 values [operand.depth] as row `index` of the operand.
void write_operand(Operand& operand, int index, const float* values);

}  // namespace paceline
