"""Messages on a pipe: a length of four bytes, big-endian, then JSON of that length in ASCII.

JSON and not pickle, because texts of a model stand in them. It carries lone surrogates as well.
"""

import json
from typing import IO, Any

HEADER = 4


def pack(message: Any) -> bytes:
    """One message as bytes."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(HEADER, "big") + body


def unpack(buffer: bytearray) -> list[Any]:
    """The messages that are whole, taken out of the buffer."""
    messages = []
    while len(buffer) >= HEADER:
        end = HEADER + int.from_bytes(buffer[:HEADER], "big")
        if len(buffer) < end:
            break
        messages.append(json.loads(buffer[HEADER:end]))
        del buffer[:end]
    return messages


def read(stream: IO[bytes]) -> Any:
    """The next message, or None at the end of the stream; it waits for as long as that takes."""
    header = stream.read(HEADER)
    body = stream.read(int.from_bytes(header, "big"))
    return json.loads(body) if body else None
