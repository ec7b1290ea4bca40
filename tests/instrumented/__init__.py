# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests in builds with sanitizers and coverage."""
