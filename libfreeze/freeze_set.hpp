// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "acquisition.hpp"
#include "hold.hpp"
#include "stack.hpp"
#include "target.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace libfreeze::internal {

/// What names a filesystem: a path, or an open file on it.
using Name = std::variant<std::string, int>;

/// How to freeze: freeze.h's options, without what belongs to the guard.
struct FreezeRequest {
    HoldRequest hold;
    std::chrono::milliseconds flush_budget{0};
    bool skip_unfreezable = false;
    bool allow_self_deadlock = false;
};

/// What a freeze has cost.
struct Costs {
    unsigned int flush_rounds = 0;
    std::chrono::nanoseconds flushing{0};
    std::chrono::nanoseconds freezing{0};
    Clock::time_point frozen_since;
};

/// One filesystem of a set.
struct Entry {
    Target target; ///< the descriptor is there until the hold takes it
    Stack stack = {};
    std::size_t rank = 0; ///< higher than that of all it is stacked on; equal: independent
    std::unique_ptr<Hold> hold = {};
    Outcome outcome = {}; ///< of the last call for it
    bool kept = false;
    bool adopted = false;
    Deadline deadline_before = {}; ///< of an adopted hold
};

/// The filesystems that a guard holds, from the top of what is stacked to the bottom: in this order
/// they are frozen, and thawed in the reverse, since freezing and thawing write to what is below.
class FreezeSet final {
public:
    FreezeSet() = default;
    FreezeSet(const FreezeSet&) = delete;
    FreezeSet& operator=(const FreezeSet&) = delete;
    FreezeSet(FreezeSet&&) = default;
    FreezeSet& operator=(FreezeSet&&) = default;
    /// Drops what it holds without waiting.
    ~FreezeSet() = default;

    /// Finds the filesystems and orders them. Throws Error.
    static FreezeSet gather(const std::vector<Name>& names, const FreezeRequest& request);
    /// Takes over kept holds: of one filesystem, or all with the request's id. Sets the request's id.
    static FreezeSet adopt(const std::string& path, FreezeRequest* request);
    static FreezeSet adopt(FreezeRequest* request);
    /// Finds the holds with that id, whoever has them. Empty if there are none. Throws Error if a
    /// guardian cannot be asked.
    static FreezeSet refer_to(std::uint64_t id);

    /// Freezes all, or none. Throws Error.
    void freeze(const FreezeRequest& request, const ProgressFunction& progress);
    /// Thaws all that can be. Throws Error: ESTALE if the set is empty now and one had ended;
    /// another one for what is still held.
    void thaw();
    /// Throws Error; ESTALE if one has ended.
    void extend(std::chrono::milliseconds timeout);
    /// Leaves them frozen, and empties the set. Throws Error. ESTALE: nothing is left frozen, and
    /// the set is empty. If the first filesystem's hold cannot be kept for another reason, nothing
    /// has changed.
    void keep(std::uint64_t id);

    [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
    [[nodiscard]] const std::vector<Filesystem>& skipped() const noexcept { return skipped_; }
    [[nodiscard]] const Costs& costs() const noexcept { return costs_; }
    [[nodiscard]] std::vector<dev_t> devices() const;

private:
    void add(Target target);
    void refer_to_kernel_holds(std::uint64_t id, const MountTable& table);
    void arrange(const MountTable& table);
    void check_program(const MountTable& table, Operation operation) const;
    void check_below() const;
    void flush(const FreezeRequest& request, const ProgressFunction& progress,
               libfreeze_progress& now);
    void sync();
    void take_holds(const FreezeRequest& request, const ProgressFunction& progress,
                    libfreeze_progress& now);
    void remove_skipped();
    void give_back();
    void undo_keep(std::uint64_t id) noexcept;
    void release() noexcept;
    void thaw_entries() noexcept;
    void drop_thawed();
    [[nodiscard]] bool rests_on_frozen(const Entry& entry) const;

    std::vector<Entry> entries_;
    std::vector<Filesystem> skipped_;
    Costs costs_;
    Outcome ended_; ///< of an entry that is gone: its freeze had not lasted
    Filesystem ended_filesystem_;
};

} // namespace libfreeze::internal
