// SPDX-License-Identifier: LGPL-2.1-or-later
#include "error.hpp"

#include <array>
#include <cerrno>
#include <system_error>

namespace libfreeze::internal {

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
    case Operation::keep:
        return "keep the freeze of";
    case Operation::inspect:
        return "inspect";
    case Operation::probe:
        return "probe";
    }
    return "?";
}

std::string place(const Filesystem& filesystem) {
    if (filesystem.type.empty()) {
        return quoted(filesystem.path);
    }
    if (filesystem.mountpoint == filesystem.path || filesystem.mountpoint.empty()) {
        return quoted(filesystem.path) + " (" + filesystem.type + ")";
    }
    return quoted(filesystem.path) + " (" + filesystem.type + " on " +
           quoted(filesystem.mountpoint) + ")";
}

std::string explain_not_freezable(const Filesystem& filesystem) {
    if (filesystem.type == "overlay") {
        return "an overlay cannot be frozen: name the filesystem that its upper directory is on";
    }
    return "this type of filesystem cannot be frozen: name a path on one that can, such as ext4, "
           "XFS, btrfs or f2fs";
}

std::string explain_thaw(const Filesystem& filesystem, int error) {
    if (error == EDEADLK) {
        return "it is still frozen, because its thaw would wait for a filesystem below it that is "
               "still frozen: thaw that one first";
    }
    return "it is still frozen: try again, or run freezectl thaw " +
           quoted(filesystem.mountpoint.empty() ? filesystem.path : filesystem.mountpoint);
}

std::string explain(Operation operation, const Filesystem& filesystem, int error) {
    switch (error) {
    case ESTALE:
        return operation == Operation::freeze ? "it thawed before the others were frozen"
                                              : "it did not stay frozen";
    case EOPNOTSUPP:
        return explain_not_freezable(filesystem);
    case EPERM:
        return "CAP_SYS_ADMIN is needed: run this as root, and in a container where the "
               "filesystem was mounted";
    case EOVERFLOW:
        return "there are too many freezes: thaw some";
    case ETIMEDOUT:
        return "it was not frozen in time (acquire_timeout): find the program that writes to it "
               "and "
               "does not finish, or allow more time";
    case ECANCELED:
        return "it was cancelled";
    case ESRCH:
        return operation == Operation::adopt ? "it has no kept hold: freeze it"
                                             : "it is not frozen";
    default:
        break;
    }
    if (operation == Operation::thaw) {
        return explain_thaw(filesystem, error);
    }
    if (error == EBUSY) {
        return "another program has frozen it without libfreeze, or it is being resized: try again "
               "when that is over";
    }
    return error == ENOENT ? "check the path" : "see the kernel log";
}

/// ESTALE of NFS does not mean that a freeze has ended, nor EINVAL of a filesystem that the caller
/// has misused the library.
int meaning_of(Operation operation, int error) {
    const bool has_hold = operation == Operation::adopt || operation == Operation::extend ||
                          operation == Operation::thaw || operation == Operation::keep;
    return error == EINVAL || (error == ESTALE && !has_hold) ? EIO : error;
}

} // namespace

std::string quoted(const std::string& path) {
    constexpr std::array<char, 17> digits{"0123456789abcdef"};
    std::string result = "'";
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f || c == '\\' || c == '\'') {
            result += {'\\', 'x', digits[byte / 16U], digits[byte % 16U]};
        } else {
            result += c;
        }
    }
    return result + "'";
}

Error failure(Operation operation, const Filesystem& filesystem, int error, std::string_view why) {
    const int number = meaning_of(operation, error);
    return {number, "cannot " + std::string(name(operation)) + " " + place(filesystem) + ": " +
                        std::string(why) + ": " + std::system_category().message(number)};
}

Error failure(Operation operation, const Filesystem& filesystem, int error) {
    return failure(operation, filesystem, error, explain(operation, filesystem, error));
}

Error failure(Operation operation, const Filesystem& filesystem, const Outcome& outcome) {
    if (outcome.why.empty()) {
        return failure(operation, filesystem, outcome.error);
    }
    if (outcome.error == ESTALE) {
        return failure(operation, filesystem, ESTALE,
                       explain(operation, filesystem, ESTALE) + " (" + outcome.why +
                           "); discard what was copied in the meantime");
    }
    return failure(operation, filesystem, outcome.error, outcome.why);
}

} // namespace libfreeze::internal
