/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers. Each publishes when it begins a write, and after its success when it had begun. From
 * this, a freezer sees whether a write succeeded while frozen.
 */
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <liburing.h>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared.hpp"

namespace {

constexpr size_t block = 4096, file_size = 1 << 20;
constexpr int rounds_per_open = 60;

/* A write that begins; it is published if it succeeds. */
class Write {
public:
    explicit Write(Self& self) : actor_(self.actor), begun_(now_ns()) { actor_.begun++; }
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;
    ~Write() { actor_.ended++; }

    /* EROFS is allowed: the filesystem is read-only now and then. */
    bool ended(const char* what, bool succeeded) {
        if (succeeded) {
            publish(actor_, begun_);
            return true;
        }
        if (errno != EROFS)
            broken(Broken::result, "%s: %s", what, name_of(errno));
        return false;
    }

    static void publish(Actor& actor, int64_t begun) {
        if (begun > actor.latest_begun)
            actor.latest_begun = begun;
        did(Done::writes);
    }

private:
    Actor& actor_;
    int64_t begun_;
};

/* A file that is open for writing and fully allocated. */
class File {
public:
    File(Self& self, const Root& root, const std::string& name, int flags, char* buffer)
        : fd_(openat(root.fd(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600)) {
        struct stat status {};
        if (fd_ < 0)
            sleep_ms(2); /* it is read-only now */
        if (fd_ < 0 || fstat(fd_, &status) || static_cast<size_t>(status.st_size) == file_size)
            return;
        for (size_t at = 0; at < file_size; at += 16 * block) {
            Write write(self);
            if (!write.ended("pwrite", pwrite(fd_, buffer, 16 * block, static_cast<off_t>(at)) > 0))
                return;
        }
    }
    ~File() {
        if (fd_ >= 0)
            close(fd_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    explicit operator bool() const { return fd_ >= 0; }
    int fd() const { return fd_; }

private:
    int fd_;
};

/* The root, when the writer may open files there. */
std::unique_ptr<Root> somewhere_to_write() {
    auto root = std::make_unique<Root>();
    if (*root && !shared->closed)
        return root;
    sleep_ms(2);
    return nullptr;
}

bool keep_open(Self& self, int round) {
    return self.go_on() && round < rounds_per_open && !shared->closed;
}

char* new_buffer(Self& self) {
    auto* buffer = static_cast<char*>(aligned_alloc(block, 16 * block));
    memset(buffer, self.below(256), 16 * block);
    return buffer;
}

/* Whole blocks within the file. */
struct Range {
    size_t length;
    off_t start;
};

Range any_range(Self& self) {
    size_t blocks = 1 + static_cast<size_t>(self.below(16));
    auto last = static_cast<int>(file_size / block - blocks);
    return {blocks * block, static_cast<off_t>(self.below(last + 1)) * static_cast<off_t>(block)};
}

void write_somewhere(Self& self, int fd, const char* buffer) {
    const Range range = any_range(self);
    Write write(self);
    write.ended("pwrite", pwrite(fd, buffer, range.length, range.start) >= 0);
}

/* Removes only closed files: an open file without a name would not be clean in a snapshot. */
void change_names(Self& self, const Root& root) {
    const std::string first = self.name("new"), second = self.name("renamed");
    {
        Write write(self);
        int fd = openat(root.fd(), first.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (!write.ended("create", fd >= 0))
            return;
        close(fd);
    }
    {
        Write write(self);
        if (!write.ended("rename", !renameat(root.fd(), first.c_str(), root.fd(), second.c_str())))
            return;
    }
    Write write(self);
    write.ended("unlink", !unlinkat(root.fd(), second.c_str(), 0));
}

/* Opens a file again and again, and calls @use each time. */
template <class Flags, class Use>
void use_files(Self& self, const char* name, Flags flags, Use use) {
    char* buffer = new_buffer(self);
    while (self.go_on()) {
        auto root = somewhere_to_write();
        if (!root)
            continue;
        File file(self, *root, self.name(name), flags(), buffer);
        if (file)
            use(*root, file, buffer);
    }
}

/* ---- io_uring: several writes at once -------------------------------------------------------- */

constexpr unsigned depth = 4;

struct Pending {
    int64_t begun = 0;
};

/* False if the ring is no longer usable. */
bool submit(Self& self, io_uring& ring, Pending& slot, int fd, const char* buffer) {
    const Range range = any_range(self);
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    if (!sqe)
        return false;
    io_uring_prep_write(sqe, fd, buffer, static_cast<unsigned>(range.length),
                        static_cast<__u64>(range.start));
    io_uring_sqe_set_data(sqe, &slot);
    slot.begun = now_ns();
    self.actor.begun++;
    int submitted = io_uring_submit(&ring);
    if (submitted != 1)
        broken(Broken::result, "io_uring_submit: %s", name_of(-submitted));
    return submitted == 1;
}

Pending* complete(Self& self, io_uring& ring) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_wait_cqe(&ring, &cqe))
        return nullptr;
    auto* slot = static_cast<Pending*>(io_uring_cqe_get_data(cqe));
    if (cqe->res > 0)
        Write::publish(self.actor, slot->begun);
    else if (cqe->res != -EROFS)
        broken(Broken::result, "io_uring write: %s", name_of(-cqe->res));
    self.actor.ended++;
    io_uring_cqe_seen(&ring, cqe);
    return slot;
}

void keep_ring_busy(Self& self, io_uring& ring, int fd, const char* buffer) {
    Pending slots[depth];
    unsigned busy = 0;
    for (Pending& slot : slots)
        busy += submit(self, ring, slot, fd, buffer) ? 1 : 0;
    for (int i = 0; busy > 0; i++) {
        Pending* slot = complete(self, ring);
        busy--;
        if (slot && keep_open(self, i) && submit(self, ring, *slot, fd, buffer))
            busy++;
    }
}

} // namespace

void write_buffered(Self& self) {
    use_files(
        self, "buffered", [] { return 0; },
        [&](const Root& root, const File& file, const char* buffer) {
            for (int i = 0; keep_open(self, i); i++) {
                write_somewhere(self, file.fd(), buffer);
                if (self.once_in(8))
                    change_names(self, root);
                if (self.once_in(16))
                    fsync(file.fd());
            }
        });
}

void write_direct(Self& self) {
    use_files(
        self, "direct", [] { return O_DIRECT; },
        [&](const Root&, const File& file, const char* buffer) {
            for (int i = 0; keep_open(self, i); i++)
                write_somewhere(self, file.fd(), buffer);
        });
}

void write_mapped(Self& self) {
    use_files(
        self, "mapped", [] { return 0; },
        [&](const Root&, const File& file, const char*) {
            void* mapped =
                mmap(nullptr, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
            if (mapped == MAP_FAILED)
                return;
            for (int i = 0; keep_open(self, i); i++) {
                Write write(self);
                static_cast<volatile char*>(mapped)[any_range(self).start] = static_cast<char>(i);
                write.ended("a store", true);
            }
            munmap(mapped, file_size);
        });
}

void write_uring(Self& self) {
    io_uring ring{};
    if (int error = io_uring_queue_init(depth, &ring, 0)) {
        broken(Broken::result, "io_uring_queue_init: %s", name_of(error));
        return;
    }
    const auto flags = [&] { return self.once_in(2) ? O_DIRECT : 0; };
    use_files(self, "uring", flags, [&](const Root&, const File& file, const char* buffer) {
        keep_ring_busy(self, ring, file.fd(), buffer);
    });
    io_uring_queue_exit(&ring);
}
