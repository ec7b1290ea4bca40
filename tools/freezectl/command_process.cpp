// SPDX-License-Identifier: LGPL-2.1-or-later
#include "command_process.hpp"

#include "exit_status.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace freezectl {

namespace {

using Clock = std::chrono::steady_clock;

/// False in the background: the terminal is another program's then.
bool owns_terminal() {
    return ::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

[[noreturn]] void fail(const std::string& word) {
    throw std::system_error(errno, std::system_category(),
                            fmt::format("cannot start a process for {}", in_quotes(word)));
}

std::array<int, 2> make_pipe(const std::string& word) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        fail(word);
    }
    return ends;
}

std::string name_of(const std::string& variable) {
    return variable.substr(0, variable.find('=') + 1);
}

/// The environment of this process. A variable of the same name is replaced; one without a value is
/// removed.
std::vector<std::string> merge_environment(const std::vector<std::string>& variables) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string text = *entry;
        bool is_replaced = false;
        for (const std::string& variable : variables) {
            is_replaced = is_replaced || name_of(variable) == name_of(text);
        }
        if (!is_replaced) {
            result.push_back(text);
        }
    }
    for (const std::string& variable : variables) {
        if (variable != name_of(variable)) {
            result.push_back(variable);
        }
    }
    return result;
}

std::vector<char*> to_pointers(const std::vector<std::string>& words) {
    std::vector<char*> result;
    result.reserve(words.size() + 1);
    for (const std::string& word : words) {
        result.push_back(const_cast<char*>(word.c_str()));
    }
    result.push_back(nullptr);
    return result;
}

/// What the child needs. It must not allocate: another thread may have held the lock of the heap.
struct Plan {
    char* const* words;
    char* const* environment;
    const sigset_t* mask;
    pid_t parent;
    int error_channel;
    bool gives_terminal;
};

[[noreturn]] void execute(const Plan& plan) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) { // it has died before the line above
        ::_exit(exit_status::cannot_execute);
    }
    if (plan.gives_terminal) {
        ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
    } else {
        (void)std::signal(SIGTTIN, SIG_IGN); // reading from the terminal fails (EIO)
    }
    ::pthread_sigmask(SIG_SETMASK, plan.mask, nullptr);
    ::execvpe(plan.words[0], plan.words, plan.environment);
    const int error = errno;
    (void)!::write(plan.error_channel, &error, sizeof(error));
    ::_exit(error == ENOENT ? exit_status::not_found : exit_status::cannot_execute);
}

/// In the group, so that no other group can get its number.
[[noreturn]] void wait_and_kill(pid_t group, int channel) {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    ::dup2(channel, 0);
    ::close_range(1, ~0U, 0); // among them the holds
    if (::chdir("/") != 0 || ::setpgid(0, group) != 0) {
        ::_exit(exit_status::failed);
    }
    ::prctl(PR_SET_NAME, "freezectl-kill");
    char byte = 0;
    while (::read(0, &byte, 1) < 0 && errno == EINTR) {
    }
    ::kill(0, SIGKILL);
    ::_exit(exit_status::ok);
}

} // namespace

CommandProcess::CommandProcess(const std::vector<std::string>& words,
                               const std::vector<std::string>& variables, const Signals& signals)
    : has_terminal_(owns_terminal()) {
    const std::vector<std::string> environment = merge_environment(variables);
    const std::vector<char*> word_pointers = to_pointers(words);
    const std::vector<char*> environment_pointers = to_pointers(environment);
    const auto errors = make_pipe(words.front());
    const auto life = make_pipe(words.front());
    error_channel_ = errors[0];
    killer_channel_ = life[1];
    const Plan plan{word_pointers.data(),
                    environment_pointers.data(),
                    &signals.original_mask(),
                    ::getpid(),
                    errors[1],
                    has_terminal_};
    pid_ = ::fork();
    if (pid_ == 0) {
        execute(plan);
    }
    const int error = errno;
    ::close(errors[1]);
    if (pid_ < 0) {
        ::close(life[0]);
        ::close(error_channel_);
        ::close(killer_channel_);
        errno = error;
        fail(words.front());
    }
    ::setpgid(pid_, pid_);
    killer_ = ::fork();
    if (killer_ == 0) {
        wait_and_kill(pid_, life[0]);
    }
    ::close(life[0]);
}

CommandProcess::~CommandProcess() {
    int status = 0;
    if (killer_ > 0) {
        ::kill(killer_, SIGKILL);
        (void)::waitpid(killer_, &status, 0);
    }
    ::close(killer_channel_);
    ::close(error_channel_);
    (void)::waitpid(pid_, &status, WNOHANG);
    take_terminal_back();
}

/// SIGTTOU is blocked, so this does not stop.
void CommandProcess::take_terminal_back() const {
    if (has_terminal_) {
        ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
    }
}

/// The command remains a zombie. As long as it is one, no other group can get its number.
std::optional<Ending> CommandProcess::ending() {
    siginfo_t info{};
    const int options = WEXITED | WSTOPPED | WNOHANG | WNOWAIT;
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, options) != 0 || info.si_pid == 0) {
        return std::nullopt;
    }
    if (info.si_code == CLD_STOPPED) {
        if (info.si_status == SIGTTIN || info.si_status == SIGTTOU) {
            terminal_stop_ = info.si_status;
        } else {
            ::kill(-pid_, SIGCONT);
        }
        return std::nullopt;
    }
    return info.si_code == CLD_EXITED ? Ending{info.si_status, 0} : Ending{0, info.si_status};
}

int CommandProcess::exec_error() const noexcept {
    pollfd entry{error_channel_, POLLIN, 0};
    int error = 0;
    const bool is_ready = ::poll(&entry, 1, 0) == 1;
    return is_ready && ::read(error_channel_, &error, sizeof(error)) == sizeof(error) ? error : 0;
}

void CommandProcess::send(int signal) const {
    ::kill(-pid_, signal);
    ::kill(-pid_, SIGCONT);
}

void CommandProcess::finish(std::chrono::milliseconds grace) {
    ends_within(grace);
    ::kill(-pid_, SIGKILL);
    ends_within(std::chrono::seconds(1)); // the device may keep it in the kernel for longer
}

bool CommandProcess::ends_within(std::chrono::milliseconds time) {
    constexpr std::chrono::milliseconds period{10};
    const auto deadline = Clock::now() + time;
    while (!ending()) {
        if (Clock::now() >= deadline) {
            return false;
        }
        std::this_thread::sleep_for(period);
    }
    return true;
}

} // namespace freezectl
