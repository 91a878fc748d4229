"""Two hosts on one machine: network namespaces, joined by a cable."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Host:
    """A namespace, its end of the cable, and its address there."""

    namespace: str
    interface: str
    address: str

    def command(self, words: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def lose_power(self) -> None:
        """The cable is dead first: nobody is told of the processes that die with it."""
        self.link("down")
        self.kill()

    def link(self, state: str) -> None:
        """``up`` or ``down``."""
        _ip("-n", self.namespace, "link", "set", self.interface, state)

    def kill(self) -> None:
        """End everything that runs there; the system closes its connections, as it does after a crash."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespace], check=True, capture_output=True, text=True
        )
        for number in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


def why_not() -> str | None:
    """Why namespaces cannot be made here, or None."""
    name = f"rlent-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except FileNotFoundError:
        return "there is no command ip (Debian's package iproute2)"
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted: {error.stderr.strip()}"
    _ip("netns", "del", name)
    return None


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    number = os.getpid()
    hosts = [
        Host(
            namespace=f"rlent-{number}-{end}",
            interface=f"rl{number}{end}",
            address=f"10.77.0.{end}",
        )
        for end in (1, 2)
    ]
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
        cable = [hosts[0].interface, "type", "veth", "peer", "name", hosts[1].interface]
        _ip("link", "add", *cable)
        for host in hosts:
            inside = ("-n", host.namespace)
            _ip("link", "set", host.interface, "netns", host.namespace)
            _ip(*inside, "addr", "add", f"{host.address}/24", "dev", host.interface)
            host.link("up")
            _ip(*inside, "link", "set", "lo", "up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            with suppress(subprocess.CalledProcessError):
                host.kill()
                _ip("netns", "del", host.namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
