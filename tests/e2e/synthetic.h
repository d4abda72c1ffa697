// Data of two classes with noisy labels, whose best loss is not zero: what a run loses by a disturbance shows in it.
#pragma once

#include <cstddef>

#include "tests/e2e/command.h"

namespace gossamer::e2e {

// Writes train.images, train.labels, test.images and test.labels (idx) to the folder: 20 features, labels drawn from a
// logistic model of them.  The same bytes each time.
void write_two_classes(const Scratch& folder, std::size_t train, std::size_t test);

}  // namespace gossamer::e2e
