/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a script that fails to a short one that still does (Zeller's delta debugging). */
#ifndef SHRINKER_H
#define SHRINKER_H

#include "model.h"

/* Whether @script, which can be taken from the start, fails; false too if it cannot be tried. */
typedef bool try_script(const struct script* script, void* context);
/* Whether there is time for one more. */
typedef bool may_go_on(void* context);

/* Makes @script shorter for as long as that is possible and allowed; answers the number of tries.
 */
int shrink(struct script* script, const struct world* world, try_script* fails, may_go_on* go_on,
           void* context);

#endif
