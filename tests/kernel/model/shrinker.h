/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shortens a failing script (Zeller's delta debugging). */
#ifndef SHRINKER_H
#define SHRINKER_H

#include "model.h"

/* Whether @script fails; false also if it cannot be tried. */
typedef bool try_script(const struct script* script, void* context);
/* Whether there is time for one more. */
typedef bool may_continue(void* context);

/* Shortens @script while that is possible and allowed. Returns the number of tries. */
int shrink(struct script* script, const struct world* world, try_script* fails, may_continue* go_on,
           void* context);

#endif
