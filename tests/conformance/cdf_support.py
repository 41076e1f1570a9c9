# SPDX-License-Identifier: MIT
"""What the suites of the Functions API share: the genuine client, and waiting for a deployment."""

import time
from pathlib import Path

from cognite.client import ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token
from gateway import Gateway

FOLDER = str(Path(__file__).resolve().parent / "handlers" / "echo")
global_config.disable_pypi_version_check = True
global_config.max_retries = 2


def client(host: Gateway, credentials=None) -> CogniteClient:
    return CogniteClient(
        ClientConfig(
            client_name="perilune-conformance",
            project="demo",
            base_url=host.url,
            credentials=credentials or Token(host.token),
        )
    )


def ready(function, seconds=30.0):
    deadline = time.monotonic() + seconds
    while function.status not in ("Ready", "Failed"):
        assert time.monotonic() < deadline, f"still {function.status}"
        time.sleep(0.01)
        function.update()
    return function
