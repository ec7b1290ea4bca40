// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

/// This machine cannot provide the conditions of the measurement.
class CannotMeasure final : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The body of main(): calls `body` with the arguments, of which there must be three, and turns
/// exceptions into a message and the exit status: 1, or 77 for CannotMeasure.
int run_program(int argc, char** argv, const char* usage,
                const std::function<void(const std::vector<std::string>&)>& body);

/// Not negative.
unsigned int to_number(const std::string& word);

} // namespace bench
