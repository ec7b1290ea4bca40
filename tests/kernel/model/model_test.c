/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model-test: the model, the generator and the shrinker without a kernel. A model with a deliberate
 * mistake stands in for the kernel. Prints TAP.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "generator.h"
#include "shrinker.h"
#include "support/tap.h"

static const struct world worlds[] = {
    {.dm_freezes = true, .mounts_suspended = true, .descriptors = true},
    {.dm_freezes = true, .mounts_suspended = false, .descriptors = true},
    {.dm_freezes = false, .descriptors = true},
    {.dm_freezes = true, .mounts_suspended = true},
    {.dm_freezes = true, .old_requests_only = true},
};
static const char* const world_names[] = {"mounts suspended devices", "mounts no suspended device",
                                          "suspend does not freeze", "no descriptors", "unpatched"};

/* ---- the contract, case by case -------------------------------------------------------------- */

struct expected {
    const char* text; /* steps, each with its result; ! after steps that leave it frozen */
    const char* what;
};

static const struct expected cases[] = {
    {"suspend 0 ! a freeze 0 ! a thaw 0 ! resume 0", "case A"},
    {"a freeze 0 ! suspend 0 ! resume 0 ! a thaw 0", "case B"},
    {"suspend 0 ! a freeze 0 ! a thaw 0 ! a thaw EINVAL ! resume 0", "case C"},
    {"a freeze 0 ! a freeze 0 ! a thaw 0 ! a thaw 0", "case D"},
    {"a freeze 0 ! a thaw 0 b freeze 0 ! a thaw EINVAL ! a reset 600 EINVAL ! b thaw 0",
     "an owner thaws and resets only its own holds"},
    {"a freeze 0 ! b freeze 0 ! admin thaw 0 ! b thaw EINVAL ! admin thaw 0 "
     "admin thaw EINVAL a thaw EINVAL",
     "an administrator thaws the newest hold, which is reported to its owner"},
    {"a freeze 0 ! b freeze 0 ! a exit 0 ! admin thaw 0 ! b thaw 0",
     "an administrator first thaws the hold of a process that has exited"},
    {"admin freeze 0 ! a freeze 0 ! b thaw 0 ! a thaw 0",
     "a process that has not frozen yet is an administrator"},
    {"a freeze 0 ! b freeze 0 ! a write held ! a kill 0 ! admin thaw 0 ! b thaw 0 a reap 0",
     "an administrator first thaws the hold of a process that is being killed"},
    {"a freeze 0 ! b freeze 0 ! a write held ! admin thaw 0 ! b thaw EINVAL !",
     "an administrator does not prefer the hold of a process that is only blocked"},
    {"a freeze 0 ! a freeze 0 ! admin thaw 0 ! a reset 0 EINVAL ! a thaw EINVAL ! a reset 0 0 "
     "! a thaw 0",
     "an ended hold is reported once, by a thaw, at its place in the stack"},
    {"a freeze 0 ! admin thaw 0 b freeze 0 ! a freeze 0 ! a thaw 0 ! a thaw EINVAL ! b thaw 0",
     "a new freeze removes the ended holds"},
    {"a freeze-for soon 0 ! wait-soon 0 a thaw EINVAL", "a deadline"},
    {"a freeze-for later 0 ! b freeze-for soon 0 ! wait-soon 0 ! b thaw EINVAL ! wait-later 0",
     "two deadlines"},
    {"a freeze-for soon 0 ! b freeze 0 ! wait-soon 0 ! a thaw EINVAL ! a thaw EINVAL ! b thaw 0",
     "an owner whose hold expired cannot thaw another's hold"},
    {"a freeze-for soon 0 ! a reset 1 0 ! wait-soon 0 ! a thaw 0", "reset can remove a deadline"},
    {"a freeze-for -1 ERANGE a freeze-for unreadable EFAULT b freeze 0 ! a thaw 0 b thaw EINVAL",
     "a failed freeze does not make an owner"},
    {"no-nest 0 a freeze 0 ! a freeze EBUSY ! b freeze-for 1 0 ! b thaw 0 ! suspend 0 ! a thaw 0 "
     "! a freeze 0 ! resume 0 ! a thaw 0",
     "freeze_nest=0"},
    {"a freeze-with soon 0 ! timeout-arg 0 ! b freeze-with unreadable EFAULT ! "
     "b freeze-with soon 0 ! wait-soon 0 ! a thaw 0",
     "freeze_timeout_arg"},
    {"a freeze 0 ! b freeze 0 ! a freeze 0 ! suspend 0 ! sysrq-j 0 a thaw EINVAL a thaw EINVAL "
     "b thaw EINVAL suspend 0 ! resume 0",
     "sysrq-j ends all freezes"},
    {"umount EBUSY umount-lazily 0 a freeze 0 ! mount 0 ! mount EBUSY ! b close 0 ! b open 0 ! a "
     "thaw 0",
     "an unmount of a busy filesystem, mounted again"},
    {"a freeze 0 ! remount-ro EBUSY ! a thaw 0 remount-ro 0 a write EROFS a freeze 0 ! a write "
     "EROFS ! remount-rw EBUSY ! a thaw 0 remount-rw 0",
     "read-only"},
    {"a freeze-fd 0 0 0 ! a fd-thaw 0 0 a fd-thaw 0 ESTALE a fd-poll 0 0 a fd-extend 0 0 ESTALE "
     "a fd-keep 0 ESTALE a fd-close 0 0",
     "a descriptor"},
    {"a freeze-fd 0 0 0 ! a fd-dup 0 0 ! a fd-close 0 0 ! a fd-close 1 0",
     "the last close thaws, not an earlier one"},
    {"e exit 0 e reap 0 a freeze-fd 0 0 0 ! a fork 0 ! a kill 0 ! e fd-thaw 0 0",
     "a forked child shares the hold"},
    {"a freeze-fd 0 0 0 ! a fd-send 0 0 ! a exit 0 ! b fd-receive 1 0 ! b kill 0",
     "a descriptor that was sent outlives its sender, until the receiver is killed"},
    {"a freeze-fd 0 0 0 ! a fd-send 0 0 ! a exit 0 ! lose 0", "a descriptor is lost"},
    {"a freeze-fd 0 soon 0 ! b freeze 0 ! wait-soon 0 ! a fd-poll 0 event ! a fd-thaw 0 ESTALE ! "
     "b thaw 0",
     "the deadline of a descriptor"},
    {"a freeze-fd 0 1 0 a fd-poll 0 event a freeze-fd 1 -1 0 ! a fd-extend 1 1 0", "a millisecond"},
    {"a freeze-fd 0 unreadable EFAULT b freeze 0 ! a thaw 0 b thaw EINVAL", "a bad pointer"},
    {"a freeze 0 ! a freeze-fd 0 0 0 ! a thaw 0 ! a thaw EINVAL ! a fd-thaw 0 0",
     "an owner's thaw ends no descriptor's hold"},
    {"a freeze-fd 0 0 0 ! b freeze 0 ! a thaw 0 ! a thaw 0 a fd-poll 0 event b thaw EINVAL",
     "a descriptor's holder is an administrator"},
    {"a freeze 0 ! b freeze-fd 0 0 0 ! b fd-send 0 0 ! b exit 0 ! admin thaw 0 ! a thaw 0",
     "an administrator ends the newest hold, even that of a descriptor"},
    {"a freeze 0 ! a exit 0 ! b freeze-fd 0 0 0 ! b fd-send 0 0 ! b exit 0 ! admin thaw 0 ! "
     "c fd-receive 0 0 ! c fd-thaw 0 0",
     "a descriptor whose maker has exited is not gone"},
    {"a freeze-fd 0 soon 0 ! a fd-keep 0 0 ! a fd-close 0 0 ! wait-soon 0 a thaw EINVAL",
     "a hold is kept, with its deadline"},
    {"no-nest 0 a freeze 0 ! b freeze-fd 0 0 0 ! a thaw 0 ! a freeze EBUSY ! b fd-close 0 0",
     "a descriptor always nests"},
    {"stick 0 a freeze held b thaw EINVAL c write held d freeze-fd-within 0 0 ETIMEDOUT a kill 0 "
     "c write 0 unstick 0 c write 0",
     "freezes that wait for a stuck writer are given up"},
    {"stick 0 a freeze held b freeze-fd 0 later held a kill 0 unstick 0 ! b fd-thaw 0 0",
     "another freezer continues"},
    {"stick 0 c die-freezing 0 unstick 0 a freeze-fd 0 0 0 ! a die-thawing 0 0",
     "SIGKILL at any moment"},
};

static int result_named(const char* name) {
    if (!strcmp(name, "held"))
        return BLOCKS;
    if (!strcmp(name, "EINVAL"))
        return -EINVAL;
    if (!strcmp(name, "EBUSY"))
        return -EBUSY;
    if (!strcmp(name, "event"))
        return EVENT;
    if (!strcmp(name, "ETIMEDOUT"))
        return -ETIMEDOUT;
    if (!strcmp(name, "ESTALE"))
        return -ESTALE;
    if (!strcmp(name, "EROFS"))
        return -EROFS;
    if (!strcmp(name, "EFAULT"))
        return -EFAULT;
    return !strcmp(name, "ERANGE") ? -ERANGE : 0;
}

/* Reads words until they make up a step. */
static bool next_step(char** rest, struct step* step) {
    char text[64] = "", *word;

    while ((word = strtok_r(NULL, " ", rest))) {
        strncat(text, *text ? " " : "", sizeof(text) - strlen(text) - 1);
        strncat(text, word, sizeof(text) - strlen(text) - 1);
        if (step_parse(text, step))
            return true;
    }
    return false;
}

static bool case_holds(const struct expected* expected) {
    char text[512], *rest = text;
    struct model model;
    struct step step;

    model_begin(&model, &worlds[0], NONE);
    snprintf(text, sizeof(text), "%s", expected->text);
    while (next_step(&rest, &step)) {
        const char* wanted = strtok_r(NULL, " ", &rest);
        bool frozen = *rest == '!';
        if (frozen)
            strtok_r(NULL, " ", &rest);
        if (!wanted || !model_allows(&model, step)) {
            printf("# %s: not allowed\n", step_text(step));
            return false;
        }
        if (model_take(&model, step) != result_named(wanted) || model_frozen(&model) != frozen) {
            printf("# %s: expected %s\n", step_text(step), wanted);
            return false;
        }
    }
    return true;
}

/* ---- a kernel with a mistake ----------------------------------------------------------------- */

static int compare_holders(const void* left, const void* right) {
    return memcmp(left, right, sizeof(struct holder));
}

static bool outlooks_differ(const struct model* a, const struct model* b) {
    struct outlook x = model_outlook(a), y = model_outlook(b);

    if (x.state != y.state || x.holds != y.holds || x.bdev != y.bdev || x.count != y.count)
        return true;
    qsort(x.holder, (size_t)x.count, sizeof(x.holder[0]), compare_holders);
    qsort(y.holder, (size_t)y.count, sizeof(y.holder[0]), compare_holders);
    return memcmp(x.holder, y.holder, (size_t)x.count * sizeof(x.holder[0]));
}

static bool differ(const struct model* a, const struct model* b) {
    if (a->world.descriptors && outlooks_differ(a, b))
        return true;
    return model_blocks_writes(a) != model_blocks_writes(b) || model_frozen(a) != model_frozen(b) ||
           model_has_superblock(a) != model_has_superblock(b);
}

/* The number of the first step that reveals the mistake; 0 if none does. */
static int revealed_by(const struct script* script, const struct world* world,
                       enum mistake mistake) {
    struct model right, wrong;

    model_begin(&right, world, NONE);
    model_begin(&wrong, world, mistake);
    for (int i = 0; i < script->count; i++) {
        int expected = model_take(&right, script->steps[i]);
        if (model_take(&wrong, script->steps[i]) != expected || differ(&right, &wrong))
            return i + 1;
    }
    return 0;
}

enum { EPISODE = 200, EPISODES = 10, SEEDS = 20 };

/* The number of steps until it is found in a run like that of CI; 0 if it is not. */
static int found_after(uint64_t seed, enum mistake mistake, struct script* script) {
    for (int i = 0; i < EPISODES; i++) {
        *script = generate(seed + (uint64_t)i, EPISODE, &worlds[0]);
        int at = revealed_by(script, &worlds[0], mistake);
        if (at)
            return i * EPISODE + at;
        script_free(script);
    }
    return 0;
}

static bool reveals(const struct script* script, void* mistake) {
    return revealed_by(script, &worlds[0], *(enum mistake*)mistake);
}

static bool always(void* context) {
    return true;
}

static void print_script(const struct script* script) {
    for (int i = 0; i < script->count; i++)
        printf("#     %s\n", step_text(script->steps[i]));
}

static void finds(enum mistake mistake) {
    int found = 0, worst = 0, sum = 0, longest = 0, tries = 0;
    struct script shortest = {0};

    for (int seed = 0; seed < SEEDS; seed++) {
        struct script script;
        int after = found_after((uint64_t)seed * 1000, mistake, &script);
        if (!after)
            continue;
        found++;
        sum += after;
        worst = after > worst ? after : worst;
        tries += shrink(&script, &worlds[0], reveals, always, &mistake);
        longest = script.count > longest ? script.count : longest;
        script_free(&shortest);
        shortest = script;
    }
    tap_point(found >= SEEDS * 8 / 10 && longest <= 16, "%s is found, and shrunk to a short script",
              mistake_names[mistake]);
    printf("#   found by %d seeds of %d, after %d steps on average, %d at most; shrunk to %d at "
           "most\n",
           found, SEEDS, found ? sum / found : 0, worst, longest);
    printf("#   shrunk in %d tries on average; the last one to\n", found ? tries / found : 0);
    print_script(&shortest);
    script_free(&shortest);
}

/* ---- the generator --------------------------------------------------------------------------- */

static bool same(const struct script* a, const struct script* b) {
    return a->count == b->count &&
           !memcmp(a->steps, b->steps, (size_t)a->count * sizeof(a->steps[0]));
}

static bool repeats_itself(void) {
    struct script a = generate(7, EPISODE, &worlds[0]), b = generate(7, EPISODE, &worlds[0]);
    struct script c = generate(8, EPISODE, &worlds[0]);
    bool ok = same(&a, &b) && !same(&a, &c);

    script_free(&a);
    script_free(&b);
    script_free(&c);
    return ok;
}

static bool text_is_read_back(void) {
    struct script script = generate(1, 1000, &worlds[0]), back = {0};
    FILE* file = tmpfile();

    for (int i = 0; file && i < script.count; i++)
        fprintf(file, "#  %s   ; a remark\n", step_text(script.steps[i]));
    if (!file)
        return false;
    rewind(file);
    bool ok = script_read(file, &back) && same(&script, &back);
    fclose(file);
    script_free(&script);
    script_free(&back);
    return ok;
}

static bool leaves_nothing(const struct world* world) {
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct script script = generate(seed, EPISODE, world);
        struct model model;
        model_begin(&model, world, NONE);
        for (int i = 0; i < script.count; i++) {
            if (!model_allows(&model, script.steps[i]))
                return false;
            model_take(&model, script.steps[i]);
        }
        if (model_frozen(&model) || model.suspended || !model.mount || model.read_only ||
            !model.nest || model.timeout_arg || model.writer != NO_WRITER)
            return false;
        script_free(&script);
    }
    return true;
}

struct census {
    int verbs[VERBS], errors, frozen, blocked, gone, unwatched, suspended, most_holds, steps;
};

static void count_step(struct census* census, struct model* model, struct step step) {
    bool had = model_has_superblock(model);
    int result = model_take(model, step);
    int holds = model_live_holds(model);

    census->steps++;
    census->verbs[step.verb]++;
    census->errors += result < 0;
    census->blocked += result == BLOCKS;
    census->frozen += model_frozen(model);
    census->gone += had && !model_has_superblock(model);
    census->unwatched += !model->watcher.state;
    census->suspended += model->suspended;
    census->most_holds = holds > census->most_holds ? holds : census->most_holds;
}

static struct census take_census(void) {
    struct census census = {0};

    for (uint64_t seed = 0; seed < 100; seed++) {
        struct script script = generate(seed, EPISODE, &worlds[0]);
        struct model model;
        model_begin(&model, &worlds[0], NONE);
        for (int i = 0; i < script.count; i++)
            count_step(&census, &model, script.steps[i]);
        script_free(&script);
    }
    return census;
}

static bool does_everything(void) {
    struct census census = take_census();
    int percent = census.steps / 100;
    bool every = true;

    printf("# of 100 steps: %d frozen, %d suspended, %d errors, %d unwatched; at most %d holds\n",
           census.frozen / percent, census.suspended / percent, census.errors / percent,
           census.unwatched / percent, census.most_holds);
    printf("# in %d steps: superblock gone %d times, %d processes blocked, waits: %d short, %d "
           "long\n",
           census.steps, census.gone, census.blocked, census.verbs[WAIT_SOON],
           census.verbs[WAIT_LATER]);
    for (int verb = 0; verb < VERBS; verb++) {
        printf("#   %5d %s\n", census.verbs[verb],
               step_text((struct step){.verb = (unsigned char)verb}));
        every = every && census.verbs[verb] >= 20;
    }
    return every && census.gone >= 20 && census.blocked >= 20 && census.frozen > 40 * percent &&
           census.frozen < 90 * percent && census.unwatched < 25 * percent;
}

int main(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        tap_point(case_holds(&cases[i]), "%s", cases[i].what);
    tap_point(repeats_itself(), "the same seed gives the same script");
    tap_point(text_is_read_back(), "the text of a script is read back");
    for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++)
        tap_point(leaves_nothing(&worlds[i]), "scripts are allowed and end with nothing frozen: %s",
                  world_names[i]);
    tap_point(does_everything(), "scripts contain every kind of step and state");
    for (int mistake = NONE + 1; mistake < MISTAKES; mistake++)
        finds((enum mistake)mistake);
    return tap_finish();
}
