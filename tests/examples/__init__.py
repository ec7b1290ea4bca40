# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples, as a user runs them."""
