// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <set>
#include <string>

#include <sys/types.h>

namespace freezectl {

/// The file of --report.
class ReportFile final {
public:
    ReportFile() noexcept = default;
    ~ReportFile();
    ReportFile(const ReportFile&) = delete;
    ReportFile& operator=(const ReportFile&) = delete;
    ReportFile(ReportFile&&) = delete;
    ReportFile& operator=(ReportFile&&) = delete;

    /// Opens `name`: a file, or the number of an open descriptor. Does so before the freeze, so that
    /// an error is found in time. Throws std::exception if it cannot be written, or if it is on one
    /// of these superblocks, which are about to be frozen.
    void open(const std::string& name, const std::set<dev_t>& superblocks);
    /// Writes all of it. Does nothing if there is no such file. Throws std::system_error.
    void write(const std::string& text) const;

private:
    std::string name_;
    int fd_ = -1;
};

/// Whether the open file is on one of these superblocks, or on a filesystem that is stacked on one.
bool is_on(int fd, const std::set<dev_t>& superblocks);

} // namespace freezectl
