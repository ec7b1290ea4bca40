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
    {.dm_freezes = true, .mounts_suspended = true},
    {.dm_freezes = true, .mounts_suspended = false},
    {.dm_freezes = false},
    {.dm_freezes = true, .old_requests_only = true},
};
static const char* const world_names[] = {"mounts suspended devices", "mounts no suspended device",
                                          "suspend does not freeze", "unpatched"};

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
};

static int result_named(const char* name) {
    if (!strcmp(name, "held"))
        return WRITE_BLOCKS;
    if (!strcmp(name, "EINVAL"))
        return -EINVAL;
    if (!strcmp(name, "EBUSY"))
        return -EBUSY;
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

static bool differ(const struct model* a, const struct model* b) {
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
            !model.nest || model.timeout_arg)
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
    census->blocked += result == WRITE_BLOCKS;
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
