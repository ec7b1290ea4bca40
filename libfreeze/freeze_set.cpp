// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freeze_set.hpp"

#include "flush.hpp"
#include "held_devices.hpp"
#include "own_files.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <utility>

namespace libfreeze::internal {

namespace {

/// Those of one rank at the same time, one rank after the other.
template <typename Iterator, typename Work>
void rank_by_rank(Iterator first, Iterator last, const Work& work) noexcept {
    while (first != last) {
        const auto next = std::find_if(
            first, last, [first](const Entry& entry) { return entry.rank != first->rank; });
        in_parallel(static_cast<std::size_t>(next - first),
                    [&](std::size_t number) { work(first[static_cast<std::ptrdiff_t>(number)]); });
        first = next;
    }
}

/// For calls that may run in another thread, where running out of memory is all that can happen.
template <typename Call>
Outcome outcome_of(const Call& call) noexcept {
    try {
        return call();
    } catch (const std::exception&) {
        return {ENOMEM};
    }
}

Target resolve(const Name& name, const MountTable& table, Operation operation) {
    const auto* const path = std::get_if<std::string>(&name);
    return path != nullptr ? resolve(*path, table, operation)
                           : resolve(std::get<int>(name), table, operation);
}

Outcome sync_filesystem(const Entry& entry) {
    int result = -1;
    do {
        result = syscalls().syncfs(entry.target.fd.get());
    } while (result < 0 && errno == EINTR);
    return result < 0
               ? Outcome{errno, "dirty data cannot be written: see the kernel log, and check "
                                "its device and its free space"}
               : Outcome{};
}

/// The deadline of a kept hold, as its guardian tells it.
Deadline deadline_of(dev_t device, std::uint64_t id) {
    const std::optional<GuardianStatus> status = ask_status(device, at_once());
    if (status) {
        for (const guardian_message& holder : status->holders) {
            if (holder.id == id && holder.timeout_ms >= 0) {
                return syscalls().now() + std::chrono::milliseconds(holder.timeout_ms);
            }
        }
    }
    return std::nullopt;
}

void restore_deadline(Entry& entry) {
    if (entry.deadline_before) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(*entry.deadline_before - syscalls().now());
        entry.hold->extend(std::max(left, std::chrono::milliseconds(1)));
    }
}

/// A hold's filesystem, without a descriptor on it.
Target target_of(dev_t device, const MountTable& table) {
    Target target;
    target.filesystem = filesystem_of(device, table);
    return target;
}

} // namespace

/// Several paths on one filesystem are one entry.
void FreezeSet::add(Target target) {
    const bool is_known = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.target.filesystem.device == target.filesystem.device;
    });
    if (!is_known) {
        entries_.push_back({std::move(target)});
    }
}

FreezeSet FreezeSet::gather(const std::vector<Name>& names, const FreezeRequest& request) {
    FreezeSet set;
    const MountTable table = read_mount_table();
    for (const Name& name : names) {
        set.add(resolve(name, table, Operation::freeze));
    }
    set.arrange(table);
    if (!request.allow_self_deadlock) {
        set.check_program(table, Operation::freeze);
        set.check_below();
    }
    return set;
}

FreezeSet FreezeSet::adopt(const std::string& path, FreezeRequest* request) {
    FreezeSet set;
    const MountTable table = read_mount_table();
    set.add(resolve(path, table, Operation::adopt));
    if (!request->allow_self_deadlock) {
        set.check_program(table, Operation::adopt);
    }
    Entry& entry = set.entries_.front();
    const Filesystem& filesystem = entry.target.filesystem;
    entry.hold =
        adopt_hold(std::move(entry.target.fd), filesystem.device, &request->hold, &entry.outcome);
    if (!entry.hold) {
        throw failure(Operation::adopt, filesystem, entry.outcome);
    }
    set.arrange(table);
    set.costs_.frozen_since = syscalls().now();
    return set;
}

FreezeSet FreezeSet::adopt(FreezeRequest* request) {
    FreezeSet set = refer_to(request->hold.id);
    if (!request->allow_self_deadlock) {
        set.check_program(read_mount_table(), Operation::adopt);
    }
    for (Entry& entry : set.entries_) {
        const dev_t device = entry.target.filesystem.device;
        const Deadline before = deadline_of(device, request->hold.id);
        entry.hold = adopt_hold({}, device, &request->hold, &entry.outcome);
        if (!entry.hold) {
            const Error problem = failure(Operation::adopt, entry.target.filesystem, entry.outcome);
            set.give_back();
            throw problem;
        }
        entry.deadline_before = before;
        entry.adopted = true;
    }
    set.costs_.frozen_since = syscalls().now();
    return set;
}

/// Undoes an adoption: what was adopted is kept again, with the deadline that it had.
void FreezeSet::give_back() {
    for (Entry& entry : entries_) {
        if (entry.hold && entry.adopted) {
            restore_deadline(entry);
            entry.hold->keep();
        }
    }
    entries_.clear();
}

FreezeSet FreezeSet::refer_to(std::uint64_t id) {
    FreezeSet set;
    const MountTable table = read_mount_table();
    for (const dev_t device : guarded_devices()) {
        Entry entry{target_of(device, table)};
        entry.hold = refer_to_hold(device, id, &entry.outcome);
        if (!entry.hold && entry.outcome.error != ESRCH) {
            throw failure(Operation::extend, entry.target.filesystem, entry.outcome);
        }
        if (entry.hold) {
            set.entries_.push_back(std::move(entry));
        }
    }
    if (set.entries_.empty()) {
        set.refer_to_kernel_holds(id, table);
    }
    set.arrange(table);
    return set;
}

void FreezeSet::refer_to_kernel_holds(std::uint64_t id, const MountTable& table) {
    for (ReferredHold& found : libfreeze::internal::refer_to_kernel_holds(id)) {
        Entry entry{target_of(found.device, table)};
        if (!found.hold) {
            throw failure(Operation::extend, entry.target.filesystem, found.outcome);
        }
        entry.hold = std::move(found.hold);
        entries_.push_back(std::move(entry));
    }
}

/// Ranks each entry above what it is stacked on. One that may be stacked on anything is above all
/// that are not, and above those that were mounted before it.
void FreezeSet::arrange(const MountTable& table) {
    for (Entry& entry : entries_) {
        entry.stack = stack_under(entry.target.filesystem.device, table);
        entry.rank = entry.stack.complete ? 0 : entries_.size() * (1 + entry.stack.place);
    }
    for (std::size_t pass = 1; pass < entries_.size(); ++pass) { // as deep as it can be
        for (Entry& entry : entries_) {
            for (const Entry& other : entries_) {
                if (entry.stack.superblocks.count(other.target.filesystem.device) != 0) {
                    entry.rank = std::max(entry.rank, other.rank + 1);
                }
            }
        }
    }
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const Entry& a, const Entry& b) { return a.rank > b.rank; });
}

/// Throws if the program would block on its own freeze.
void FreezeSet::check_program(const MountTable& table, Operation operation) const {
    const std::vector<OwnFile> files = own_files(table);
    for (const Entry& entry : entries_) {
        const std::string why = why_it_would_deadlock(files, entry.target.filesystem.device, table);
        if (!why.empty()) {
            throw failure(operation, entry.target.filesystem, EDEADLK,
                          "this program would block on its own freeze when it writes there: " +
                              why + ". Move that, or set allow_self_deadlock");
        }
    }
}

/// Throws if the program already holds what is below: freezing writes to that.
void FreezeSet::check_below() const {
    for (const Entry& entry : entries_) {
        for (const dev_t below : entry.stack.superblocks) {
            if (HeldDevices::has(below)) {
                throw failure(Operation::freeze, entry.target.filesystem, EDEADLK,
                              "it is stacked on a filesystem that this program holds frozen "
                              "already: freeze both together, or this one first");
            }
        }
    }
}

void FreezeSet::freeze(const FreezeRequest& request, const ProgressFunction& progress) {
    libfreeze_progress now{};
    now.filesystems = static_cast<std::uint32_t>(entries_.size());
    flush(request, progress, now);
    const auto began = syscalls().now();
    if (request.hold.limits.until && began >= *request.hold.limits.until) {
        throw failure(Operation::freeze, entries_.front().target.filesystem, ETIMEDOUT);
    }
    now.phase = LIBFREEZE_PHASE_FREEZING;
    progress(now);
    try {
        take_holds(request, progress, now);
        remove_skipped();
        if (entries_.size() > 1 && request.hold.timeout != request.hold.timeout.zero()) {
            extend(request.hold.timeout); // one deadline for all, and none has passed already
        }
    } catch (...) {
        release();
        throw;
    }
    costs_.frozen_since = syscalls().now();
    costs_.freezing = costs_.frozen_since - began;
    now.phase = LIBFREEZE_PHASE_FROZEN;
    progress(now);
}

void FreezeSet::flush(const FreezeRequest& request, const ProgressFunction& progress,
                      libfreeze_progress& now) {
    const auto began = syscalls().now();
    now.phase = LIBFREEZE_PHASE_FLUSHING;
    costs_.flush_rounds = libfreeze::internal::flush(request.flush_budget, [&] {
        progress(now);
        sync();
        ++now.flush_rounds;
    });
    costs_.flushing = syscalls().now() - began;
}

/// Writes out what is dirty, where that does not block.
void FreezeSet::sync() {
    in_parallel(entries_.size(), [this](std::size_t number) noexcept {
        Entry& entry = entries_[number];
        entry.outcome = outcome_of([&]() -> Outcome {
            const bool would_block = entry.stack.suspended ||
                                     is_held(entry.target.filesystem.device, entry.target.fd.get());
            return would_block ? Outcome{} : sync_filesystem(entry);
        });
    });
    for (const Entry& entry : entries_) {
        if (entry.outcome.error != 0) {
            throw failure(Operation::freeze, entry.target.filesystem, entry.outcome);
        }
    }
}

void FreezeSet::take_holds(const FreezeRequest& request, const ProgressFunction& progress,
                           libfreeze_progress& now) {
    const auto has_failed = [&request](const Entry& entry) {
        const int error = entry.outcome.error;
        return error != 0 && !(error == EOPNOTSUPP && request.skip_unfreezable);
    };
    std::atomic<bool> failed = false;
    rank_by_rank(entries_.begin(), entries_.end(), [&](Entry& entry) noexcept {
        if (failed) {
            return;
        }
        entry.outcome = outcome_of([&] {
            Outcome outcome;
            entry.hold = take_hold(std::move(entry.target.fd), entry.target.filesystem.device,
                                   request.hold, &outcome);
            return outcome;
        });
        failed = failed || has_failed(entry);
    });
    now.frozen = static_cast<std::uint32_t>(
        std::count_if(entries_.begin(), entries_.end(),
                      [](const Entry& entry) { return entry.hold != nullptr; }));
    progress(now);
    const auto first = std::find_if(entries_.begin(), entries_.end(), has_failed);
    if (first != entries_.end()) {
        throw failure(Operation::freeze, first->target.filesystem, first->outcome);
    }
}

void FreezeSet::remove_skipped() {
    const auto end = std::stable_partition(
        entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.hold != nullptr; });
    if (end == entries_.begin()) {
        throw failure(Operation::freeze, entries_.front().target.filesystem,
                      entries_.front().outcome);
    }
    std::transform(end, entries_.end(), std::back_inserter(skipped_),
                   [](const Entry& entry) { return entry.target.filesystem; });
    entries_.erase(end, entries_.end());
}

/// Undoes a freeze that failed for another filesystem. What cannot be thawed at once is thawed by
/// whoever keeps the hold.
void FreezeSet::release() noexcept {
    rank_by_rank(entries_.rbegin(), entries_.rend(), [this](Entry& entry) noexcept {
        if (entry.hold) {
            outcome_of([&] { return rests_on_frozen(entry) ? Outcome{} : entry.hold->thaw(); });
            entry.hold.reset();
        }
    });
}

/// Whether its thaw would wait for a filesystem below.
bool FreezeSet::rests_on_frozen(const Entry& entry) const {
    const bool own = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& other) {
        return other.rank < entry.rank && other.hold &&
               (!entry.stack.complete ||
                entry.stack.superblocks.count(other.target.filesystem.device) != 0);
    });
    return own || std::any_of(entry.stack.superblocks.begin(), entry.stack.superblocks.end(),
                              [](dev_t device) { return is_held(device); });
}

void FreezeSet::thaw_entries() noexcept {
    rank_by_rank(entries_.rbegin(), entries_.rend(), [this](Entry& entry) noexcept {
        if (entry.hold) {
            entry.outcome = outcome_of(
                [&] { return rests_on_frozen(entry) ? Outcome{EDEADLK} : entry.hold->thaw(); });
            if (entry.outcome.error == 0 || entry.outcome.error == ESTALE) {
                entry.hold.reset();
            }
        }
    });
}

void FreezeSet::drop_thawed() {
    for (const Entry& entry : entries_) {
        if (!entry.hold && entry.outcome.error == ESTALE && ended_.error == 0) {
            ended_ = entry.outcome;
            ended_filesystem_ = entry.target.filesystem;
        }
    }
    entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                  [](const Entry& entry) { return !entry.hold; }),
                   entries_.end());
}

void FreezeSet::thaw() {
    thaw_entries();
    drop_thawed();
    if (!entries_.empty()) {
        const Entry& last = entries_.back();
        throw failure(Operation::thaw, last.target.filesystem, last.outcome);
    }
    if (ended_.error != 0) {
        throw failure(Operation::thaw, ended_filesystem_, ended_);
    }
}

void FreezeSet::extend(std::chrono::milliseconds timeout) {
    if (ended_.error != 0) {
        throw failure(Operation::extend, ended_filesystem_, ended_);
    }
    for (Entry& entry : entries_) {
        entry.outcome = entry.hold->extend(timeout);
        if (entry.outcome.error != 0) {
            throw failure(Operation::extend, entry.target.filesystem, entry.outcome);
        }
    }
}

void FreezeSet::keep(std::uint64_t id) {
    bool any_kept = false;
    for (Entry& entry : entries_) {
        entry.outcome = entry.hold->keep();
        if (entry.outcome.error == 0) {
            entry.hold.reset();
            entry.kept = any_kept = true;
            continue;
        }
        const Error problem = failure(Operation::keep, entry.target.filesystem, entry.outcome);
        if (entry.outcome.error == ESTALE || any_kept) {
            undo_keep(id);
        }
        throw problem;
    }
    entries_.clear();
}

/// Thaws what was kept before another filesystem failed, and what is still held.
void FreezeSet::undo_keep(std::uint64_t id) noexcept {
    for (Entry& entry : entries_) {
        outcome_of([&] {
            Outcome outcome;
            if (entry.kept) {
                entry.hold = refer_to_hold(entry.target.filesystem.device, id, &outcome);
            }
            return outcome;
        });
    }
    release();
    entries_.clear();
}

std::vector<dev_t> FreezeSet::devices() const {
    std::vector<dev_t> result;
    for (const Entry& entry : entries_) {
        result.push_back(entry.target.filesystem.device);
    }
    return result;
}

} // namespace libfreeze::internal
