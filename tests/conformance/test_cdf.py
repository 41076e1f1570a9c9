# SPDX-License-Identifier: MIT
"""The genuine Python SDK of Cognite Data Fusion against the host's Functions door."""

import os
import tempfile
import unittest
from pathlib import Path

import settings
from cdf_support import FOLDER, client, ready
from cognite.client.credentials import OAuthClientCredentials, Token
from cognite.client.exceptions import (
    CogniteAPIError,
    CogniteDuplicatedError,
    CogniteNotFoundError,
    CogniteProjectAccessError,
)
from gateway import Gateway


class Functions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build, "--sandboxes", "2").start()
        cls.addClassCleanup(cls.stop_host)
        cls.cdf = client(cls.host)
        cls.function = cls.cdf.functions.create(
            name="echo", folder=FOLDER, external_id="echo", description="gives back", owner="ops", metadata={"team": "x"}
        )
        cls.function = ready(cls.function)

    @classmethod
    def stop_host(cls):
        code = cls.host.stop()
        assert code == 0, f"the host ended with {code}"

    def test_create_shows_what_was_given(self):
        function = self.cdf.functions.retrieve(external_id="echo")
        self.assertEqual(function.status, "Ready")
        self.assertEqual(
            (function.name, function.description, function.owner, function.metadata, function.function_path),
            ("echo", "gives back", "ops", {"team": "x"}, "handler.py"),
        )
        self.assertGreater(function.created_time, 1_700_000_000_000)

    def test_call_waits_and_returns_the_response(self):
        data = {"day": "2026-11-22", "n": 9007199254740993, "x": 1.5, "none": None, "empty": [], "ø": "日/\""}
        call = self.function.call(data=data)
        self.assertEqual(call.status, "Completed")
        response = call.get_response()
        self.assertEqual(response["echo"], data)
        self.assertEqual((response["call_id"], response["function_id"]), (call.id, self.function.id))
        self.assertGreaterEqual(call.end_time, call.start_time)

    def test_logs_in_order_with_times(self):
        call = self.function.call(data={"day": "monday"})
        logs = call.get_logs()
        self.assertEqual([entry.message for entry in logs], ["called with monday", "second line"])
        self.assertRegex(logs.to_text(with_timestamps=True), r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\+00:00\] called")

    def test_failing_handler(self):
        call = self.function.call(data={"fail": True})
        self.assertEqual(call.status, "Failed")
        self.assertIn("handler.lua:5: asked to fail", call.error["message"])
        self.assertIn("handler.lua", call.error["trace"])
        self.assertIsNone(call.get_response())

    def test_call_without_wait_then_update(self):
        call = self.cdf.functions.call(external_id="echo", data={"k": 1}, wait=False)
        call.wait()
        self.assertEqual(call.status, "Completed")
        again = self.cdf.functions.calls.retrieve(call_id=call.id, function_id=self.function.id)
        self.assertEqual((again.id, again.status), (call.id, "Completed"))
        self.assertIsNone(self.cdf.functions.calls.retrieve(call_id=4242, function_id=self.function.id))

    def test_calls_list_filters_and_pages(self):
        ids = [self.function.call(data={"i": i}).id for i in range(5)]
        listed = self.cdf.functions.calls.list(function_id=self.function.id, status="Completed", limit=3)
        self.assertEqual([call.id for call in listed], ids[:1:-1])
        everything = self.cdf.functions.calls.list(function_external_id="echo", limit=None)
        self.assertTrue(set(ids) <= {call.id for call in everything})

    def test_list_and_filters(self):
        names = lambda **filters: [f.name for f in self.cdf.functions.list(limit=-1, **filters)]
        self.assertIn("echo", names())
        self.assertEqual(names(name="echo", owner="ops", status="Ready", external_id_prefix="ec", metadata={"team": "x"}), ["echo"])
        self.assertEqual(names(owner="nobody"), [])
        self.assertEqual(names(metadata={"team": "y"}), [])

    def test_retrieve_unknown(self):
        self.assertIsNone(self.cdf.functions.retrieve(external_id="nope"))
        self.assertIsNone(self.cdf.functions.retrieve(id=123456789))
        with self.assertRaises(CogniteNotFoundError) as caught:
            self.cdf.functions.retrieve_multiple(ids=[self.function.id], external_ids=["nope"])
        self.assertEqual(caught.exception.code, 400)
        self.assertEqual(caught.exception.missing[0]["externalId"], "nope")
        found = self.cdf.functions.retrieve_multiple(external_ids=["echo", "nope"], ignore_unknown_ids=True)
        self.assertEqual([f.external_id for f in found], ["echo"])

    def test_duplicate_external_id(self):
        with self.assertRaises(CogniteDuplicatedError) as caught:
            self.cdf.functions.create(name="echo2", folder=FOLDER, external_id="echo")
        self.assertEqual(caught.exception.duplicated[0]["externalId"], "echo")

    def test_delete(self):
        ready(self.cdf.functions.create(name="gone", folder=FOLDER, external_id="gone"))
        self.cdf.functions.delete(external_id="gone")
        self.assertIsNone(self.cdf.functions.retrieve(external_id="gone"))
        with self.assertRaises(CogniteAPIError):
            self.cdf.functions.delete(external_id="gone")

    def test_compile_error_fails_with_file_and_line(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "handler.py").write_text("def handle(data):\n    return 1\n", encoding="utf-8")
            Path(folder, "handler.lua").write_text("return {\n  handle = function(ctx)\n    x = = 1\n  end }\n", encoding="utf-8")
            function = ready(self.cdf.functions.create(name="broken", folder=folder))
        self.assertEqual(function.status, "Failed")
        self.assertIn("handler.lua:3:", function.error["message"])
        with self.assertRaises(CogniteAPIError) as caught:
            self.cdf.functions.call(id=function.id, data={})
        self.assertEqual(caught.exception.code, 400)

    def test_python_without_lua_fails_saying_so(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "handler.py").write_text("def handle(data):\n    return 1\n", encoding="utf-8")
            function = ready(self.cdf.functions.create(name="python-only", folder=folder))
        self.assertEqual(function.status, "Failed")
        self.assertIn("handler.lua", function.error["message"])

    def test_nonce_works_once(self):
        session = self.cdf.iam.sessions.create()
        call = self.cdf.functions.call(id=self.function.id, data={}, wait=False, nonce=session.nonce)
        call.wait()
        with self.assertRaises(CogniteAPIError) as caught:
            self.cdf.functions.call(id=self.function.id, data={}, wait=False, nonce=session.nonce)
        self.assertEqual(caught.exception.code, 400)

    def test_limits_and_status(self):
        limits = self.cdf.functions.limits()
        self.assertGreaterEqual(limits.timeout_minutes, 1)
        self.assertEqual(self.cdf.functions.status().status, "activated")
        self.assertIsInstance(self.cdf.functions.activate().status, str)

    def test_bad_token_and_client_credentials(self):
        with self.assertRaises(CogniteProjectAccessError):
            client(self.host, Token("wrong")).functions.list()
        credentials = OAuthClientCredentials(
            token_url=self.host.url + "/oauth2/token", client_id="me", client_secret=self.host.token, scopes=["x"]
        )
        call = client(self.host, credentials).functions.call(external_id="echo", data={"a": 1})
        self.assertEqual(call.get_response()["echo"], {"a": 1})


if __name__ == "__main__":
    settings.build = os.environ["PERILUNE_BUILD"]
    unittest.main()
