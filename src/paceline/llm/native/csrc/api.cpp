// The C interface. No exception crosses it, and no batch that would read or write out of bounds passes.
#include <new>
#include <system_error>

#include "model.h"
#include "pack.h"

namespace {

enum Code { kOk = 0, kNoMemory = 1, kNoThreads = 2, kBadBatch = 3 };

template <class Action>
int guarded(Action action) {
    try {
        action();
        return kOk;
    } catch (const std::bad_alloc&) {
        return kNoMemory;
    } catch (const std::system_error&) {
        return kNoThreads;
    }
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int paceline_create(const PacelineSpec* spec, paceline::Model** out) {
    return guarded([&] { *out = new paceline::Model(*spec); });
}

int paceline_load_layer(paceline::Model* model, int index, const PacelineLayer* layer) {
    return guarded([&] { model->load_layer(index, *layer); });
}

int paceline_load_ends(paceline::Model* model, const PacelineEnds* ends) {
    return guarded([&] { model->load_ends(*ends); });
}

int paceline_forward(paceline::Model* model, const PacelineBatch* batch, float* logits, float* hidden) {
    if (!model->accepts(*batch)) return kBadBatch;
    return guarded([&] { model->forward(*batch, logits, hidden); });
}

int paceline_move(paceline::Model* model, const std::int32_t* sources, const std::int32_t* targets, int count) {
    if (!model->accepts(sources, count) || !model->accepts(targets, count)) return kBadBatch;
    return guarded([&] { model->move(sources, targets, count); });
}

std::uint64_t paceline_weight_bytes(const paceline::Model* model) {
    return model->weight_bytes();
}

void paceline_destroy(paceline::Model* model) {
    delete model;
}

// Float32 weights [64][group] to levels [64][group] and scales [64].
void paceline_quantize(const float* weights, int bits, std::int8_t* levels, float* scales) {
    paceline::quantize_group(weights, bits, levels, scales);
}
}
