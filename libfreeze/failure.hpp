// SPDX-License-Identifier: LGPL-2.1-or-later
/// Makes the library's error messages: one line that names the operation, the path, the filesystem
/// and a remedy.
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/filesystem.hpp>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

namespace libfreeze {

/// What the program asked for.
enum class Operation { freeze, adopt, extend, thaw, release, probe };

inline std::error_code system_error_code(int error) noexcept {
    return {error, std::system_category()};
}
inline std::error_code last_error() noexcept {
    return system_error_code(errno);
}

/// The errno by which the kernel says the same.
int kernel_errno(errc condition) noexcept;

/// The path in quotes, on one line whatever is in its name.
std::string quoted(const std::filesystem::path& path);

/// What it means, and what to do.
std::string explanation(Operation operation, const Filesystem& filesystem, std::error_code code);

/// "cannot freeze '/proc' (proc): <why>: <text of the code>".
std::system_error failure(Operation operation, const Filesystem& filesystem, std::error_code code,
                          std::string_view why);

/// The same with that explanation.
std::system_error failure(Operation operation, const Filesystem& filesystem, std::error_code code);

} // namespace libfreeze
