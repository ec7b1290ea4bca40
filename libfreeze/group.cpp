// SPDX-License-Identifier: LGPL-2.1-or-later
#include "group.hpp"

#include "device_mapper.hpp"
#include "flush.hpp"
#include "own_files.hpp"
#include "parallel.hpp"
#include "report.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>

namespace libfreeze {

namespace {

std::system_error describe(Operation operation, const Member& member) {
    const auto& [code, leftover] = member.outcome;
    const Filesystem& filesystem = member.target.filesystem;
    if (!leftover) {
        return failure(operation, filesystem, code);
    }
    return failure(operation, filesystem, code,
                   fmt::format("{}. What is frozen there now could not be thawed ({}): run "
                               "fsfreeze -u {}",
                               explanation(operation, filesystem, code), leftover.message(),
                               quoted(filesystem.path)));
}

/// An error code does not tell of it, and a caller may have no more.
void report_leftover(const Member& member, const std::vector<dev_t>& superblocks) noexcept {
    const Filesystem& filesystem = member.target.filesystem;
    if (member.outcome.leftover) {
        report_failure(failure(Operation::thaw, filesystem, member.outcome.leftover), filesystem,
                       superblocks);
    }
}

std::vector<dev_t> superblocks_of(const std::vector<Member>& members) {
    std::vector<dev_t> result;
    for (const Member& member : members) {
        result.push_back(member.target.superblock);
    }
    return result;
}

/// Those of one rank at the same time, one rank after the other.
template <typename Iterator, typename Work>
void rank_by_rank(Iterator first, Iterator last, const Work& work) noexcept {
    while (first != last) {
        const auto next = std::find_if(
            first, last, [first](const Member& member) { return member.rank != first->rank; });
        in_parallel(static_cast<std::size_t>(next - first),
                    [&](std::size_t number) { work(first[static_cast<std::ptrdiff_t>(number)]); });
        first = next;
    }
}

bool is_frozen(const Member& member) noexcept {
    return member.is_held();
}

/// Its time has, not that of a device (ETIMEDOUT).
bool has_run_out(const Member& member) noexcept {
    return member.outcome.code == make_error_code(errc::acquire_timeout);
}

/// It was given up, but no write to it gets through before the kernel is done with it.
bool is_still_freezing(const Member& member) noexcept {
    return !member.is_held() && has_run_out(member);
}

Outcome join(Member& member, std::chrono::nanoseconds timeout) noexcept {
    try {
        return member.superblock->join(member.target.fd.get(), timeout,
                                       std::exchange(member.guardian, nullptr), &member.seat);
    } catch (const std::exception&) { // it may be in a thread, and out of memory is all there is
        return {system_error_code(ENOMEM), {}};
    }
}

bool needs_guardian(const Member& member, const Options& options) {
    constexpr auto none = std::chrono::milliseconds::zero();
    if (options.guardian != UseGuardian::automatic) {
        return options.guardian == UseGuardian::always;
    }
    return options.acquire_timeout != none ||
           (options.timeout != none && member.superblock->why_no_timeouts(member.target.fd.get()) ==
                                           errc::unsupported_by_kernel);
}

std::error_code sync(const Member& member) noexcept {
    if (member.guardian) {
        return member.guardian->sync();
    }
    int result = -1;
    do {
        result = the_system().syncfs(member.target.fd.get());
    } while (result < 0 && errno == EINTR);
    return result < 0 ? last_error() : std::error_code();
}

} // namespace

Group::~Group() {
    leave();
    leave(); // nobody will try again after this
    report(Operation::thaw);
    for (Member& member : members_) {
        if (member.is_held()) {
            member.superblock->abandon(&member.seat);
        }
    }
}

void Group::freeze(const std::vector<std::filesystem::path>& paths, const Options& options) {
    gather(paths, Operation::freeze);
    check_program(options);
    arrange();
    start_guardians(options);
    flush(std::min<std::chrono::milliseconds>(options.flush_budget, max_timeout));
    caller_knows_ = true; // of whatever ends early: this throws
    const auto began = the_system().now();
    take_seats(options);
    set_skipped_aside();
    if (members_.size() > 1 && options.timeout != options.timeout.zero()) {
        extend(options.timeout, Operation::freeze); // one deadline, and none has passed already
    }
    caller_knows_ = false;
    frozen_since_ = the_system().now();
    stats_.freezing = frozen_since_ - began;
}

void Group::adopt(const std::filesystem::path& path, const Options& options) {
    gather({path}, Operation::adopt);
    Member& member = members_.front();
    refuse_suspended(member.target, Operation::adopt);
    member.outcome =
        member.superblock->adopt(member.target.fd.get(), options.timeout, &member.seat);
    if (member.outcome.code) {
        const std::vector<Member> refused = std::exchange(members_, {});
        report_leftover(refused.front(), superblocks_of(refused));
        throw describe(Operation::adopt, refused.front());
    }
    frozen_since_ = the_system().now();
}

void Group::extend(std::chrono::milliseconds timeout) {
    extend(timeout, Operation::extend);
}

void Group::extend(std::chrono::milliseconds timeout, Operation operation) {
    for (Member& member : members_) {
        if (!member.is_held()) { // a thaw() that failed elsewhere has thawed this one
            throw failure(operation, member.target.filesystem, make_error_code(errc::expired));
        }
        member.outcome = member.superblock->extend(member.target.fd.get(), timeout, &member.seat);
        if (member.outcome.code) {
            caller_knows_ = caller_knows_ || member.outcome.code == errc::expired;
            report_leftover(member, superblocks_of(members_));
            throw describe(operation, member);
        }
    }
}

void Group::thaw() {
    leave();
    const auto held = std::find_if(members_.rbegin(), members_.rend(),
                                   [](const Member& member) { return member.is_held(); });
    if (held != members_.rend()) {
        throw describe(Operation::thaw, *held);
    }
    stats_ = stats();
    const std::vector<Member> gone = std::exchange(members_, {});
    for (const Member& member : gone) {
        report_leftover(member, superblocks_of(gone));
    }
    const auto expired = std::find_if(gone.begin(), gone.end(), [](const Member& member) {
        return static_cast<bool>(member.outcome.code);
    });
    if (expired != gone.end()) {
        throw describe(Operation::thaw, *expired);
    }
}

void Group::release() noexcept {
    for (Member& member : members_) {
        if (member.is_held()) {
            member.outcome = member.superblock->release(member.target.fd.get(), &member.seat);
        }
    }
    report(Operation::release);
    stats_ = stats();
    members_.clear();
}

Stats Group::stats() const noexcept {
    Stats result = stats_;
    if (!members_.empty()) {
        result.frozen = the_system().now() - frozen_since_;
    }
    return result;
}

/// Several paths on one filesystem are one member.
void Group::gather(const std::vector<std::filesystem::path>& paths, Operation operation) {
    for (const auto& path : paths) {
        Member member;
        member.target = resolve(path, operation);
        const bool is_known =
            std::any_of(members_.begin(), members_.end(), [&](const Member& other) {
                return other.target.superblock == member.target.superblock;
            });
        if (!is_known) {
            member.superblock = Superblock::find(member.target.superblock);
            members_.push_back(std::move(member));
        }
    }
}

/// Nothing that it may do while all is frozen shall wait for the thaw.
void Group::check_program(const Options& options) const {
    const Filesystem& first = members_.front().target.filesystem;
    if (!options.allow_self_deadlock) {
        const std::vector<OwnFile> files = own_files();
        for (const Member& member : members_) {
            const std::string why = why_it_would_deadlock(files, member.target.superblock);
            if (!why.empty()) {
                throw failure(Operation::freeze, member.target.filesystem,
                              make_error_code(errc::would_deadlock),
                              fmt::format("this program would wait for its own thaw when it writes "
                                          "there: {}. Move that, or set allow_self_deadlock",
                                          why));
            }
        }
    }
    if (options.lock_memory && the_system().mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        throw failure(Operation::freeze, first, last_error(),
                      "the program's memory cannot be locked: raise RLIMIT_MEMLOCK, or do without");
    }
}

/// Ranks each member above what it is stacked on. One that may be stacked on anything is above all
/// that are not, and above those that were mounted before it.
void Group::arrange() {
    for (Member& member : members_) {
        member.stack = stack_under(member.target.superblock);
        member.rank = member.stack.complete ? 0 : members_.size() * (1 + member.stack.place);
    }
    for (std::size_t pass = 1; pass < members_.size(); ++pass) { // as deep as it can be
        for (Member& member : members_) {
            for (const Member& other : members_) {
                if (member.stack.superblocks.count(other.target.superblock) != 0) {
                    member.rank = std::max(member.rank, other.rank + 1);
                }
            }
        }
    }
    std::stable_sort(members_.begin(), members_.end(),
                     [](const Member& a, const Member& b) { return a.rank > b.rank; });
}

void Group::start_guardians(const Options& options) {
    Deadline until;
    if (options.acquire_timeout != options.acquire_timeout.zero()) {
        until = the_system().now() +
                std::min<std::chrono::milliseconds>(options.acquire_timeout, max_timeout);
    }
    for (Member& member : members_) {
        if (needs_guardian(member, options)) {
            member.guardian = Guardian::start(member.target, until);
        }
    }
}

void Group::flush(std::chrono::nanoseconds budget) {
    const auto began = the_system().now();
    stats_.flush_rounds = libfreeze::flush(budget, [this] { sync(); });
    stats_.flushing = the_system().now() - began;
}

/// Writes out what is dirty, of those where that can be and does not block.
void Group::sync() {
    in_parallel(members_.size(), [this](std::size_t number) {
        Member& member = members_[number];
        if (!member.stack.suspended && !member.superblock->is_held(member.guardian.get())) {
            member.outcome.code = libfreeze::sync(member);
        }
    });
    for (const Member& member : members_) {
        if (has_run_out(member) || (member.guardian && is_lost(member.outcome.code))) {
            throw describe(Operation::freeze, member);
        }
        if (member.outcome.code) {
            throw failure(Operation::freeze, member.target.filesystem, member.outcome.code,
                          "not all that was written to it could be stored: see the kernel log, and "
                          "check its device and its free space");
        }
    }
}

void Group::take_seats(const Options& options) {
    const auto has_failed = [&options](const Member& member) {
        const bool is_skipped =
            options.unfreezable == Unfreezable::skip && member.outcome.code == errc::not_supported;
        return member.outcome.code && !is_skipped;
    };
    std::atomic<bool> failed = false;
    rank_by_rank(members_.begin(), members_.end(), [&](Member& member) noexcept {
        if (!failed) {
            member.outcome = join(member, options.timeout);
            failed = failed || has_failed(member);
        }
    });
    const auto first = std::find_if(members_.begin(), members_.end(), has_failed);
    if (first != members_.end()) {
        throw describe(Operation::freeze, *first);
    }
}

void Group::set_skipped_aside() {
    const auto end = std::stable_partition(members_.begin(), members_.end(),
                                           [](const Member& member) { return member.is_held(); });
    if (end == members_.begin()) {
        throw describe(Operation::freeze, members_.front());
    }
    std::transform(end, members_.end(), std::back_inserter(skipped_),
                   [](const Member& member) { return member.target.filesystem; });
    members_.erase(end, members_.end());
}

/// Thaws all that can be thawed.
void Group::leave() noexcept {
    rank_by_rank(members_.rbegin(), members_.rend(), [this](Member& member) noexcept {
        if (!member.is_held()) {
            return;
        }
        if (rests_on(member, is_frozen)) { // it would wait for that one's thaw, unkillable
            member.outcome = {system_error_code(EDEADLK), {}};
        } else if (member.seat.hold->guardian && rests_on(member, is_still_freezing)) {
            member.superblock->abandon(&member.seat); // the guardian thaws, and waits in our place
        } else {
            member.outcome = member.superblock->leave(member.target.fd.get(), &member.seat);
        }
    });
}

/// Whether it is, or may be, stacked on any such member.
bool Group::rests_on(const Member& member, bool (*which)(const Member&)) const noexcept {
    return std::any_of(members_.begin(), members_.end(), [&](const Member& other) {
        return other.rank < member.rank && which(other) &&
               (!member.stack.complete ||
                member.stack.superblocks.count(other.target.superblock) != 0);
    });
}

/// Of what the last call left frozen, and what had expired unless the caller knows.
void Group::report(Operation operation) const noexcept {
    const std::vector<dev_t> superblocks = superblocks_of(members_);
    for (const Member& member : members_) {
        const bool expired = member.outcome.code == errc::expired && !caller_knows_;
        if (member.is_held() || expired) {
            report_failure(describe(operation, member), member.target.filesystem, superblocks);
        }
        report_leftover(member, superblocks);
    }
}

} // namespace libfreeze
