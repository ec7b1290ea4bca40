/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs.freeze_nest and fs.freeze_timeout_arg. The harness resets both after each test. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static void set(const char* path, const char* value) {
    int result = write_file(path, value);

    CHECK(result > 0, "%s to %s: %s", value, path, result_name(result));
}

static void takes_0_and_1(const char* path, const char* by_default) {
    static const char* const wrong[] = {"2", "-1", "4294967296", "x"};
    char text[16];
    struct stat status;

    CHECK(read_file(path, text, sizeof(text)) > 0 && !strcmp(text, by_default),
          "the default of %s is not %c", path, by_default[0]);
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0644, "%s: mode %o", path,
          status.st_mode & 0777);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK(write_file(path, wrong[i]) == -EINVAL, "%s accepts %s", path, wrong[i]);
    set(path, "0");
    set(path, "1");
}

static void values(void) {
    takes_0_and_1(FREEZE_NEST, "1\n");
    takes_0_and_1(FREEZE_TIMEOUT_ARG, "0\n");
}

/* ---- fs.freeze_nest = 0 ---------------------------------------------------------------------- */

static void no_nesting(void) {
    struct actor *a = actor(), *b = actor();

    set(FREEZE_NEST, "0");
    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(-EBUSY, freeze(a));
    WANT(-EBUSY, freeze(b));
    WANT(0, thaw(a));
    RELEASED(writer);
    WANT(0, freeze(b));
    WANT(-EBUSY, freeze(a));
    WANT(0, thaw(b));
    WANT(-EINVAL, thaw(b));
}

/* A freeze that failed with EBUSY does not make its caller an owner. */
static void refused_is_no_owner(void) {
    struct actor *a = actor(), *b = actor();

    set(FREEZE_NEST, "0");
    WANT(0, freeze(a));
    WANT(-EBUSY, freeze(b));
    WANT(0, thaw(b)); /* as an administrator */
    THAWED();
    WANT(-EINVAL, thaw(a));
}

static void timed_freezes_nest(void) {
    struct actor *a = actor(), *b = actor();

    set(FREEZE_NEST, "0");
    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze_for(a, 600));
    WANT(0, freeze_for(b, 0));
    WANT(-EBUSY, freeze(b));
    WANT(0, thaw(a));
    WANT(0, thaw(a));
    CHECK(blocks(writer), "thawed while b has a hold");
    WANT(-EBUSY, freeze(a)); /* also above a hold with a timeout */
    WANT(0, thaw(b));
    RELEASED(writer);
}

static void ended_holds_are_no_obstacle(void) {
    struct actor *a = actor(), *b = actor();

    set(FREEZE_NEST, "0");
    WANT(0, freeze(a));
    WANT(0, admin_thaw());
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    WANT(-EINVAL, thaw(a));
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* Changed while frozen: this affects only later freezes. */
static void switched_while_frozen(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(b));
    set(FREEZE_NEST, "0");
    WANT(-EBUSY, freeze(b));
    WANT(0, thaw(a));
    CHECK(blocks(writer), "thawed while b has a hold");
    set(FREEZE_NEST, "1");
    WANT(0, freeze(a));
    WANT(0, thaw(b));
    WANT(0, thaw(a));
    RELEASED(writer);
}

static void nests_with_dm(void) {
    struct actor *a = actor(), *b = actor();

    set(FREEZE_NEST, "0");
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(a));
    WANT(-EBUSY, freeze(b));
    WANT(0, resume());
    CHECK(blocks(writer), "thawed by the resume while there is a hold");
    WANT(0, suspend());
    WANT(0, thaw(a));
    CHECK(blocks(writer), "thawed while the device is suspended");
    WANT(0, resume());
    RELEASED(writer);
}

/* ---- fs.freeze_timeout_arg = 1 --------------------------------------------------------------- */

/* The last four readable bytes of a mapping. */
static int* last_int(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char* pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE))
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return (int*)(pages + page) - 1;
}

/* xfs_freeze passes a pointer to a four-byte 1: the bytes after it do not count. */
static void none_by_argument(void) {
    static const struct { int low, high; } one = {1, 0x7fffffff}, zero = {0, -1};
    static const long one_long = 1, zero_long = 0;
    int* edge = last_int();
    const unsigned long arguments[] = {0,
                                       (unsigned long)&one,
                                       (unsigned long)&zero,
                                       (unsigned long)&one_long,
                                       (unsigned long)&zero_long,
                                       (unsigned long)edge};
    const size_t count = sizeof(arguments) / sizeof(arguments[0]);
    struct actor* owner[sizeof(arguments) / sizeof(arguments[0])];

    *edge = 1;
    set(FREEZE_TIMEOUT_ARG, "1");
    for (size_t i = 0; i < count; i++) {
        owner[i] = actor();
        CHECK(request(owner[i], FIFREEZE, arguments[i]) == 0, "freeze with argument %zu: %s", i,
              result_name(owner[i]->last.result));
    }
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    for (size_t i = 0; i < count; i++)
        CHECK(thaw(owner[i]) == 0, "thaw after freeze with argument %zu: %s", i,
              result_name(owner[i]->last.result));
    RELEASED(writer);
}

static void timeout_by(const void* argument) {
    struct actor* owner = actor();

    WANT(0, request(owner, FIFREEZE, (unsigned long)argument));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
}

static void timeout_by_argument(void) {
    const long period = SHORT;
    int* edge = last_int();

    *edge = SHORT;
    set(FREEZE_TIMEOUT_ARG, "1");
    timeout_by(&period);
    timeout_by(edge);
}

static void errors_by_argument(void) {
    static const int negative = -1;
    const unsigned long unreadable = (unsigned long)(last_int() + 1);
    struct actor *who = actor(), *owner = actor();

    set(FREEZE_TIMEOUT_ARG, "1");
    WANT(-EFAULT, request(who, FIFREEZE, (unsigned long)-1));
    WANT(-EFAULT, request(who, FIFREEZE, unreadable));
    WANT(-ERANGE, request(who, FIFREEZE, (unsigned long)&negative));
    WANT(-EINVAL, admin_thaw());
    THAWED();
    WANT(0, freeze(owner));
    WANT(0, request(owner, FITHAW, (unsigned long)-1)); /* FITHAW still ignores its argument */
    THAWED();
}

/* It is still a plain FIFREEZE, which nests only if fs.freeze_nest is 1. */
static void timeout_by_argument_is_plain(void) {
    static const long six_hundred = 600;
    struct actor *a = actor(), *b = actor();

    set(FREEZE_TIMEOUT_ARG, "1");
    set(FREEZE_NEST, "0");
    WANT(0, request(a, FIFREEZE, (unsigned long)&six_hundred));
    struct actor* writer = FROZEN();
    WANT(-EBUSY, request(b, FIFREEZE, (unsigned long)&six_hundred));
    WANT(-EFAULT, request(b, FIFREEZE, (unsigned long)-1)); /* checked before EBUSY */
    WANT(0, thaw(a));
    RELEASED(writer);
}

static const struct test sysctls_tests[] = {
    {"sysctls.values", "the defaults are 1 and 0; only 0 and 1 are accepted", values,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.no_nesting", "freeze_nest=0: freezing a frozen filesystem returns EBUSY", no_nesting,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.refused_is_no_owner",
     "freeze_nest=0: a caller that gets EBUSY does not become an owner", refused_is_no_owner,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.timed_freezes_nest", "freeze_nest=0: freezes with a timeout still nest",
     timed_freezes_nest, FAILS_ON_STOCK, ALONE},
    {"sysctls.ended_holds", "freeze_nest=0: ended holds do not prevent a freeze",
     ended_holds_are_no_obstacle, FAILS_ON_STOCK, ALONE},
    {"sysctls.switched_while_frozen", "freeze_nest is changed while frozen", switched_while_frozen,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.nests_with_dm", "freeze_nest=0: FIFREEZE nests with device-mapper's freeze",
     nests_with_dm, FAILS_ON_STOCK, NEEDS_DM_FREEZE | ALONE},
    {"sysctls.none_by_argument",
     "freeze_timeout_arg=1: NULL, 0 and 1 (of four bytes) mean no timeout", none_by_argument,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.timeout_by_argument",
     "freeze_timeout_arg=1: other arguments are a timeout in seconds", timeout_by_argument,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.errors_by_argument", "freeze_timeout_arg=1: EFAULT and ERANGE", errors_by_argument,
     FAILS_ON_STOCK, ALONE},
    {"sysctls.plain_all_the_same",
     "freeze_timeout_arg=1, freeze_nest=0: a freeze with a timeout returns EBUSY",
     timeout_by_argument_is_plain, FAILS_ON_STOCK, ALONE},
};
TOPIC(sysctls);
