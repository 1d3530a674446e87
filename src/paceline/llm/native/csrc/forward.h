// One worker's way through the phases of a forward.
#pragma once

#include "model.h"

namespace paceline {

class Forward {
public:
    static constexpr int kPhasesPerLayer = 10, kOtherPhases = 3;

    Forward(Model& model, const Batch& batch, Worker& worker) : model_(model), batch_(batch), worker_(worker) {}

    void run(float* logits, float* hidden);  // [num_logits, vocab]; [num_logits, hidden] or null

private:
    void embed();
    void normalize(const Array<float>& weight);
    void normalize_logit_rows(float* hidden);
    void multiply(const Operand& left, int rows, const Matrix& matrix, const Output& output, const Matrix* following);
    void place(const Layer& layer, int index);
    void place_row(const Layer& layer, int index, int row, float* head);
    void attend_all(int index);
    void quantize_rows(const Operand& from, Operand& to);
    void feed_forward(const Layer& layer);

    template <class Visit>
    void by_chunk(int rows, int chunk, Visit visit) {
        worker_.phase((rows + chunk - 1) / chunk, [&](int index, int) {
            for (int row = index * chunk; row < rows && row < (index + 1) * chunk; ++row)
                visit(row);
        });
    }

    Model& model_;
    const Batch& batch_;
    Worker& worker_;
};

}  // namespace paceline
