#include "attention.h"

#include <algorithm>
#include <cmath>

#include "attention_kernels.h"

namespace paceline {
namespace {

// One query vector and the keys it sees.
struct Query {
    int row, head;
    int index;                 // of the row among its sequence's appended rows
    int cached;                // positions stored before this batch
    int begin, end;            // storage positions that may be visible
    int full_begin, full_end;  // blocks of which every key is visible
    int position, window;
    bool regular;  // sees every storage position of begin:end
    std::uint64_t ancestors;
    const std::int32_t* appended_positions;

    bool sees_appended(int other) const {
        const bool above = ancestors != 0 ? (ancestors >> other & 1) != 0 : other <= index;
        return above && (window == 0 || position - appended_positions[other] < window);
    }

    __mmask16 visible(int block) const {
        if (block >= full_begin && block < full_end) return 0xffff;
        const int from = block * kBlock;
        unsigned mask = first_lanes(end - from) & ~first_lanes(begin - from);
        if (regular) return static_cast<__mmask16>(mask);
        for (int stored = std::max(from, cached); stored < std::min(from + kBlock, end); ++stored)
            if (!sees_appended(stored - cached)) mask &= ~(1u << (stored - from));
        return static_cast<__mmask16>(mask);
    }
};

Query make_query(const Batch& batch, const AttentionShape& shape, int seq, int vector, int head) {
    Query query;
    query.index = vector / shape.heads_per_kv;
    query.row = batch.row_starts[seq] + query.index;
    query.head = head * shape.heads_per_kv + vector % shape.heads_per_kv;
    query.cached = batch.num_cached[seq];
    query.position = batch.positions[query.row];
    query.window = shape.window;
    query.ancestors = batch.ancestors[query.row];
    query.appended_positions = batch.positions + batch.row_starts[seq];
    const int last = query.ancestors != 0 ? 63 - __builtin_clzll(query.ancestors) : query.index;
    query.end = query.cached + last + 1;
    query.regular = query.ancestors == 0 && (shape.window == 0 || batch.consecutive[seq] != 0);
    query.begin = shape.window == 0 ? 0 : std::max(query.position - shape.window + 1, 0);
    if (!query.regular) query.begin = std::min(query.begin, query.cached);
    query.full_begin = (query.begin + kBlock - 1) / kBlock;
    query.full_end = std::max((query.regular ? query.end : query.cached) / kBlock, query.full_begin);
    return query;
}

template <class Kv>
class Tile {
public:
    Tile(const AttentionInput& input, int seq, int tile, int head, AttentionScratch& scratch)
        : input_(input),
          head_(head),
          scratch_(scratch),
          table_(input.batch.block_tables + static_cast<std::size_t>(seq) * input.batch.table_width) {
        const int vectors = (input.batch.row_starts[seq + 1] - input.batch.row_starts[seq]) * input.shape.heads_per_kv;
        const int begin = tile * kQueryTile;
        count_ = std::min(vectors - begin, kQueryTile);
        for (int q = 0; q < count_; ++q)
            queries_[q] = make_query(input.batch, input.shape, seq, begin + q, head);
        first_ = queries_[0].begin / kBlock;
        last_ = 0;
        for (int q = 0; q < count_; ++q) {
            first_ = std::min(first_, queries_[q].begin / kBlock);
            last_ = std::max(last_, (queries_[q].end + kBlock - 1) / kBlock);
        }
    }

    void run(const AttentionOutput& output) {
        score();
        float inverse[kQueryTile];
        for (int q = 0; q < count_; ++q)
            inverse[q] = 1.0f / soften(queries_[q], scores(q));
        combine();
        for (int q = 0; q < count_; ++q)
            write(output, q, inverse[q]);
    }

private:
    using Item = typename Kv::Item;

    float* scores(int q) const { return scratch_.scores.data() + q * scratch_.score_stride; }
    float* sums(int q) const { return scratch_.sums.data() + q * input_.store.value_stride; }

    void score() {
        const Item* rows[kQueryTile];
        for (int q = 0; q < count_; ++q)
            rows[q] = reinterpret_cast<const Item*>(input_.queries) + queries_[q].row * input_.query_stride +
                      static_cast<std::size_t>(queries_[q].head) * input_.store.dim;
        const __m512 scale = _mm512_set1_ps(input_.shape.scale);
        for (int block = first_; block < last_; block += kScoreBlocks) {
            const Item* keys[kScoreBlocks];
            const int blocks = std::min(kScoreBlocks, last_ - block);
            for (int b = 0; b < kScoreBlocks; ++b)
                keys[b] = reinterpret_cast<const Item*>(
                    input_.store.keys(input_.layer, table_[block + std::min(b, blocks - 1)], head_));
            score_blocks<Kv>(count_, rows, keys, input_.store.dim, scale, scores(0) + (block - first_) * kBlock,
                             scratch_.score_stride, blocks);
        }
    }

    // Scores to weights relative to the largest, in place; their sum.
    float soften(const Query& query, float* scores) const {
        __m512 largest = _mm512_set1_ps(-INFINITY);
        for (int block = first_; block < last_; ++block) {
            const __m512 score = _mm512_loadu_ps(scores + (block - first_) * kBlock);
            // A NaN score is passed over here (max_ps takes its second operand then) and shows up in the weights.
            largest = _mm512_mask_max_ps(largest, query.visible(block), score, largest);
        }
        const __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
        __m512 total = _mm512_setzero_ps();
        for (int block = first_; block < last_; ++block) {
            float* at = scores + (block - first_) * kBlock;
            const __m512 weight =
                _mm512_maskz_mov_ps(query.visible(block), exp(_mm512_sub_ps(_mm512_loadu_ps(at), shift)));
            _mm512_storeu_ps(at, weight);
            total = _mm512_add_ps(total, weight);
        }
        return _mm512_reduce_add_ps(total);
    }

    const Item* values(int block) const {
        return reinterpret_cast<const Item*>(input_.store.values(input_.layer, table_[block], head_));
    }

    void combine() {
        int begin = first_, end = last_;
        for (int q = 0; q < count_; ++q) {
            std::fill(sums(q), sums(q) + input_.store.value_stride, 0.0f);
            begin = std::max(begin, queries_[q].full_begin);
            end = std::min(end, queries_[q].full_end);
        }
        end = std::max(begin, end);
        combine_single(first_, std::min(begin, last_));
        for (int block = begin; block < end; ++block)
            add_values<Kv>(count_, scores(0) + (block - first_) * kBlock, scratch_.score_stride, values(block),
                           input_.store.value_stride, 0xffff, sums(0));
        combine_single(end, last_);
    }

    void combine_single(int begin, int end) {
        for (int block = begin; block < end; ++block) {
            for (int q = 0; q < count_; ++q) {
                const __mmask16 mask = queries_[q].visible(block);
                if (mask == 0) continue;
                add_values<Kv>(1, scores(q) + (block - first_) * kBlock, scratch_.score_stride, values(block),
                               input_.store.value_stride, mask, sums(q));
            }
        }
    }

    void write(const AttentionOutput& output, int q, float inverse) const {
        const int dim = input_.store.dim;
        const std::size_t at = queries_[q].row * output.stride + static_cast<std::size_t>(queries_[q].head) * dim;
        for (int i = 0; i < dim; i += kLanes) {
            const __mmask16 lanes = first_lanes(dim - i);
            const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(sums(q) + i), _mm512_set1_ps(inverse));
            if (output.wide) {
                _mm512_mask_storeu_ps(reinterpret_cast<float*>(output.rows) + at + i, lanes, value);
            } else {
                const __m256i half = (__m256i)_mm512_cvtneps_pbh(value);
                _mm256_mask_storeu_epi16(reinterpret_cast<bf16*>(output.rows) + at + i, lanes, half);
            }
        }
    }

    const AttentionInput& input_;
    int head_;
    AttentionScratch& scratch_;
    const std::int32_t* table_;
    int count_ = 0;
    int first_ = 0, last_ = 0;  // blocks that any query of the tile may see
    Query queries_[kQueryTile];
};

}  // namespace

int count_tiles(int num_rows, const AttentionShape& shape) {
    return (num_rows * shape.heads_per_kv + kQueryTile - 1) / kQueryTile;
}

void attend(const AttentionInput& input, int seq, int tile, int head, const AttentionOutput& output,
            AttentionScratch& scratch) {
    if (input.store.wide) {
        Tile<F32Kv>(input, seq, tile, head, scratch).run(output);
    } else {
        Tile<Bf16Kv>(input, seq, tile, head, scratch).run(output);
    }
}

}  // namespace paceline
