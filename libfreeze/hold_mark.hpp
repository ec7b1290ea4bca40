// SPDX-License-Identifier: LGPL-2.1-or-later
/// The kernel's holds have no ids. A program that has one therefore also has an empty file in
/// memory open, whose name has the id: /proc/PID/fd shows it to other programs.
#pragma once

#include "file_descriptor.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// A hold of the kernel, and where its freeze descriptor is.
struct HoldMark {
    std::uint64_t id = 0;
    dev_t device = 0;
    pid_t process = 0;
    int fd = -1;
};

/// The mark lasts as long as its descriptor. Empty, and errno, on failure.
FileDescriptor make_mark(std::uint64_t id, dev_t device, int fd);

/// The holds that a process has marked.
std::vector<HoldMark> marks_of(pid_t process);

/// The holds with this id, of all processes.
std::vector<HoldMark> find_marks(std::uint64_t id);

/// For how many milliseconds the hold has lasted; -1 if that is not known.
std::int64_t age_of(const HoldMark& mark);

/// Of a freeze descriptor of this process: the milliseconds until its deadline; -1: it has none. No
/// value if that is not known, or if its hold has ended.
std::optional<std::int64_t> time_left_of(int fd);

/// A copy of the freeze descriptor. Empty, and errno: ESRCH if the process has none there.
FileDescriptor copy_descriptor(const HoldMark& mark);

} // namespace libfreeze::internal
