// SPDX-License-Identifier: LGPL-2.1-or-later
#include "plan.hpp"

#include "inspect.hpp"

#include <cerrno>
#include <utility>

namespace libfreeze::internal {

namespace {

ReportEntry describe(const Entry& entry, const MountTable& table, const FreezeRequest& request) {
    const int fd = entry.target.fd.get();
    ReportEntry result = libfreeze::internal::describe(entry.target, entry.stack, table);
    result.rank = entry.rank;
    add_state(fd, request.hold.limits, &result);
    if (result.freezable == 0 && !request.skip_unfreezable) {
        throw failure(Operation::freeze, entry.target.filesystem, EOPNOTSUPP);
    }
    return result;
}

} // namespace

std::unique_ptr<libfreeze_report> plan(const std::vector<Name>& names,
                                       const FreezeRequest& request) {
    const FreezeSet set = FreezeSet::gather(names, request);
    const MountTable table = read_mount_table();
    std::vector<ReportEntry> entries;
    for (const Entry& entry : set.entries()) {
        entries.push_back(describe(entry, table, request));
    }
    return make_report(std::move(entries));
}

} // namespace libfreeze::internal
