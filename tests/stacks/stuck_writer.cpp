// SPDX-License-Identifier: LGPL-2.1-or-later
// stuck-writer FILE: a program that has begun to write to the filesystem of the file, and no freeze
// of that gets through before it is let go, when the standard input ends.
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

void require(bool done, const char* what) {
    if (!done) {
        throw std::system_error(errno, std::system_category(), what);
    }
}

} // namespace

int main(int argc, char** argv) try {
    require(argc == 2, "usage: stuck-writer FILE");
    std::ofstream(argv[1]).put('x');
    const int events = ::fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
    require(events >= 0, "fanotify_init");
    require(::fanotify_mark(events, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, argv[1]) == 0,
            "fanotify_mark");
    if (::fork() == 0) { // to truncate is to write, and begins before the permission is asked for
        ::_exit(::open(argv[1], O_WRONLY | O_TRUNC | O_CLOEXEC) < 0 ? 1 : 0);
    }
    fanotify_event_metadata event{};
    require(::read(events, &event, sizeof(event)) == ssize_t{sizeof(event)}, "read");
    std::puts("stuck");
    std::fflush(stdout);
    std::getchar();
    const fanotify_response allow{event.fd, FAN_ALLOW};
    require(::write(events, &allow, sizeof(allow)) == ssize_t{sizeof(allow)}, "write");
    int status = 1;
    require(::wait(&status) > 0 && status == 0, "the writer");
} catch (const std::exception& problem) {
    std::printf("stuck-writer: %s\n", problem.what());
    return 1;
}
