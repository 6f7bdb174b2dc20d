"""Requests that no client should send, seeded, as bytes on a socket: an HTTP library would mend most of them."""

import http.client
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

BOUNDARY = "frontier"
NO_ANSWER = 0
"""Status of a request that was never finished: the server may close the connection without a word."""
NEVER = "f" * 32


@dataclass(frozen=True)
class Malformed:
    """One request."""

    kind: str
    raw: bytes
    unfinished: bool = False


def requests(seed: int, count: int, png: bytes, exam_id: str, key: str) -> Iterator[Malformed]:
    """Yield `count` malformed requests of every kind in turn; the same seed, the same requests.

    Args:
        seed: of all that is random.
        count: how many.
        png: a good image.
        exam_id: of the archive.
        key: a valid API key: what is wrong is the request alone.
    """
    makers = [Uploads(png, exam_id, key), Parameters(png, exam_id, key), Envelopes(png, exam_id, key)]
    kinds = [(name, getattr(m, name)) for m in makers for name in sorted(dir(m)) if not name.startswith("_")]
    kinds = [(name, make) for name, make in kinds if callable(make)]
    for n in range(count):
        name, make = kinds[n % len(kinds)]
        yield _named(name, make(random.Random(f"{seed} {n}")))


def _named(kind: str, made: "bytes | Malformed") -> Malformed:
    return Malformed(kind, made.raw, made.unfinished) if isinstance(made, Malformed) else Malformed(kind, made)


def send(host: str, port: int, sent: Malformed, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """Send a request and return the answer's status and body; NO_ANSWER where the connection ends without one."""
    with socket.create_connection((host, port), timeout=timeout_s) as s:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer is there
            s.sendall(sent.raw)
            if sent.unfinished:
                s.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(s)
        try:
            answer.begin()
            return answer.status, answer.read()
        except (http.client.BadStatusLine, ConnectionResetError):
            return NO_ANSWER, b""


class _Maker:
    def __init__(self, png: bytes, exam_id: str, key: str) -> None:
        self._png, self._exam_id, self._key = png, exam_id, key

    def _request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: "list[tuple[str, str | bytes]] | None" = None,
        **more: str,
    ) -> bytes:
        """Return a request; `headers` may hold anything, and replace those of the same name."""
        given = headers or []
        names = {name.lower() for name, _ in given}
        usual = {"Host": "service", "Authorization": f"Bearer {self._key}", "Connection": "close"}
        usual |= {"Content-Length": str(len(body))} if body or method == "POST" else {}
        lines = [(n, v) for n, v in usual.items() if n.lower() not in names] + given
        coded = [n.encode("latin-1") + b": " + (v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in lines]
        return b"\r\n".join([f"{method} {path} HTTP/1.1".encode("latin-1"), *coded, b"", body])

    def _search(self, body: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY}") -> bytes:
        return self._request("POST", "/v1/search", body, [("Content-Type", kind)])

    def _form(self, **fields: "bytes | str") -> bytes:
        """Return a search with these fields; `image` is a file."""
        return self._search(b"".join(_part(n, v, n == "image") for n, v in fields.items()) + _END)


_END = f"--{BOUNDARY}--\r\n".encode()


def _part(name: str, value: "bytes | str", is_file: bool = False) -> bytes:
    content = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
    file = '; filename="w"\r\nContent-Type: application/octet-stream' if is_file else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode(errors="surrogatepass") + content + b"\r\n"


class Uploads(_Maker):
    """Images that are none."""

    def truncated(self, r: random.Random) -> bytes:
        return self._form(image=self._png[: r.randrange(1, int(0.9 * len(self._png)))])

    def empty(self, r: random.Random) -> bytes:
        return self._form(image=b"", k=str(r.randrange(1, 20)))

    def noise(self, r: random.Random) -> bytes:
        return self._form(image=r.randbytes(r.choice([1, 3, 132, 4_000, 300_000])))

    def noise_after_a_magic(self, r: random.Random) -> bytes:
        magic = r.choice(
            [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", bytes(128) + b"DICM", b"\xff\xd8\xff\xd9", b"GIF89a"]
        )
        return self._form(image=magic + r.randbytes(r.randrange(0, 5_000)))

    def flipped_pixels(self, r: random.Random) -> bytes:
        broken = bytearray(self._png)
        for _ in range(20):
            broken[r.randrange(60, len(broken) - 20)] ^= 1 << r.randrange(8)
        return self._form(image=bytes(broken))

    def png_bomb(self, r: random.Random) -> bytes:
        side = r.choice([20_000, 65_535, 2**31 - 1])
        head = struct.pack(">IIBBBBB", side, side, r.choice([1, 8, 16]), 0, 0, 0, 0)
        pixels = zlib.compress(bytes(10**6), 9)
        chunks = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
        made = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
        return self._form(image=b"\x89PNG\r\n\x1a\n" + b"".join(made))

    def jpeg_bomb(self, r: random.Random) -> bytes:
        head = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65_500, 65_500, 1) + b"\x01\x11\x00"
        return self._form(image=head + r.randbytes(500) + b"\xff\xd9")

    def dicom_bomb(self, r: random.Random) -> bytes:
        return self._form(image=dicom(rows=65_535, cols=65_535, frames=r.choice(["1", "99999999", "-1"])))

    def dicom_that_is_no_wrist(self, r: random.Random) -> bytes:
        return self._form(image=dicom(modality=r.choice(["CT", "SR", "MR"]), part=r.choice(["WRIST", "HEAD"])))

    def cut_dicom(self, r: random.Random) -> bytes:
        whole = dicom()
        return self._form(image=whole[: r.randrange(140, len(whole) - 1_000)])

    def two_images(self, r: random.Random) -> bytes:
        return self._search(_part("image", self._png, True) + _part("image", r.randbytes(50), True) + _END)

    def image_and_exam(self, r: random.Random) -> bytes:
        return self._form(image=self._png, exam_id=self._exam_id)

    def a_path_for_an_image(self, r: random.Random) -> bytes:
        return self._search(_part("image", r.choice(["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/"])) + _END)

    def a_text_without_letters(self, r: random.Random) -> bytes:
        return self._form(text=r.choice(["", "x" * 2_001, "x" * 1_100_000, b"\xff\xfe" * 2_000]))


class Parameters(_Maker):
    """Good queries with parameters that are none."""

    def numbers(self, r: random.Random) -> bytes:
        name = r.choice(["k", "pool"])
        wrong = [
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "-1",
            "0",
            "9" * 30,
            "9" * 6_000,
            "0x10",
            "1_0.5",
            "",
            "٣٣٣٣٣٣٣",
        ]
        return self._form(exam_id=self._exam_id, **{name: r.choice(wrong)})

    def ages_and_dates(self, r: random.Random) -> bytes:
        ages = ["NaN", "inf", "-inf", "1e309", "-0.1", "131", "ten", "\x00"]
        dates = ["NaN", "2020-13-01", "0000-00-00", "99999-01-01", "2020-02-30", "1e300", "-1e300", "today"]
        given = r.choice([{"age_min": r.choice(ages)}, {"date_to": r.choice(dates)}, {"age_min": "9", "age_max": "8"}])
        return self._form(exam_id=self._exam_id, **given)

    def regions(self, r: random.Random) -> bytes:
        wrong = [
            "femur",
            "",
            "DISTAL_RADIUS",
            "distal_radius ",
            "wrist\x00",
            "../wrist",
            "w" * 10_000,
            "радиус",
            "['wrist']",
        ]
        return self._form(exam_id=self._exam_id, region=r.choice(wrong))

    def unknown_fields(self, r: random.Random) -> bytes:
        name = r.choice(["url", "__class__", "image[]", "k.k", "\ud800", "n" * 100_000, "Jane Roe"])
        return self._search(_part("exam_id", self._exam_id) + _part(name, "1") + _END)

    def ids_in_forms(self, r: random.Random) -> bytes:
        return self._form(exam_id=r.choice(_IDS))

    def ids_in_paths(self, r: random.Random) -> bytes:
        end = r.choice(["", "/image", "/crops/wrist"])
        return self._request("GET", f"/v1/exams/{r.choice(_IDS)}{end}")

    def regions_in_paths(self, r: random.Random) -> bytes:
        region = r.choice(["femur", "%00", "..%2f..%2fimage", "wrist%0a", "wrist/", "%ff%fe", "wrist;x=1"])
        return self._request("GET", f"/v1/exams/{self._exam_id}/crops/{region}")

    def sizes(self, r: random.Random) -> bytes:
        side = r.choice(
            ["0", "31", "8193", "-64", "1e3", "NaN", "Infinity", "9" * 5_000, "64px", "%00", "64&max_side=x"]
        )
        return self._request("GET", f"/v1/exams/{self._exam_id}/image?max_side={side}")

    def lines(self, r: random.Random) -> bytes:
        """A batch of one line: its answer is 200, and the line's own problem counts."""
        wrong = [
            b"[" * 100_000,
            b'{"exam_id":' * 5_000 + b"1" + b"}" * 5_000,
            b'{"id":"a","age_min":NaN,"exam_id":"%s"}' % self._exam_id.encode(),
            b'{"k":1e999,"exam_id":"%s"}' % self._exam_id.encode(),
            b'{"k":%s,"exam_id":"%s"}' % (b"9" * 5_000, self._exam_id.encode()),
            b'{"text":"\\ud800"}',
            b'{"text":"\xff"}',
            b'{"image":"%%%%"}',
            b'{"image":"AAAA"}',
            b'{"image":{"$ref":"file:///etc/passwd"}}',
            json.dumps({f"field{n}": n for n in range(5_000)}).encode(),
            b'{"exam_id":"../../etc/passwd"}',
            b"null",
            b"\x00",
            r.randbytes(200).replace(b"\n", b"\r"),
        ]
        return self._request("POST", "/v1/batch-search", r.choice(wrong), [("Content-Type", "application/x-ndjson")])


_IDS = [
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "%00",
    "0" * 31,
    "0" * 33,
    "0" * 31 + "G",
    "F" * 32,
    "0" * 32 + "%0a",
    "%0d%0aX-Injected:%201",
    "%ff" * 32,
    "'%20OR%20'1'='1",
    "a" * 20_000,
    NEVER,
    "%d9%a3" * 32,
]


class Envelopes(_Maker):
    """Requests that are no good HTTP, or no good form."""

    def no_boundary(self, r: random.Random) -> bytes:
        kinds = ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
        return self._search(_part("exam_id", self._exam_id) + _END, r.choice(kinds))

    def no_end(self, r: random.Random) -> bytes:
        whole = _part("image", self._png, True)
        return self._search(whole[: r.randrange(1, len(whole))])

    def broken_parts(self, r: random.Random) -> bytes:
        mark = f"--{BOUNDARY}\r\n".encode()
        bodies = [
            mark + b"\r\nx\r\n" + _END,
            mark + b"Content-Disposition: form-data\r\n\r\nx\r\n" + _END,
            mark + b"Content-Disposition: form-data; name=exam_id\n\n" + self._exam_id.encode() + b"\n" + _END,
            mark + b": \r\n\r\nx\r\n" + _END,
            mark + b"X" * 70_000 + b"\r\n\r\nx\r\n" + _END,
            mark + b"A: b\r\n" * 5_000 + b"\r\nx\r\n" + _END,
            b"\r\n" * 1_000,
            r.randbytes(2_000),
            _END,
        ]
        return self._search(r.choice(bodies))

    def charsets(self, r: random.Random) -> bytes:
        charset = r.choice(["unicode_escape", "idna", "undefined", "zlib", "utf-16", "punycode", "x" * 500])
        body = _part("\\ud800", "\\ud800") + _part("region", "\\ud800") + _END
        return self._search(body, f"multipart/form-data; boundary={BOUNDARY}; charset={charset}")

    def other_types(self, r: random.Random) -> bytes:
        kinds = [
            "application/json",
            "text/plain",
            "image/png",
            "",
            "application/xml",
            "\x7f",
            "multipart/mixed; boundary=frontier",
        ]
        return self._search(r.choice([self._png, b"{}", b"<x/>", b"k=1"]), r.choice(kinds))

    def long_boundary(self, r: random.Random) -> bytes:
        return self._search(
            b"--" + b"b" * 9_000 + b"\r\n\r\n", "multipart/form-data; boundary=" + "b" * r.choice([300, 9_000])
        )

    def long_names(self, r: random.Random) -> bytes:
        return self._search(_part("n" * r.choice([10_000, 900_000]), "x", r.random() < 0.5) + _END)

    def many_parts(self, r: random.Random) -> bytes:
        is_file = r.random() < 0.5
        return self._search(b"".join(_part(f"p{n}", "x", is_file) for n in range(r.choice([900, 1_001, 5_000]))) + _END)

    def declared_too_large(self, r: random.Random) -> bytes:
        length = r.choice(["99999999999", str(2**63), "9" * 19])
        return self._request("POST", "/v1/search", b"", [("Content-Length", length)])

    def length_that_is_none(self, r: random.Random) -> bytes:
        length = r.choice(["-1", "abc", "1e3", "9" * 5_000, "5, 6", "+5"])
        return self._request("POST", "/v1/search", b"12345", [("Content-Length", length)])

    def chunks_that_are_none(self, r: random.Random) -> bytes:
        body = r.choice(
            [b"zz\r\nx\r\n0\r\n\r\n", b"-5\r\nx\r\n", b"FFFFFFFFFFFFFFFFFFFF\r\nx\r\n", b"5;" + b"e" * 70_000]
        )
        return self._request("POST", "/v1/search", body, [("Transfer-Encoding", "chunked")]).replace(
            f"Content-Length: {len(body)}\r\n".encode(), b""
        )

    def unfinished(self, r: random.Random) -> Malformed:
        whole = self._form(image=self._png)
        return Malformed("", whole[: r.randrange(10, len(whole) - 1)], unfinished=True)

    def request_ids(self, r: random.Random) -> bytes:
        sent = r.choice([b"\xff\xfe" * 10, b"x" * 30_000, b"a\tb", b"", b"${jndi:ldap://x/y}", b"a b c d e f g h"])
        return self._request("GET", f"/v1/exams/{NEVER}", b"", [("X-Request-Id", sent)])

    def steering_headers(self, r: random.Random) -> bytes:
        name = r.choice(
            ["x-request-timeout-seconds", "serve_multiplexed_model_id", "x-session-id", "x-request-disconnect-disabled"]
        )
        return self._request(
            "GET", f"/v1/exams/{NEVER}", b"", [(name, r.choice([b"0", b"nan", b"1e-9", b"\xff", b"?1"]))]
        )

    def credentials(self, r: random.Random) -> bytes:
        sent = r.choice(
            [b"Bearer", b"Bearer \xff\xff", b"Basic YTpi", b"Bearer " + b"k" * 20_000, b"\xff", b"Bearer a, Bearer b"]
        )
        return self._request("GET", "/v1/archives", b"", [("Authorization", sent)])

    def split_headers(self, r: random.Random) -> bytes:
        extra = r.choice([("X-A", b"1\r\n folded"), ("X-A", b"1\nX-B: 2"), ("X A", b"1"), ("X-A", b"\x00"), ("", b"1")])
        return self._request("GET", f"/v1/exams/{NEVER}", b"", [extra])

    def many_headers(self, r: random.Random) -> bytes:
        many: list[tuple[str, str | bytes]] = [(f"X-{n}", "v" * 100) for n in range(r.choice([50, 1_000]))]
        return self._request("GET", f"/v1/exams/{NEVER}", b"", many)

    def held_tags(self, r: random.Random) -> bytes:
        tag = r.choice([b"*", b'"' + b"x" * 20_000, b"\xff\xff", b'W/"a", ' * 1_000])
        return self._request("GET", f"/v1/exams/{NEVER}/image", b"", [("If-None-Match", tag)])

    def methods(self, r: random.Random) -> bytes:
        method = r.choice(["DELETE", "PUT", "TRACE", "PROPFIND", "get", "X" * 500])
        return self._request(method, r.choice(["/v1/search", f"/v1/exams/{self._exam_id}", "/v1/archives"]))

    def addresses(self, r: random.Random) -> bytes:
        paths = [
            "/../../etc/passwd",
            "//v1/archives",
            "/v1/archives/",
            "/%2e%2e/metrics",
            "/metrics%0a",
            "/v1/search;x",
            "/docs",
        ]
        return self._request("GET", r.choice([*paths, "/" + "a" * 30_000, "http://elsewhere/v1/none", "*"]))

    def no_http(self, r: random.Random) -> bytes:
        return (
            r.choice(
                [
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"GET\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n",
                    r.randbytes(100),
                ]
            )
            + b"\r\n\r\n"
        )


def dicom(rows: int = 64, cols: int = 64, frames: str = "1", modality: str = "DX", part: str = "WRIST") -> bytes:
    """Return a DICOM object that says to have rows x cols pixels, and holds 64 x 64."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    made.Modality, made.BodyPartExamined = modality, part
    made.Rows, made.Columns, made.NumberOfFrames = rows, cols, frames
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = np.arange(64 * 64, dtype=np.uint16).tobytes()
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def status_of(sent: Malformed, answer: tuple[int, bytes]) -> int:
    """Return what became of a request: of a batch of one line, the line's own status."""
    status, body = answer
    if sent.kind != "lines" or status != 200:
        return status
    (line,) = [json.loads(text) for text in body.splitlines()]
    return int(line["problem"]["status"]) if line["problem"] else 200
