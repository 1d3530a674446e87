// Work on one row at a time.
#pragma once

#include "matrix.h"

namespace paceline {

// Root-mean-square norm over `count` values; arrays are padded with zeros to `padded`, a multiple of 64.
void rms_norm(const float* values, const float* weight, int count, int padded, float epsilon, float* out);

// The same over one head, in place; `count` need not be a multiple of anything.
void rms_norm_head(float* values, const float* weight, int count, float epsilon);

// Rotates the pairs (i, i + dim / 2) by the angles of one position; cos, sin [dim / 2].
void rotate_head(float* values, const float* cos, const float* sin, int dim);

}  // namespace paceline
