# SPDX-License-Identifier: MIT
"""The genuine Python SDK of CIM Database Cloud Functions against the host's access service."""

import hashlib
import io
import json
import os
import unittest
import urllib.error
import urllib.request

import requests
import settings
from csfunctions.metadata import MetaData
from csfunctions.service import Service
from csfunctions.service.base import (
    Conflict,
    Forbidden,
    NotFound,
    RateLimitExceeded,
    Unauthorized,
    UnprocessableEntity,
)
from gateway import Gateway


def service(host: Gateway, token=None, user="caddok") -> Service:
    return Service(
        metadata=MetaData(
            app_lang="en",
            app_user=user,
            request_id="r1",
            service_url=host.url + "/cim",
            service_token=host.token if token is None else token,
            request_datetime="2024-05-01T12:00:00Z",
            transaction_id="t1",
            instance_url="https://instance.example",
        )
    )


def ask(host: Gateway, method: str, path: str, body=None, token=None):
    """What an administrator does, and what the SDK has no call for: (status, headers, bytes)."""
    request = urllib.request.Request(
        host.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + (token or host.token), "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build, "--sandboxes", "1", "--cim-chunk-size", "4K", "--cim-rate", "10000/60").start()
        cls.addClassCleanup(cls.stop_host)
        cls.service = service(cls.host)
        assert ask(cls.host, "PUT", "/v1/parents/doc-1", {"owner": "caddok", "readers": ["reader"]})[0] == 201

    @classmethod
    def stop_host(cls):
        code = cls.host.stop()
        assert code == 0, f"the host ended with {code}"

    def content(self, file_id):
        status, headers, data = ask(self.host, "GET", f"/cim/files/{file_id}/content")
        self.assertEqual(status, 200)
        self.assertEqual(headers["ETag"], '"%s"' % hashlib.sha256(data).hexdigest())
        return data

    def record(self, file_id):
        status, _, data = ask(self.host, "GET", f"/cim/files/{file_id}")
        self.assertEqual(status, 200)
        return json.loads(data)

    def test_numbers(self):
        first = self.service.generator.get_number("external_part_number")
        more = self.service.generator.get_numbers("external_part_number", count=5)
        self.assertEqual(first, 1)
        self.assertEqual(more, [2, 3, 4, 5, 6])
        self.assertEqual(self.service.generator.get_number("Teil nr/ä&=+~*%😀"), 1)
        self.assertEqual(self.service.generator.get_number("Teil nr/ä&=+~*%😀"), 2)
        names = [g["name"] for g in json.loads(ask(self.host, "GET", "/v1/generators")[2])["items"]]
        self.assertIn("Teil nr/ä&=+~*%😀", names)

    def test_numbers_with_start_and_step(self):
        status, _, _ = ask(self.host, "PUT", "/v1/generators/far", {"start": 2**60, "step": -(2**40)})
        self.assertEqual(status, 201)
        self.assertEqual(self.service.generator.get_numbers("far", 3), [2**60 - i * 2**40 for i in range(3)])

    def test_numbers_refused(self):
        for count in (0, -1, 101, True, 5.5, "x"):
            with self.assertRaises(UnprocessableEntity) as caught:
                self.service.generator.get_numbers("external_part_number", count)
            self.assertEqual(json.loads(str(caught.exception)), {"detail": "count must be between 1 and 100"})
        with self.assertRaises(UnprocessableEntity):
            self.service.generator.get_numbers(None, 1)

    def test_new_file(self):
        file_id = self.service.file_upload.upload_new_file("doc-1", "täst 😀.txt", io.BytesIO(b"abcdefg"))
        self.assertEqual(self.content(file_id), b"abcdefg")
        record = self.record(file_id)
        self.assertEqual(
            (record["filename"], record["parent_object_id"], record["filesize"], record["persno"], record["locked"]),
            ("täst 😀.txt", "doc-1", 7, "caddok", False),
        )
        self.assertEqual(record["sha256"], "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a")

    def test_overwrite_and_many_chunks(self):
        file_id = self.service.file_upload.upload_new_file("doc-1", "a.bin", io.BytesIO(b"old"))
        data = os.urandom(5 * 4096 + 17)
        self.service.file_upload.upload_file_content(file_id, io.BytesIO(data))
        self.assertEqual(self.content(file_id), data)
        self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"short"), delete_derived_files=False)
        self.assertEqual(self.content(file_id), b"short")

    def test_empty_file(self):
        file_id = self.service.file_upload.upload_new_file("doc-1", "empty", io.BytesIO(b""))
        self.assertEqual(self.content(file_id), b"")
        self.assertEqual(self.record(file_id)["filesize"], 0)

    def test_stream_that_cannot_seek(self):
        class Pipe(io.RawIOBase):
            def __init__(self, data):
                self.inner = io.BytesIO(data)

            def readable(self):
                return True

            def read(self, size=-1):
                return self.inner.read(size)

        data = os.urandom(9000)
        with self.assertRaises(ValueError):
            self.service.file_upload.upload_new_file("doc-1", "pipe", Pipe(data))
        file_id = self.service.file_upload.upload_new_file("doc-1", "pipe", Pipe(data), filesize=len(data))
        self.assertEqual(self.content(file_id), data)

    def test_missing_parent_and_file(self):
        with self.assertRaises(NotFound):
            self.service.file_upload.upload_new_file("nope", "a.txt", io.BytesIO(b"x"))
        for file_id in ("nope", "999"):
            with self.assertRaises(NotFound):
                self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"x"))

    def test_forbidden(self):
        reader = service(self.host, user="reader")
        with self.assertRaises(Forbidden):
            reader.file_upload.upload_new_file("doc-1", "a.txt", io.BytesIO(b"x"))
        file_id = reader.file_upload.upload_new_file("doc-1", "a.txt", io.BytesIO(b"x"), check_access=False)
        with self.assertRaises(Forbidden):
            reader.file_upload.upload_file_content(file_id, io.BytesIO(b"y"))
        self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"y"))
        self.assertEqual(self.content(file_id), b"y")
        self.assertEqual(ask(self.host, "GET", f"/cim/files/{file_id}?persno=reader")[0], 200)
        self.assertEqual(ask(self.host, "GET", f"/cim/files/{file_id}?persno=stranger")[0], 403)

    def test_bad_token(self):
        for token in ("wrong", self.host.token + "x", ""):
            with self.assertRaises(Unauthorized):
                service(self.host, token=token).generator.get_number("n")

    def test_conflict_and_abort(self):
        file_id = self.service.file_upload.upload_new_file("doc-1", "a.txt", io.BytesIO(b"first"))
        body = {"filesize": 5, "check_access": True, "persno": "caddok", "lock_id": "AbCdEfGhIjKl"}
        path = f"/cim/file_upload/{file_id}"
        self.assertEqual(ask(self.host, "POST", path + "/generate_presigned_url", body)[0], 200)
        with self.assertRaises(Conflict):
            self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"other"))
        self.assertTrue(self.record(file_id)["locked"])
        for _ in range(2):
            status, _, data = ask(self.host, "POST", path + "/abort", {"lock_id": "AbCdEfGhIjKl", "persno": "caddok"})
            self.assertEqual((status, data), (200, b"null"))
        self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"other"))
        self.assertEqual(self.content(file_id), b"other")

    def test_a_stream_that_fails_is_aborted(self):
        class Broken(io.BytesIO):
            def read(self, size=-1):
                if self.tell() > 0:
                    raise OSError("no more")
                return super().read(size)

        file_id = self.service.file_upload.upload_new_file("doc-1", "a.bin", io.BytesIO(b"first"))
        with self.assertRaises(OSError):
            self.service.file_upload.upload_file_content(file_id, Broken(bytes(9000)))
        self.assertFalse(self.record(file_id)["locked"])
        self.assertEqual(self.content(file_id), b"first")

    def test_a_wrong_size_is_refused_and_aborted(self):
        file_id = self.service.file_upload.upload_new_file("doc-1", "a.bin", io.BytesIO(b"first"))
        stream = io.BytesIO(b"xxhello")
        stream.seek(2)  # the SDK counts the two bytes in front, and does not send them
        with self.assertRaises(UnprocessableEntity) as caught:
            self.service.file_upload.upload_file_content(file_id, stream)
        self.assertIn("5 bytes were uploaded", str(caught.exception))
        self.assertFalse(self.record(file_id)["locked"])
        with self.assertRaises(requests.HTTPError):  # more than was announced: the chunk itself is refused
            self.service.file_upload.upload_file_content(file_id, io.BytesIO(b"hello"), filesize=3)
        self.assertEqual(self.content(file_id), b"first")


class Limit(unittest.TestCase):
    def test_the_101st_request(self):
        host = Gateway(settings.build, "--sandboxes", "1").start()
        try:
            numbers = service(host).generator
            self.assertEqual([numbers.get_number("n") for _ in range(100)], list(range(1, 101)))
            with self.assertRaises(RateLimitExceeded) as caught:
                numbers.get_number("n")
            self.assertEqual(json.loads(str(caught.exception)), {"detail": "Rate limit exceeded: 100 per 1 minute"})
            status, headers, _ = ask(host, "GET", "/cim/numgen?name=n&count=1")
            self.assertEqual(status, 429)
            self.assertTrue(1 <= int(headers["Retry-After"]) <= 60)
            self.assertEqual(ask(host, "GET", "/v1/host")[0], 200)  # the host's own door has no limit
        finally:
            self.assertEqual(host.stop(), 0)

    def test_strict_generators(self):
        host = Gateway(settings.build, "--sandboxes", "1", "--cim-generators", "strict").start()
        try:
            numbers = service(host).generator
            with self.assertRaises(NotFound):
                numbers.get_number("n")
            self.assertEqual(ask(host, "PUT", "/v1/generators/n", {"start": 1000, "step": 10})[0], 201)
            self.assertEqual(numbers.get_numbers("n", 3), [1000, 1010, 1020])
        finally:
            self.assertEqual(host.stop(), 0)


if __name__ == "__main__":
    unittest.main()
