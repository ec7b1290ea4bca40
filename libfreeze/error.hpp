// SPDX-License-Identifier: LGPL-2.1-or-later
/// The library's failures: an errno as freeze.h promises it, and a message of one line that names
/// the operation, the path, the filesystem and a remedy.
#pragma once

#include "filesystem.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

namespace libfreeze::internal {

/// What the program asked for.
enum class Operation { freeze, adopt, extend, thaw, keep, inspect, probe };

class Error : public std::runtime_error {
public:
    Error(int number, const std::string& message) : std::runtime_error(message), number_(number) {}
    /// A positive errno.
    [[nodiscard]] int number() const noexcept { return number_; }

private:
    int number_;
};

/// How a request ended: 0 or a positive errno, and why, if more is known than the errno says.
struct Outcome {
    int error = 0;
    std::string why = {};
};

/// The path in quotes, on one line whatever is in its name.
std::string quoted(const std::string& path);

/// "cannot freeze '/proc' (proc): <why>: <text of the errno>".
Error failure(Operation operation, const Filesystem& filesystem, int error, std::string_view why);

/// The same with the usual explanation and remedy of that errno.
Error failure(Operation operation, const Filesystem& filesystem, int error);
Error failure(Operation operation, const Filesystem& filesystem, const Outcome& outcome);

} // namespace libfreeze::internal
