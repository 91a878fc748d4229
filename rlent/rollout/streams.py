"""Random numbers that belong to a sequence and to nothing else.

A sequence has a key of 16 bytes, and its uniform number at a step is a hash of key and step (BLAKE2b), so it depends on
no other sequence, on no order and on no state::

    key of a completion = hash(seed, index of its prompt, index of the completion)
    key of a fork       = hash(key of its parent, branch step)
    key of a trial      = hash(key of its sequence, step, number of the trial)
    uniform at step t   = the upper 53 bits of hash(key, t), as a multiple of 2^-53
    chance at place t   = the same of another hash of key and t
"""

from hashlib import blake2b

_KEY_BYTES = 16
_FLOAT_BITS = 53


def sequence_key(seed: int, prompt: int, completion: int) -> bytes:
    return blake2b(f"{seed}/{prompt}/{completion}".encode(), digest_size=_KEY_BYTES).digest()


def fork_key(parent: bytes, step: int) -> bytes:
    return blake2b(b"fork %d" % step, key=parent, digest_size=_KEY_BYTES).digest()


def trial_key(parent: bytes, step: int, number: int) -> bytes:
    return blake2b(b"trial %d %d" % (step, number), key=parent, digest_size=_KEY_BYTES).digest()


def chance(key: bytes, place: int) -> float:
    """In [0, 1), never 1: for a choice about the sequence that draws no token."""
    return _number(blake2b(b"chance %d" % place, key=key, digest_size=8).digest())


def uniform(key: bytes, step: int) -> float:
    """In [0, 1), never 1."""
    return _number(blake2b(b"token %d" % step, key=key, digest_size=8).digest())


def _number(digest: bytes) -> float:
    bits = int.from_bytes(digest, "big")
    return (bits >> (64 - _FLOAT_BITS)) * 2.0**-_FLOAT_BITS
