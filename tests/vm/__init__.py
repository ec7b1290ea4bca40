# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds kernels and runs commands on them in QEMU."""
