// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stage.hpp"

#include "guardian.h"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace testing {

namespace {

constexpr int answer_time_ms = 3000;

} // namespace

void Client::hang_up() {
    if (fd_ >= 0) {
        close(std::exchange(fd_, -1));
    }
}

int Client::hello(int filesystem) {
    guardian_message message{};
    message.type = GUARDIAN_HELLO;
    message.version = GUARDIAN_VERSION;
    message.device_major = device_major;
    message.device_minor = device_minor;
    send(message, filesystem);
    return wait_for_result();
}

int Client::freeze(std::uint64_t id, std::int64_t timeout_ms) {
    return ask(GUARDIAN_FREEZE, id, timeout_ms);
}

int Client::ask(std::uint32_t type, std::uint64_t id, std::int64_t timeout_ms) {
    guardian_message message{};
    message.type = type;
    message.id = id;
    message.timeout_ms = timeout_ms;
    send(message, -1);
    return wait_for_result();
}

bool Client::wait_for_end() {
    guardian_message message{};
    while (cause_ == 0 && receive(&message)) {
    }
    return cause_ != 0 || !timed_out_;
}

void Client::send(const guardian_message& message, int passed) const {
    iovec data{const_cast<guardian_message*>(&message), sizeof(message)};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (passed >= 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* const rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(rights), &passed, sizeof(int));
    }
    sendmsg(fd_, &header, MSG_NOSIGNAL);
}

bool Client::receive(guardian_message* message) {
    std::size_t received = 0;
    while (received < sizeof(*message)) {
        pollfd entry{fd_, POLLIN, 0};
        timed_out_ = timed_out_ || poll(&entry, 1, answer_time_ms) == 0;
        const ssize_t length = timed_out_ ? -1
                                          : recv(fd_, reinterpret_cast<char*>(message) + received,
                                                 sizeof(*message) - received, 0);
        if (length <= 0) {
            return false;
        }
        received += static_cast<std::size_t>(length);
    }
    if (message->type == GUARDIAN_ENDED) {
        cause_ = message->cause;
    }
    return true;
}

int Client::wait_for_result() {
    guardian_message message{};
    while (receive(&message)) {
        if (message.type == GUARDIAN_RESULT) {
            return message.error;
        }
    }
    return ECONNRESET;
}

Stage::Stage(Fake* kernel, const std::string& state) {
    std::string name = "/tmp/guardian-test.XXXXXX";
    directory_ = mkdtemp(name.data());
    std::ofstream(path(".lock")) << state;
    fake() = kernel;
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    first = std::make_unique<Client>(ends[0]);
    kernel->open_descriptors = 1;
    thread_ = std::thread([this, channel = ends[1]] {
        guardian_run(channel, directory_.c_str());
        finished_ = true;
    });
}

Stage::~Stage() {
    first->hang_up();
    thread_.join();
    std::filesystem::remove_all(directory_);
}

int Stage::start() const {
    const int filesystem = open(frozen_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int error = first->hello(filesystem);
    close(filesystem);
    return error;
}

std::unique_ptr<Client> Stage::connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path("").copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto client = std::make_unique<Client>(fd);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        client->hello() != 0) {
        return nullptr;
    }
    return client;
}

bool Stage::finishes() const {
    for (int waited = 0; !finished_ && waited < 2 * answer_time_ms; ++waited) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return finished_;
}

std::string Stage::path(const char* suffix) const {
    return directory_ + "/" + std::to_string(device_major) + ":" + std::to_string(device_minor) +
           suffix;
}

} // namespace testing
