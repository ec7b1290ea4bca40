# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guardian's protocol, on the running kernel."""
