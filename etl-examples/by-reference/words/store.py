"""The store of this host, for one call: any client of Redis does. Needs redis-py."""

import os
import struct
from urllib.parse import urlsplit

import redis

# What a function makes, as an envelope says it.
FUNCTION = 1


class Loan:
    """What a call lends: an input to read, a key to put the output under."""

    def __init__(self, headers):
        self.input = headers.get("X-Turlough-Data-Ref")
        self.key = headers.get("X-Turlough-Data-Key")
        if self.key is None:
            raise KeyError("X-Turlough-Data-Key: the call is none by reference")
        # `tenant credential`, where the store asks for one; it ends with the step's time.
        tenant, _, credential = headers.get("X-Turlough-Data-Auth", "").partition(" ")
        self.store = connect(os.environ["TURLOUGH_DATA"], tenant or None, credential or None)

    def read(self):
        """Content type and body of the input; nothing where the step has none."""
        if self.input is None:
            return "application/octet-stream", b""
        # Whichever store holds it, the one of this host finds it.
        value = self.store.execute_command("REF.GET", self.input)
        if value is None:
            raise ValueError(f"nothing lies at {self.input}")
        return unpack(value)

    def write(self, content_type, body):
        """Puts the output; the answer's X-Turlough-Data-Ref, which says where it lies."""
        self.store.set(self.key, pack(content_type, body))
        said = self.store.execute_command("BUCKET.REF", self.key)
        # A map, or in RESP2 names and values in turn.
        fields = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2]))
        return fields[b"reference"].decode()


def connect(url, tenant, credential):
    """`unix:PATH`, `turlough://host:port`, or `turlough+tls://host:port`."""
    login = {"username": tenant, "password": credential}
    if url.startswith("unix:"):
        return redis.Redis(unix_socket_path=url.removeprefix("unix:"), **login)
    place = urlsplit(url)
    is_tls = place.scheme == "turlough+tls"
    return redis.Redis(host=place.hostname, port=place.port or 7700, ssl=is_tls, **login)


def pack(content_type, body):
    """A value as it lies in the store: MessagePack, a list of content type, producer and body."""
    name = content_type.encode()
    head = b"\x93\xd9" + bytes([len(name)]) + name + bytes([FUNCTION])
    return head + b"\xc6" + struct.pack(">I", len(body)) + body


def unpack(value):
    """Content type and body of a value, whichever of MessagePack's forms its parts have."""
    if value[:1] != b"\x93":
        raise ValueError("the value is not written as Turlough writes it")
    content_type, at = part(value, 1)
    body, _ = part(value, at + 1)
    return content_type.decode(), body


def part(value, at):
    """The text or bytes that begin at a place, and where they end."""
    kind = value[at]
    digits = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}.get(kind)
    if digits is None and kind & 0xE0 != 0xA0:
        raise ValueError("the value is not written as Turlough writes it")
    begin = at + 1 + (digits or 0)
    size = int.from_bytes(value[at + 1 : begin], "big") if digits else kind & 0x1F
    return value[begin : begin + size], begin + size
