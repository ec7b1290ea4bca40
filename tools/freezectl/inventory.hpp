// SPDX-License-Identifier: LGPL-2.1-or-later
/// What can be known of filesystems without freezing them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace freezectl {

enum class Answer { yes, no, unknown };
const char* to_text(Answer answer);

struct Finding {
    Answer answer = Answer::unknown;
    std::string reason;
};

/// What is dirty on a filesystem's device: there is no count for the filesystem itself.
struct Dirty {
    std::optional<std::uint64_t> bytes;
    std::string source; ///< the file it is from, or why there is none
};

/// A filesystem that another is stacked on; no mountpoint: it is mounted elsewhere.
struct Below {
    dev_t device = 0;
    std::filesystem::path mountpoint;
};

struct Facts {
    std::filesystem::path path; ///< as the caller named it
    std::filesystem::path mountpoint;
    std::vector<std::filesystem::path> other_mountpoints;
    std::string type;
    std::string source;
    dev_t device = 0;
    Finding freezable;
    Finding frozen;
    bool suspended = false; ///< one of its devices, by device-mapper
    Dirty dirty;
    std::vector<Below> stacked_on;
    bool stack_complete = true; ///< false: it may be stacked on more
};

/// Throws std::system_error if the path is on no filesystem that can be looked at.
Facts facts_of(const std::filesystem::path& path);

/// Of all that are mounted and not known to be unable to freeze.
std::vector<Facts> all_facts();

/// What waits to be written on the whole machine.
std::optional<std::uint64_t> dirty_bytes_of_machine();

} // namespace freezectl
