# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/run: packages, build, kernels, `meson test`, and the sum of it all."""
