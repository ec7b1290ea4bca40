// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "resolve.hpp"
#include "stack.hpp"
#include "superblock.hpp"

#include <libfreeze/options.hpp>
#include <libfreeze/stats.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <vector>

namespace libfreeze {

/// One filesystem of a group, and the group's seat on it.
struct Member {
    Target target;
    Stack stack;
    /// All that a member is stacked on have a lower rank. Those of one rank are independent.
    std::size_t rank = 0;
    std::shared_ptr<Superblock> superblock;
    std::shared_ptr<Guardian> guardian; ///< until it has a seat; none: not needed
    Seat seat;
    Outcome outcome; ///< of the last call for it

    [[nodiscard]] bool is_held() const noexcept { return seat.hold != nullptr; }
};

/// The filesystems that a guard holds, from the top of what is stacked to the bottom: in this order
/// they are frozen, and thawed in the reverse, since a freeze and a thaw write to what is below.
class Group final {
public:
    Group() = default;
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    Group(Group&&) = delete;
    Group& operator=(Group&&) = delete;
    /// Thaws, also what a freeze() that throws has frozen, and reports what fails.
    ~Group();

    void freeze(const std::vector<std::filesystem::path>& paths, const Options& options);
    void adopt(const std::filesystem::path& path, const Options& options);
    void extend(std::chrono::milliseconds timeout);
    void thaw();
    void release() noexcept;
    /// Lets go of everything and leaves the kernel's holds alone: they are another process's.
    void forget() noexcept { members_.clear(); }

    [[nodiscard]] const std::vector<Member>& members() const noexcept { return members_; }
    [[nodiscard]] const std::vector<Filesystem>& skipped() const noexcept { return skipped_; }
    [[nodiscard]] Stats stats() const noexcept;

private:
    void gather(const std::vector<std::filesystem::path>& paths, Operation operation);
    void check_program(const Options& options) const;
    void arrange();
    void start_guardians(const Options& options);
    void flush(std::chrono::nanoseconds budget);
    void sync();
    void take_seats(const Options& options);
    void set_skipped_aside();
    void extend(std::chrono::milliseconds timeout, Operation operation);
    void leave() noexcept;
    [[nodiscard]] bool rests_on(const Member& member, bool (*which)(const Member&)) const noexcept;
    void report(Operation operation) const noexcept;

    std::vector<Member> members_;
    std::vector<Filesystem> skipped_;
    Stats stats_;
    Clock::time_point frozen_since_;
    bool caller_knows_ = false; ///< that the freeze expired
};

} // namespace libfreeze
