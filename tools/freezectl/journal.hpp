// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/filesystem.hpp>

#include <chrono>
#include <string>
#include <system_error>
#include <vector>

namespace freezectl {

/// A freeze or thaw, for the systemd journal.
struct JournalEntry {
    const char* operation = ""; ///< "freeze" or "thaw"
    const char* result = "";    ///< "done", "expired" or "failed"
    std::string message;
    std::string id;
    std::vector<libfreeze::Filesystem> filesystems;
    std::chrono::system_clock::time_point time = std::chrono::system_clock::now();
};

/// Sends the entry. Never waits: the journal may be on a filesystem that is frozen. An entry that
/// would have to wait is lost, and so is one on a system without a journal.
void send_to_journal(const JournalEntry& entry);

/// "done", "expired" or "failed".
const char* journal_result(const std::error_code& error);

} // namespace freezectl
