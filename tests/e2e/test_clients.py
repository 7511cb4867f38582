"""Uploads byte by byte as the HTTP libraries of phones and programs write them."""

import json
import socket

import pytest

from tests.drawn import encoded, picture

PHOTO = encoded(picture("red"))
UUID = "3d7c1f0a-5a7e-4d5b-9f0e-8a1b2c3d4e5f"


def form(boundary: str, *parts: tuple[str, bytes], before: str = "", after: str = "\r\n") -> bytes:
    """A form whose parts have these headers, each line ended by CR and LF."""
    lines = [
        f"--{boundary}\r\n".encode() + head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + data
        for head, data in parts
    ]
    return before.encode() + b"\r\n".join([*lines, f"--{boundary}--{after}".encode()])


def chunked(body: bytes, size: int = 8192) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


DISPOSITION = 'Content-Disposition: form-data; name="photo"'
# The head's lines after the first, and the body; Content-Length is added if nothing else is there.
CLIENTS = {
    "OkHttp, a file": (
        f"Content-Type: multipart/form-data; boundary={UUID}\nConnection: Keep-Alive\n"
        "Accept-Encoding: gzip\nUser-Agent: okhttp/4.12.0",
        form(
            UUID,
            ('Content-Disposition: form-data; name="title"\nContent-Length: 5', b"Shirt"),
            (
                f'{DISPOSITION}; filename="IMG_20261130_101112.jpg"\nContent-Type: image/jpeg\n'
                f"Content-Length: {len(PHOTO)}",
                PHOTO,
            ),
        ),
    ),
    "OkHttp, a stream of unknown length": (
        f"Content-Type: multipart/form-data; boundary={UUID}\nTransfer-Encoding: chunked\n"
        "User-Agent: okhttp/5.1.0",
        chunked(
            form(UUID, (f'{DISPOSITION}; filename="image"\nContent-Type: image/*', PHOTO)), 2048
        ),
    ),
    "Retrofit, a part of octets": (
        f"Content-Type: multipart/form-data; boundary={UUID}\nUser-Agent: okhttp/3.14.9",
        form(
            UUID,
            (
                "Content-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\n"
                "Content-Transfer-Encoding: binary\nContent-Type: application/octet-stream",
                PHOTO,
            ),
        ),
    ),
    "Alamofire": (
        "Content-Type: multipart/form-data; boundary=alamofire.boundary.9d4a8d3e2b1c7f60\n"
        "Accept: */*\nAccept-Language: de-DE;q=1.0, en-DE;q=0.9\n"
        "Accept-Encoding: br;q=1.0, gzip;q=0.9, deflate;q=0.8\n"
        "User-Agent: App/1.0 (com.example.App; build:1; iOS 18.1.0) Alamofire/5.10.2",
        form(
            "alamofire.boundary.9d4a8d3e2b1c7f60",
            (f'{DISPOSITION}; filename="photo.jpeg"\nContent-Type: image/jpeg', PHOTO),
        ),
    ),
    "NSURLSession, a form written by hand": (
        f"Content-Type: multipart/form-data; boundary=Boundary-{UUID.upper()}\nAccept: */*\n"
        "User-Agent: App/1 CFNetwork/1568.200.51 Darwin/24.1.0",
        form(
            f"Boundary-{UUID.upper()}",
            (f'{DISPOSITION}; filename="image.jpg"\nContent-Type: image/jpeg', PHOTO),
            before="\r\n",  # examples often begin so
            after="",
        ),
    ),
    "NSURLSession, a file as the body": (
        "Content-Type: application/x-www-form-urlencoded\nAccept: */*\nExpect: 100-continue",
        PHOTO,
    ),
    "AFNetworking": (
        "Content-Type: multipart/form-data; boundary=Boundary+0A1B2C3D4E5F6789",
        form(
            "Boundary+0A1B2C3D4E5F6789",
            (f'{DISPOSITION}; filename="photo.jpg"\nContent-Type: image/jpeg', PHOTO),
        ),
    ),
    "Dart": (
        "content-type: multipart/form-data; boundary=dart-http-boundary-_Zk.+Q1-x7P0\n"
        "user-agent: Dart/3.6 (dart:io)\naccept-encoding: gzip",
        form(
            "dart-http-boundary-_Zk.+Q1-x7P0",
            (
                "content-type: application/octet-stream\n"
                'content-disposition: form-data; name="photo"; filename="scaled_1000.jpg"',
                PHOTO,
            ),
        ),
    ),
    ".NET": (
        f'Content-Type: multipart/form-data; boundary="{UUID}"',
        form(
            UUID,
            (
                "Content-Type: image/jpeg\nContent-Disposition: form-data; name=photo; "
                "filename=photo.jpg; filename*=utf-8''photo.jpg",
                PHOTO,
            ),
        ),
    ),
    "Apache HttpClient": (
        "Content-Type: multipart/form-data; boundary=x7gW_d-9kQzV1; charset=ISO-8859-1",
        form(
            "x7gW_d-9kQzV1",
            (
                f'{DISPOSITION}; filename="photo.jpg"\nContent-Type: application/octet-stream\n'
                "Content-Transfer-Encoding: binary",
                PHOTO,
            ),
        ),
    ),
    "React Native on Android, a URI's last part as the name": (
        f"content-type: multipart/form-data; boundary={UUID}\nUser-Agent: okhttp/4.9.2",
        form(
            UUID,
            (f'content-disposition: form-data; name="photo"; filename="1000/a b;c.jpg"\n'
             f"content-type: image/jpeg\ncontent-length: {len(PHOTO)}", PHOTO),
        ),
    ),
    "undici": (
        "content-type: multipart/form-data; boundary=----formdata-undici-012345678901\n"
        "accept: */*\nsec-fetch-mode: cors\nuser-agent: node\ntransfer-encoding: chunked",
        chunked(
            form(
                "----formdata-undici-012345678901",
                (f'{DISPOSITION}; filename="blob"\nContent-Type: application/octet-stream', PHOTO),
            )
        ),
    ),
    "curl": (
        "User-Agent: curl/8.11.0\nAccept: */*\n"
        "Content-Type: multipart/form-data; boundary=------------------------8yKQpQ0vD9XhJc1",
        form(
            "------------------------8yKQpQ0vD9XhJc1",
            (f'{DISPOSITION}; filename="a \\"b\\".jpg"\nContent-Type: image/jpeg', PHOTO),
        ),
    ),
}  # fmt: skip


def request_of(name: str) -> bytes:
    """The whole request of a client."""
    head, body = CLIENTS[name]
    if "transfer-encoding" not in head.lower():
        head += f"\nContent-Length: {len(body)}"
    first = "POST /predict HTTP/1.1\nHost: photos.example\nConnection: close\n"
    return (first + head + "\n\n").replace("\n", "\r\n").encode() + body


def answered(host: str, port: int, request: bytes) -> bytes:
    """All that comes back until the connection ends."""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("name", CLIENTS)
def test_an_upload_of_a_client_is_answered(tiny, name: str):
    host, port = tiny.server_address[:2]
    received = answered(host, port, request_of(name))
    head, _, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), body
    assert json.loads(body)["label"] == "red"
