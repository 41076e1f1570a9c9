# SPDX-License-Identifier: MIT
"""Objects, lists, sessions and secrets of the genuine Python SDK against the host's Functions door."""

import tempfile
import unittest
from pathlib import Path

import settings
from cdf_support import FOLDER, client, ready
from cognite.client.data_classes import ClientCredentials, FunctionWrite
from cognite.client.data_classes.functions import FunctionCallList, FunctionList
from cognite.client.exceptions import CogniteAPIError, CogniteNotFoundError
from gateway import Gateway

HANDLER = """-- SPDX-License-Identifier: MIT
return {
  handle = function(ctx)
    print("secrets:", ctx.secrets["api-key"] and ctx.secrets.key2 and "both")
    return { secret = ctx.secrets["api-key"], region = os.getenv("REGION"), call = ctx.call.id, data = ctx.data }
  end,
}
"""


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build, "--sandboxes", "1").start()
        cls.addClassCleanup(cls.stop_host)
        cls.cdf = client(cls.host)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "handler.py").write_text("def handle(data, secrets):\n    return 1\n", encoding="utf-8")
            Path(folder, "handler.lua").write_text(HANDLER, encoding="utf-8")
            cls.function = ready(
                cls.cdf.functions.create(
                    name="größe/日本",
                    folder=folder,
                    external_id="objects-ø",
                    description="d",
                    owner="ops",
                    secrets={"api-key": "s3crét", "key2": "x"},
                    env_vars={"REGION": "eu"},
                    metadata={"a": "b"},
                    cpu=1.0,
                    memory=0.5,
                    runtime="py313",
                    index_url="https://index.example/simple",
                    extra_index_urls=["https://more.example/simple"],
                )
            )

    @classmethod
    def stop_host(cls):
        code = cls.host.stop()
        assert code == 0, f"the host ended with {code}"

    def test_every_field_comes_back(self):
        function = self.cdf.functions.retrieve(external_id="objects-ø")
        self.assertEqual((function.name, function.status, function.runtime), ("größe/日本", "Ready", "py313"))
        self.assertEqual((function.cpu, function.memory, function.env_vars), (1.0, 0.5, {"REGION": "eu"}))
        self.assertIsInstance(function.runtime_version, str)
        self.assertIsNone(getattr(function, "index_url", None))

    def test_secrets_are_masked_and_reach_the_handler(self):
        self.assertEqual(self.function.secrets, {"api-key": "***", "key2": "***"})
        call = self.function.call(data={"n": 9007199254740993})
        self.assertEqual(
            call.get_response(), {"secret": "s3crét", "region": "eu", "call": call.id, "data": {"n": 9007199254740993}}
        )
        self.assertNotIn("s3crét", call.get_logs().to_text())

    def test_function_methods(self):
        before = self.function.last_called
        call = self.function.call(data={"k": "v"})
        self.assertIsNone(self.function.update())
        self.assertGreaterEqual(self.function.last_called, before or 1)
        self.assertEqual(self.function.retrieve_call(call.id).id, call.id)
        self.assertIsNone(self.function.retrieve_call(4242))
        calls = self.function.list_calls(status="Completed", limit=None)
        self.assertIsInstance(calls, FunctionCallList)
        self.assertIn(call.id, calls.as_ids())
        self.assertEqual(calls.get(id=call.id).function_id, self.function.id)
        written = self.function.as_write()
        self.assertEqual((written.name, written.file_id), (self.function.name, self.function.file_id))
        self.assertIn('"external_id"', str(self.function))

    def test_call_methods(self):
        call = self.function.call(data={}, wait=False)
        call.wait()
        call.update()
        self.assertEqual(call.status, "Completed")
        self.assertGreaterEqual(call.end_time, call.start_time)
        self.assertEqual(call.get_logs()[0].message, "secrets: both")
        with self.assertRaises(RuntimeError):
            call.as_write()

    def test_calls_filtered_by_time(self):
        first = self.function.call(data={"i": 1})
        second = self.function.call(data={"i": 2})
        window = {"min": second.start_time, "max": second.start_time}
        found = self.cdf.functions.calls.list(function_id=self.function.id, start_time=window, limit=-1)
        self.assertIn(second.id, found.as_ids())
        ended = self.cdf.functions.calls.list(function_id=self.function.id, end_time={"max": first.end_time}, limit=-1)
        self.assertIn(first.id, ended.as_ids())
        for limit in (0, -5):
            with self.assertRaises(ValueError):
                self.cdf.functions.calls.list(function_id=self.function.id, limit=limit)

    def test_unknown_function_of_calls(self):
        with self.assertRaises(ValueError):
            self.cdf.functions.calls.list(function_external_id="nope")
        with self.assertRaises(ValueError):
            self.cdf.functions.call(external_id="nope")
        with self.assertRaises(CogniteAPIError):
            self.cdf.functions.call(id=4242)

    def test_iteration_and_lists(self):
        self.assertIn("objects-ø", [function.external_id for function in self.cdf.functions()])
        chunks = list(self.cdf.functions(chunk_size=1, owner="ops"))
        self.assertIsInstance(chunks[0], FunctionList)
        found = self.cdf.functions.retrieve_multiple(ids=[self.function.id], external_ids=["objects-ø"])
        self.assertEqual({function.id for function in found}, {self.function.id})
        self.assertEqual(found.get(external_id="objects-ø").id, self.function.id)
        self.assertEqual(self.cdf.functions.retrieve_multiple(), [])
        dumped = found.dump()
        self.assertEqual(dumped[0]["externalId"], "objects-ø")

    def test_created_time_and_file_filters(self):
        created = self.function.created_time
        listed = lambda **filters: [f.id for f in self.cdf.functions.list(limit=-1, **filters)]
        self.assertIn(self.function.id, listed(created_time={"min": created, "max": created}))
        self.assertNotIn(self.function.id, listed(created_time={"min": created + 1}))
        self.assertEqual(listed(file_id=self.function.file_id), [self.function.id])
        self.assertEqual(listed(file_id=4242), [])

    def test_create_from_a_written_object_and_delete_both_ways(self):
        write = FunctionWrite(name="written", file_id=self.function.file_id, external_id="w-1", function_path="handler.py")
        one = ready(self.cdf.functions.create(write))
        two = ready(self.cdf.functions.create(name="second", file_id=self.function.file_id))
        self.assertEqual((one.status, two.status), ("Ready", "Ready"))
        self.cdf.functions.delete(id=[two.id], external_id="w-1")
        self.assertIsNone(one.update())
        self.assertIsNone(self.cdf.functions.retrieve(id=two.id))
        with self.assertRaises(CogniteNotFoundError) as caught:
            self.cdf.functions.delete(id=[one.id, two.id])
        self.assertEqual({item["id"] for item in caught.exception.missing}, {one.id, two.id})

    def test_a_python_callable_fails_saying_what_is_missing(self):
        def handle(data):
            return data

        function = ready(self.cdf.functions.create(name="callable", function_handle=handle))
        self.assertEqual(function.status, "Failed")
        self.assertIn("handler.lua", function.error["message"])

    def test_limits_of_fields(self):
        refused = (
            {"name": "n" * 141},
            {"name": ""},
            {"description": "d" * 501},
            {"owner": "o" * 129},
            {"external_id": "e" * 256},
            {"metadata": {str(i): "v" for i in range(17)}},
            {"metadata": {"k" * 33: "v"}},
            {"metadata": {"k": "v" * 513}},
            {"secrets": {f"k{i}": "v" for i in range(31)}},
            {"secrets": {"token": "v"}},
            {"env_vars": {"not-a-name": "v"}},
            {"env_vars": {f"K{i}": "v" for i in range(101)}},
        )
        for fields in refused:
            with self.subTest(fields=str(fields)[:60]), self.assertRaises(CogniteAPIError) as caught:
                self.cdf.functions.create(**{"name": "limits", "file_id": self.function.file_id, **fields})
            self.assertEqual(caught.exception.code, 400)
            self.assertGreater(len(caught.exception.message), 10)


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build, "--sandboxes", "1").start()
        cls.addClassCleanup(cls.host.stop)
        cls.cdf = client(cls.host)

    def test_each_kind_of_credential(self):
        credentials = ClientCredentials("me", self.host.token)
        kinds = {
            "TOKEN_EXCHANGE": self.cdf.iam.sessions.create(),
            "ONESHOT_TOKEN_EXCHANGE": self.cdf.iam.sessions.create(session_type="ONESHOT_TOKEN_EXCHANGE"),
            "CLIENT_CREDENTIALS": self.cdf.iam.sessions.create(client_credentials=credentials),
        }
        for kind, session in kinds.items():
            self.assertEqual((session.type, session.status), (kind, "READY"))
            self.assertGreater(len(session.nonce), 20)
        self.assertEqual(kinds["CLIENT_CREDENTIALS"].client_id, "me")
        with self.assertRaises(CogniteAPIError):
            self.cdf.iam.sessions.create(client_credentials=ClientCredentials("me", "wrong"))

    def test_retrieve_list_and_revoke(self):
        made = [self.cdf.iam.sessions.create() for _ in range(3)]
        ids = [session.id for session in made]
        self.assertEqual({s.id for s in self.cdf.iam.sessions.retrieve(ids)}, set(ids))
        self.assertEqual(self.cdf.iam.sessions.retrieve(ids[0]).status, "READY")
        self.assertTrue(set(ids) <= {s.id for s in self.cdf.iam.sessions.list(status="ready", limit=-1)})
        revoked = self.cdf.iam.sessions.revoke(ids[:2])
        self.assertEqual([session.id for session in revoked], ids[:2])
        self.assertEqual(self.cdf.iam.sessions.revoke(ids[0]).id, ids[0])
        self.assertEqual(self.cdf.iam.sessions.retrieve(ids[0]).status, "REVOKED")
        self.assertNotIn(ids[0], {s.id for s in self.cdf.iam.sessions.list(status="READY", limit=-1)})
        with self.assertRaises(CogniteAPIError):
            self.cdf.iam.sessions.retrieve([4242])


if __name__ == "__main__":
    unittest.main()
