// SPDX-License-Identifier: LGPL-2.1-or-later
#include "failure.hpp"

#include <iterator>

#include <fmt/format.h>

namespace libfreeze {

namespace {

const char* name(Operation operation) noexcept {
    switch (operation) {
    case Operation::freeze:
        return "freeze";
    case Operation::adopt:
        return "adopt the freeze of";
    case Operation::extend:
        return "extend the freeze of";
    case Operation::thaw:
        return "thaw";
    case Operation::release:
        return "release the freeze of";
    case Operation::probe:
        return "probe";
    }
    return "?";
}

std::string place(const Filesystem& filesystem) {
    if (filesystem.type.empty()) {
        return quoted(filesystem.path);
    }
    if (filesystem.mountpoint == filesystem.path) {
        return fmt::format("{} ({})", quoted(filesystem.path), filesystem.type);
    }
    return fmt::format("{} ({} on {})", quoted(filesystem.path), filesystem.type,
                       quoted(filesystem.mountpoint));
}

} // namespace

std::string quoted(const std::filesystem::path& path) {
    std::string result = "'";
    for (const char c : path.native()) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f || c == '\\' || c == '\'') {
            fmt::format_to(std::back_inserter(result), "\\x{:02x}", byte);
        } else {
            result += c;
        }
    }
    return result + "'";
}

std::string explanation(Operation operation, const Filesystem& filesystem, std::error_code code) {
    if (operation == Operation::adopt && code == errc::expired) {
        return "there is no freeze to take over: freeze it";
    }
    if (operation == Operation::freeze && code == errc::expired) {
        return "its freeze ended while the others were being frozen: choose a longer timeout";
    }
    if (code == errc::expired) {
        return "it did not stay frozen (timeout, administrator, sysrq, or its guardian was "
               "killed): discard what was copied meanwhile";
    }
    if (code == make_error_code(errc::acquire_timeout)) { // not a device that timed out
        return "it takes longer than the time given for it (acquire_timeout): see which program "
               "writes to it and blocks, or give it more time";
    }
    if (code == std::errc::broken_pipe || code == std::errc::connection_reset) {
        return "its guardian was killed: try again";
    }
    if (code == errc::unsupported_by_kernel) {
        return "this kernel has no freeze timeout: use none, or a kernel with libfreeze's patches";
    }
    if (code == errc::not_supported && filesystem.type == "overlay") {
        return "an overlay cannot be frozen: name the filesystem that its upper directory is on";
    }
    if (code == errc::not_supported) {
        return "such a filesystem cannot be frozen: name a path on one that can, as ext4, XFS, "
               "btrfs or f2fs";
    }
    if (code == std::errc::operation_not_permitted) {
        return "CAP_SYS_ADMIN is needed: run this as root, and in a container where the filesystem "
               "was mounted";
    }
    if (code == std::errc::value_too_large) {
        return "too many freezes at once: thaw some";
    }
    if (operation == Operation::thaw && code == std::errc::resource_deadlock_would_occur) {
        return "it is still frozen, and its thaw would wait for a filesystem below that is still "
               "frozen too: thaw that one first";
    }
    if (operation == Operation::thaw) {
        const auto& target =
            filesystem.mountpoint.empty() ? filesystem.path : filesystem.mountpoint;
        return fmt::format("it is still frozen: try again, or run fsfreeze -u {}", quoted(target));
    }
    if (code == errc::already_frozen) {
        return "it is frozen already, or being resized: try again when the other program has "
               "thawed it";
    }
    if (code == std::errc::no_such_file_or_directory) {
        return "check the path";
    }
    return "the kernel log may say more";
}

std::system_error failure(Operation operation, const Filesystem& filesystem, std::error_code code,
                          std::string_view why) {
    return {code, fmt::format("cannot {} {}: {}", name(operation), place(filesystem), why)};
}

std::system_error failure(Operation operation, const Filesystem& filesystem, std::error_code code) {
    return failure(operation, filesystem, code, explanation(operation, filesystem, code));
}

} // namespace libfreeze
