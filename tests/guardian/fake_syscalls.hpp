// SPDX-License-Identifier: LGPL-2.1-or-later
/// The guardian's seam with a kernel that can freeze in memory, and calls that fail on demand. All
/// other calls are real ones: sockets, and files in a temporary directory. Time passes faster.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include <sys/types.h>

namespace testing {

/// The filesystem is this directory; anything but the guardian's own files would do.
inline constexpr const char* frozen_path = "/proc";

/// One failure of the guardian: the calls number `first` to `last` of that name, from 1.
struct Fault {
    std::string call;
    int first = 0;
    int last = 0;
    int error = 0; ///< 0: the call transfers one byte only
};

struct Fake {
    static constexpr std::int64_t speed = 40;

    std::mutex lock;
    bool patched = false; ///< the kernel has part 2 of the patches
    bool jfs = false;     ///< the filesystem says that it is JFS
    bool frozen = false;
    bool guardian_froze = false;      ///< and nobody has thawed since
    int thaws = 0;                    ///< successful ones, by anybody
    std::int64_t kernel_seconds = -1; ///< of the last freeze or reset on a patched kernel
    std::optional<Fault> fault;
    std::map<std::string, int> calls;
    int open_descriptors = 0;

    void outsider_thaws();
    bool is_frozen();
    int thaw_count();
    void no_more_faults();
};

/// The one in use. A test sets it before it starts a guardian.
Fake*& fake() noexcept;

} // namespace testing
