// SPDX-License-Identifier: LGPL-2.1-or-later
// load DIR LOGS: the load during a backup, until SIGTERM.
//
// Several processes commit transactions to one SQLite database (WAL, synchronous=FULL), another one
// writes records to a pair of files. Each logs what was acknowledged to be on disk to LOGS, which
// must not be on the filesystem of DIR.

#include "workload.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

/// A file to which whole records are appended.
class AppendFile {
public:
    explicit AppendFile(const std::string& path)
        : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
        require(fd_ >= 0, "open");
    }
    AppendFile(const AppendFile&) = delete;
    AppendFile& operator=(const AppendFile&) = delete;
    AppendFile(AppendFile&&) = delete;
    AppendFile& operator=(AppendFile&&) = delete;
    ~AppendFile() { close(fd_); }

    void append(const std::string& text) {
        require(write(fd_, text.data(), text.size()) == ssize_t(text.size()), "write");
    }
    void sync() { require(fsync(fd_) == 0, "fsync"); }

private:
    void require(bool done, const char* what) const {
        if (!done)
            throw std::system_error(errno, std::generic_category(), path_ + ": " + what);
    }

    std::string path_;
    int fd_;
};

/// Leaves time for the other processes, in particular on an emulated machine.
void pause_a_little() {
    std::this_thread::sleep_for(20ms);
}

class AcknowledgementLog {
public:
    explicit AcknowledgementLog(const std::string& path) : file_(path) {}

    void acknowledge(int n) {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        file_.append(fmt::format("{} {}\n", n, now / 1us));
    }

private:
    AppendFile file_;
};

class Database {
public:
    explicit Database(const std::string& path) {
        require(sqlite3_open(path.c_str(), &handle_));
        require(sqlite3_busy_timeout(handle_, 120000)); // a freeze makes the others wait
        execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=100");
    }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    Database(Database&&) = delete;
    Database& operator=(Database&&) = delete;
    ~Database() { sqlite3_close(handle_); }

    void execute(const std::string& sql) {
        require(sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr));
    }

private:
    void require(int result) const {
        if (result != SQLITE_OK)
            throw std::runtime_error(fmt::format("SQLite: {}", sqlite3_errmsg(handle_)));
    }

    sqlite3* handle_ = nullptr;
};

void create_bank(const std::string& path) {
    Database bank(path);
    std::string sql = "BEGIN;"
                      "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);"
                      "CREATE TABLE transfer(writer INTEGER, n INTEGER, source INTEGER,"
                      " target INTEGER, amount INTEGER, PRIMARY KEY(writer, n));";
    for (int id = 0; id < demo::accounts; ++id)
        sql += fmt::format("INSERT INTO account VALUES({}, {});", id, demo::opening_balance);
    bank.execute(sql + "COMMIT;");
}

void write_transfers(const std::string& path, const std::string& log_path, int writer) {
    Database bank(path);
    AcknowledgementLog log(log_path);
    for (int n = 1;; ++n) {
        const auto t = demo::transfer(writer, n);
        bank.execute(fmt::format("BEGIN IMMEDIATE;"
                                 "INSERT INTO transfer VALUES({0}, {1}, {2}, {3}, {4});"
                                 "UPDATE account SET balance = balance - {4} WHERE id = {2};"
                                 "UPDATE account SET balance = balance + {4} WHERE id = {3};"
                                 "COMMIT;",
                                 writer, n, t.source, t.target, t.amount));
        log.acknowledge(n);
        pause_a_little();
    }
}

void write_pairs(const std::string& directory, const std::string& log_path) {
    AppendFile first(directory + "/" + demo::pair_files[0]);
    AppendFile second(directory + "/" + demo::pair_files[1]);
    AcknowledgementLog log(log_path);
    for (int n = 1;; ++n) {
        for (AppendFile* file : {&first, &second}) {
            file->append(demo::record(n));
            file->sync();
        }
        log.acknowledge(n);
        pause_a_little();
    }
}

/// Runs `work` in a child that ends with this process. Not testing::Child, which its parent ends.
void start(const std::function<void()>& work) {
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (child > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    try {
        work();
    } catch (const std::exception& error) {
        fmt::print(stderr, "load: {}\n", error.what());
    }
    _exit(EXIT_FAILURE);
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 3) {
        fmt::print(stderr, "usage: load DIR LOGS\n");
        return 2;
    }
    const std::string directory = argv[1];
    const std::string logs = std::string(argv[2]) + "/";
    const std::string bank = directory + "/bank.db";

    create_bank(bank);
    for (int writer = 1; writer <= demo::bank_writers; ++writer)
        start([&] { write_transfers(bank, logs + demo::bank_log(writer), writer); });
    start([&] { write_pairs(directory, logs + demo::pair_log); });

    wait(nullptr); // a writer ends only if it fails
    return EXIT_FAILURE;
} catch (const std::exception& error) {
    fmt::print(stderr, "load: {}\n", error.what());
    return EXIT_FAILURE;
}
