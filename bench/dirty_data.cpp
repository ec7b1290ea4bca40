// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dirty_data.hpp"

#include "program.hpp"

#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace bench {

namespace {

constexpr std::size_t mebibyte = 1024UL * 1024;

class File final {
public:
    File(const std::filesystem::path& path, int flags)
        : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
        check(fd_ >= 0);
    }
    ~File() { ::close(fd_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    File(File&&) = delete;
    File& operator=(File&&) = delete;

    void append(const std::vector<char>& data) const {
        check(::write(fd_, data.data(), data.size()) == static_cast<ssize_t>(data.size()));
    }
    void write_out_filesystem() const { check(::syncfs(fd_) == 0); }

private:
    void check(bool good) const {
        if (!good) {
            throw std::system_error(errno, std::system_category(), path_.string());
        }
    }

    std::filesystem::path path_;
    int fd_;
};

unsigned long dirty_kibibytes() {
    std::ifstream table("/proc/meminfo");
    std::string name;
    unsigned long number = 0;
    while (table >> name >> number) {
        if (name == "Dirty:") {
            return number;
        }
        table.ignore(100, '\n');
    }
    throw std::runtime_error("no 'Dirty:' in /proc/meminfo");
}

} // namespace

void write_out(const std::filesystem::path& mountpoint) {
    File(mountpoint, O_RDONLY | O_DIRECTORY).write_out_filesystem();
}

void make_dirty(const std::filesystem::path& mountpoint, unsigned int mebibytes) {
    const auto path = mountpoint / "dirty";
    std::filesystem::remove(path);
    write_out(mountpoint);
    const File file(path, O_WRONLY | O_CREAT | O_EXCL);
    const std::vector<char> data(mebibyte, 'd');
    for (unsigned int i = 0; i < mebibytes; ++i) {
        file.append(data);
    }
}

void require_dirty(unsigned int mebibytes) {
    const unsigned long dirty = dirty_kibibytes() / 1024;
    if (4 * dirty < 3UL * mebibytes) {
        throw CannotMeasure(
            fmt::format("only {1} of {0} MiB are still dirty: not enough memory, or "
                        "vm.dirty_background_ratio is low",
                        mebibytes, dirty));
    }
}

} // namespace bench
