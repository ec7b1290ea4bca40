# SPDX-License-Identifier: LGPL-2.1-or-later
"""Today's programs, unmodified, on a filesystem that several of them freeze."""
