// SPDX-License-Identifier: LGPL-2.1-or-later
/// The implementation of freeze.h's guard.
#pragma once

#include "freeze_set.hpp"
#include "held_devices.hpp"
#include "process_memory.hpp"

#include <libfreeze/freeze.h>

#include <string>
#include <vector>

struct libfreeze_guard final {
public:
    libfreeze_guard(libfreeze::internal::FreezeSet set, std::uint64_t id,
                    libfreeze::internal::MemoryLock memory, libfreeze_failure_handler handler,
                    void* handler_data);
    libfreeze_guard(const libfreeze_guard&) = delete;
    libfreeze_guard& operator=(const libfreeze_guard&) = delete;
    libfreeze_guard(libfreeze_guard&&) = delete;
    libfreeze_guard& operator=(libfreeze_guard&&) = delete;
    /// Thaws and reports what fails, but not in a forked child.
    ~libfreeze_guard();

    void thaw();
    void extend(std::chrono::milliseconds timeout);
    void keep();

    [[nodiscard]] int descriptor() const noexcept;
    [[nodiscard]] const std::string& id() const noexcept { return id_text_; }
    [[nodiscard]] const std::vector<libfreeze_filesystem>& filesystems() const noexcept {
        return filesystems_;
    }
    [[nodiscard]] const std::vector<libfreeze_filesystem>& skipped() const noexcept {
        return skipped_;
    }
    [[nodiscard]] libfreeze_stats stats() const noexcept;

private:
    void check(const char* function) const;
    void update();
    void report(const libfreeze::internal::Error& problem, const std::string& mountpoint,
                const std::vector<dev_t>& devices) const noexcept;

    libfreeze::internal::ForkMark fork_mark_;
    libfreeze::internal::MemoryLock memory_;
    libfreeze::internal::FreezeSet set_;
    std::vector<libfreeze::internal::Filesystem> names_; ///< what filesystems_ points to
    std::vector<libfreeze_filesystem> filesystems_;
    std::vector<libfreeze_filesystem> skipped_;
    libfreeze::internal::HeldDevices held_;
    libfreeze::internal::WatchedDescriptor events_; ///< an epoll descriptor of all holds
    std::uint64_t id_;
    std::string id_text_;
    libfreeze::internal::Clock::time_point emptied_;
    libfreeze_failure_handler handler_;
    void* handler_data_;
    bool caller_knows_ = false; ///< that the freeze has ended
};

namespace libfreeze::internal {

/// As 16 hexadecimal digits, and back; 0 if they are none.
std::string format_id(std::uint64_t id);
std::uint64_t parse_id(const char* text);

/// As freeze.h has it. Points into its argument.
libfreeze_filesystem describe(const Filesystem& filesystem) noexcept;

} // namespace libfreeze::internal
