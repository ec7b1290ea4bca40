// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

/// Everything that is not marked with this stays inside the shared library.
#define LIBFREEZE_EXPORT [[gnu::visibility("default")]]
