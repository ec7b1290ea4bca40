# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels, guardians and libraries with one deliberate bug each."""
