# SPDX-License-Identifier: LGPL-2.1-or-later
"""Holds as other programs see them: on the kernel of this machine, through the C interface."""
