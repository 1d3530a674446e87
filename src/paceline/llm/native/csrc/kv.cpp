#include "kv.h"

namespace paceline {
namespace {

// A key lies in `dim * item / 4` words of 4 bytes, 64 bytes apart.
template <class Visit>
void each_word(const KvStore& store, std::uint8_t* keys, int offset, Visit visit) {
    const int words = static_cast<int>(store.dim * store.item / 4);
    for (int word = 0; word < words; ++word)
        visit(word, keys + word * (kBlock * 4) + offset * 4);
}

}  // namespace

void KvStore::write(int layer, int slot, int head, const float* key, const float* value) const {
    const int block = slot / kBlock, offset = slot % kBlock;
    std::uint8_t* value_row = values(layer, block, head) + static_cast<std::size_t>(offset) * value_stride * item;
    alignas(64) std::uint8_t narrow[2048];
    const std::uint8_t* packed = reinterpret_cast<const std::uint8_t*>(key);
    if (wide) {
        std::memcpy(value_row, value, sizeof(float) * dim);
    } else {
        for (int i = 0; i < dim; i += kLanes) {
            const __mmask16 lanes = first_lanes(dim - i);
            narrow_bf16(reinterpret_cast<bf16*>(value_row) + i, _mm512_maskz_loadu_ps(lanes, value + i));
            narrow_bf16(reinterpret_cast<bf16*>(narrow) + i, _mm512_maskz_loadu_ps(lanes, key + i));
        }
        packed = narrow;
    }
    each_word(*this, keys(layer, block, head), offset,
              [&](int word, std::uint8_t* at) { std::memcpy(at, packed + word * 4, 4); });
}

void KvStore::move(int layer, const std::int32_t* sources, const std::int32_t* targets, int count,
                   std::uint8_t* buffer) const {
    const std::size_t key_bytes = dim * item, value_bytes = value_stride * item;
    const auto visit = [&](const std::int32_t* slots, bool reading) {
        std::uint8_t* at = buffer;
        for (int i = 0; i < count; ++i) {
            const int block = slots[i] / kBlock, offset = slots[i] % kBlock;
            for (int head = 0; head < heads; ++head) {
                each_word(*this, keys(layer, block, head), offset, [&](int word, std::uint8_t* stored) {
                    std::memcpy(reading ? at + word * 4 : stored, reading ? stored : at + word * 4, 4);
                });
                std::uint8_t* row = values(layer, block, head) + offset * value_bytes;
                std::memcpy(reading ? at + key_bytes : row, reading ? row : at + key_bytes, value_bytes);
                at += key_bytes + value_bytes;
            }
        }
    };
    visit(sources, true);
    visit(targets, false);
}

}  // namespace paceline
