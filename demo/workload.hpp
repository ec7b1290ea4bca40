// SPDX-License-Identifier: LGPL-2.1-or-later
// The data that the load writes, so that the checker knows every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace demo {

// DIR/bank.db: `bank_writers` processes move money between accounts. Transfer n of writer w is
// always the same, so that any damage is noticed.
constexpr int bank_writers = 3;
constexpr int accounts = 8;
constexpr int opening_balance = 100000;

struct Transfer {
    int source;
    int target;
    int amount;
};

constexpr Transfer transfer(int writer, int n) {
    return {n % accounts, (n + writer) % accounts, 1 + n % 7};
}

// DIR/first and DIR/second: record n is written and synced to `first`, then to `second`.
constexpr const char* pair_files[] = {"first", "second"};
constexpr std::size_t record_size = 32;

inline std::string record(int n) {
    return fmt::format("record {:07} {:016x}\n", n, std::uint64_t(n) * 0x9E3779B97F4A7C15U);
}

// One log per writer, outside the filesystem, with lines "n microseconds". Each is written after
// transaction or record n was acknowledged to be on disk.
inline std::string bank_log(int writer) {
    return fmt::format("bank-{}", writer);
}

constexpr const char* pair_log = "pair";

} // namespace demo
