// SPDX-License-Identifier: LGPL-2.1-or-later
// check COPY LOGS: checks that COPY is a consistent copy of the data that `load` wrote, and that it
// contains everything acknowledged in LOGS. Exits with 0, or with 1 and a line for each error.

#include "workload.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <sqlite3.h>

namespace {

using Row = std::vector<std::string>;

class Database {
public:
    explicit Database(const std::string& path) {
        if (sqlite3_open_v2(path.c_str(), &handle_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK)
            throw std::runtime_error(path + ": " + sqlite3_errmsg(handle_));
    }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    Database(Database&&) = delete;
    Database& operator=(Database&&) = delete;
    ~Database() { sqlite3_close(handle_); }

    std::vector<Row> query(const std::string& sql) {
        std::vector<Row> rows;
        const auto add = [](void* to, int columns, char** values, char** /*names*/) {
            Row row;
            for (int i = 0; i < columns; ++i)
                row.emplace_back(values[i] != nullptr ? values[i] : "NULL");
            static_cast<std::vector<Row>*>(to)->push_back(std::move(row));
            return 0;
        };
        if (sqlite3_exec(handle_, sql.c_str(), add, &rows, nullptr) != SQLITE_OK)
            throw std::runtime_error(std::string("SQLite: ") + sqlite3_errmsg(handle_));
        return rows;
    }

private:
    sqlite3* handle_ = nullptr;
};

class Checker {
public:
    Checker(std::string copy, std::string logs) : copy_(std::move(copy)), logs_(std::move(logs)) {}

    bool run() {
        check_bank();
        check_pair();
        fmt::print("check: {} acknowledged, {} in the copy, {} lost; {}\n", acknowledged_, found_,
                   lost_, wrong_ == 0 ? "consistent" : "NOT CONSISTENT");
        return wrong_ == 0;
    }

private:
    template <class... Args>
    void require(bool holds, fmt::format_string<Args...> format, Args&&... args) {
        if (holds)
            return;
        ++wrong_;
        fmt::print("check: WRONG: {}\n", fmt::format(format, std::forward<Args>(args)...));
    }

    /// How many writes were acknowledged to a writer. They are numbered from 1 without gaps.
    int acknowledged(const std::string& name) {
        std::ifstream log(logs_ + "/" + name);
        int n = 0;
        long long when = 0;
        int count = 0;
        for (; log >> n >> when; ++count)
            require(n == count + 1, "{}: log jumps from {} to {}", name, count, n);
        require(count > 0, "{}: nothing was acknowledged: the check proves nothing", name);
        return count;
    }

    void compare(const std::string& name, int acknowledged, int found) {
        acknowledged_ += acknowledged;
        found_ += found;
        lost_ += std::max(0, acknowledged - found);
        require(found >= acknowledged, "{}: {} acknowledged, only {} in the copy", name,
                acknowledged, found);
        // The one in flight at the freeze may be missing.
        require(found <= acknowledged + 1, "{}: {} acknowledged, but {} in the copy", name,
                acknowledged, found);
    }

    void check_bank() {
        Database bank(copy_ + "/bank.db");
        for (const Row& row : bank.query("PRAGMA integrity_check"))
            require(row.at(0) == "ok", "integrity_check: {}", row.at(0));
        balances_.fill(demo::opening_balance);
        for (int writer = 1; writer <= demo::bank_writers; ++writer)
            check_transfers(bank, writer);
        const auto rows = bank.query("SELECT id, balance FROM account ORDER BY id");
        require(rows.size() == balances_.size(), "{} accounts instead of {}", rows.size(),
                balances_.size());
        for (std::size_t i = 0; i < std::min(rows.size(), balances_.size()); ++i) {
            require(rows[i].at(1) == std::to_string(balances_.at(i)),
                    "account {} holds {}, its transfers add up to {}", i, rows[i].at(1),
                    balances_.at(i));
        }
    }

    void check_transfers(Database& bank, int writer) {
        const auto rows = bank.query(fmt::format(
            "SELECT n, source, target, amount FROM transfer WHERE writer = {} ORDER BY n", writer));
        int n = 0;
        for (const Row& row : rows) {
            const auto t = demo::transfer(writer, ++n);
            const Row expected = {std::to_string(n), std::to_string(t.source),
                                  std::to_string(t.target), std::to_string(t.amount)};
            require(row == expected, "writer {}: transfer {} is ({}), not ({})", writer, n,
                    fmt::join(row, " "), fmt::join(expected, " "));
            balances_.at(static_cast<std::size_t>(t.source)) -= t.amount;
            balances_.at(static_cast<std::size_t>(t.target)) += t.amount;
        }
        const std::string name = demo::bank_log(writer);
        compare(name, acknowledged(name), n);
    }

    /// The number of records in one of the two files.
    int check_records(const std::string& name) {
        std::ifstream file(copy_ + "/" + name, std::ios::binary);
        require(file.is_open(), "{}: missing", name);
        const std::string content{std::istreambuf_iterator<char>(file), {}};
        const int records = int(content.size() / demo::record_size);
        require(content.size() % demo::record_size == 0, "{}: record {} is cut off", name,
                records + 1);
        for (int n = 1; n <= records; ++n) {
            const std::size_t begin = std::size_t(n - 1) * demo::record_size;
            require(content.compare(begin, demo::record_size, demo::record(n)) == 0,
                    "{}: record {} is damaged", name, n);
        }
        return records;
    }

    void check_pair() {
        const int first = check_records(demo::pair_files[0]);
        const int second = check_records(demo::pair_files[1]);
        require(first == second || first == second + 1,
                "the two files do not agree: {} records in the first, {} in the second", first,
                second);
        compare(demo::pair_log, acknowledged(demo::pair_log), second);
    }

    std::string copy_;
    std::string logs_;
    std::array<int, demo::accounts> balances_{};
    int acknowledged_ = 0;
    int found_ = 0;
    int lost_ = 0;
    int wrong_ = 0;
};

} // namespace

int main(int argc, char** argv) try {
    if (argc != 3) {
        fmt::print(stderr, "usage: check COPY LOGS\n");
        return 2;
    }
    return Checker(argv[1], argv[2]).run() ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    fmt::print("check: WRONG: {}\n", error.what());
    return EXIT_FAILURE;
}
