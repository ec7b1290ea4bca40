// SPDX-License-Identifier: LGPL-2.1-or-later
/// A guardian in a thread of this process, and clients.
#pragma once

#include "fake_syscalls.hpp"
#include "protocol.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace testing {

inline constexpr unsigned int device_major = 250;
inline constexpr unsigned int device_minor = 1;

/// A connection. After a failure of the transport all requests fail with ECONNRESET.
class Client final {
public:
    explicit Client(int fd) : fd_(fd) {}
    ~Client() { hang_up(); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    Client(Client&&) = delete;
    Client& operator=(Client&&) = delete;

    void hang_up();

    // Requests return the error of the RESULT.
    int hello(int filesystem = -1);
    int freeze(std::uint64_t id, std::int64_t timeout_ms = 0);
    int ask(std::uint32_t type, std::uint64_t id = 0, std::int64_t timeout_ms = 0);

    /// Waits for ENDED. False if that does not arrive, although the connection stays open.
    bool wait_for_end();
    /// The cause in ENDED; 0: it has not arrived.
    [[nodiscard]] std::uint32_t cause() const { return cause_; }
    /// An answer did not arrive in time.
    [[nodiscard]] bool timed_out() const { return timed_out_; }

private:
    void send(const guardian_message& message, int passed) const;
    bool receive(guardian_message* message);
    int wait_for_result();

    int fd_;
    std::uint32_t cause_ = 0;
    bool timed_out_ = false;
};

/// A guardian, its directory and its first client.
class Stage final {
public:
    /// `state`: in the lock file, from a guardian that was killed.
    explicit Stage(Fake* kernel, const std::string& state = "");
    ~Stage();
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;
    Stage(Stage&&) = delete;
    Stage& operator=(Stage&&) = delete;

    /// The first client says HELLO. Returns the error.
    [[nodiscard]] int start() const;
    /// Another client; null if it cannot connect or is not welcome.
    [[nodiscard]] std::unique_ptr<Client> connect() const;
    [[nodiscard]] bool finishes() const;
    [[nodiscard]] std::string path(const char* suffix) const;

    std::unique_ptr<Client> first;

private:
    std::string directory_;
    std::atomic<bool> finished_{false};
    std::thread thread_;
};

} // namespace testing
