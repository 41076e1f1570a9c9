# SPDX-License-Identifier: MIT
# The genuine SDK insists on a Python entry file with a `handle` in it; the host runs handler.lua beside it.
def handle(data):
    return data
