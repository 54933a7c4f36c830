"""The human of the IRC suite: an independent client that says what it is told and writes down what it sees.

Arguments: port, nickname, channels separated by commas. A line `{"say": target, "text": text}` on
stdin is said; every fact is a JSON line on stdout: `joined` (all channels, after each connection),
`seen` (somebody's message), `lost` (the connection). It connects again by itself.
"""

import json
import queue
import sys
import threading
import time

import irc.client
from jaraco.stream import buffer

LOOK_S = 0.02


def tell(**fact):
    """Writes a fact."""
    fact["at"] = time.monotonic_ns() // 1_000_000
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


class Human:
    """One person on one server."""

    def __init__(self, port: int, nick: str, channels: list[str]) -> None:
        self.port = port
        self.nick = nick
        self.channels = channels
        self.missing: set[str] = set()
        self.is_lost = True
        self.orders: queue.Queue[dict | None] = queue.Queue()
        self.reactor = irc.client.Reactor()
        self.server = self.reactor.server()
        self.server.buffer_class = buffer.LenientDecodingLineBuffer
        for name in ("welcome", "endofnames", "pubmsg", "privmsg", "disconnect"):
            self.reactor.add_global_handler(name, getattr(self, "on_" + name))

    def on_welcome(self, server, event) -> None:
        """Joins every channel."""
        self.missing = set(self.channels)
        for name in self.channels:
            server.join(name)

    def on_endofnames(self, server, event) -> None:
        """Tells when the last channel is joined."""
        if event.arguments[0] in self.missing:
            self.missing.discard(event.arguments[0])
            if not self.missing:
                tell(fact="joined")

    def on_pubmsg(self, server, event) -> None:
        """Tells what was said."""
        tell(fact="seen", nick=event.source.nick, target=event.target, text=event.arguments[0])

    on_privmsg = on_pubmsg

    def on_disconnect(self, server, event) -> None:
        """Tells that the connection is lost."""
        self.is_lost = True
        tell(fact="lost")

    def obey(self, order: dict) -> None:
        """Says a line, if there is a server to say it to."""
        if self.is_lost or self.missing:
            return
        try:
            self.server.privmsg(order["say"], order["text"])
        except irc.client.ServerNotConnectedError:
            self.is_lost = True

    def connect(self) -> None:
        """Tries once."""
        try:
            self.server.connect("127.0.0.1", self.port, self.nick)
            self.is_lost = False
        except irc.client.ServerConnectionError:
            time.sleep(LOOK_S)

    def read_orders(self) -> None:
        """Queues the lines of stdin; its end is the end of the human."""
        for line in sys.stdin:
            self.orders.put(json.loads(line))
        self.orders.put(None)

    def live(self) -> None:
        """Goes on until stdin ends."""
        threading.Thread(target=self.read_orders, daemon=True).start()
        while True:
            if self.is_lost:
                self.connect()
            self.reactor.process_once(LOOK_S)
            while not self.orders.empty():
                order = self.orders.get()
                if order is None:
                    return
                self.obey(order)


if __name__ == "__main__":
    Human(int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")).live()
