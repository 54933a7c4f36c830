"""An echo plugin as one writes it by hand: asyncio streams, `json`, a task per event, a write per frame.

`ordinary_loop.py reply` returns what it answers, which goes out as one commit with the ack;
`ordinary_loop.py publish` publishes, awaits the answer, looks at its number, then acks.
"""

import asyncio
import json
import os
import socket
import sys

FRAME_BYTES_MAX = 1 << 20


async def echo(payload, publish):
    return payload


async def echo_published(payload, publish):
    seq = await publish(payload)
    if seq < 1:
        raise ValueError(f"expected a number from 1, found {seq}")


class Plugin:
    def __init__(self, reader, writer, form):
        self.reader, self.writer = reader, writer
        self.handle = self.handle_reply if form == "reply" else self.handle_publish
        self.calls = {}
        self.running = set()
        self.last_id = 0
        self.loop = asyncio.get_running_loop()

    def send(self, frame):
        self.writer.write(json.dumps(frame).encode() + b"\n")

    def request(self, method, params, then):
        self.last_id += 1
        self.calls[self.last_id] = then
        self.send({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})

    def reply(self, params, payload):
        """What the broker is told of an answer: topic and event."""
        event = params["event"]
        return {
            "topic": params["topic"] + ".reply",
            "event": {
                "id": "r:" + event["id"],
                "session_id": event.get("session_id"),
                "payload": payload,
                "correlation_id": event["id"],
                "causation_id": event["source"] + "|" + event["id"],
            },
        }

    def nak(self, delivery, reason):
        self.send({"jsonrpc": "2.0", "method": "broker.nak", "params": {"deliveries": [delivery], "reason": reason}})

    async def handle_reply(self, params):
        delivery = params["delivery"]["id"]
        try:
            payload = await echo(params["event"]["payload"], None)
        except Exception as error:
            return self.nak(delivery, str(error))
        commit = {"events": [self.reply(params, payload)], "ack": [delivery]}
        self.request("broker.commit", commit, delivery)

    async def handle_publish(self, params):
        delivery = params["delivery"]["id"]

        async def publish(payload):
            answer = self.loop.create_future()
            self.request("broker.publish", self.reply(params, payload), answer)
            return (await answer)["seq"]

        try:
            await echo_published(params["event"]["payload"], publish)
        except Exception as error:
            return self.nak(delivery, str(error))
        self.send({"jsonrpc": "2.0", "method": "broker.ack", "params": {"deliveries": [delivery]}})

    def answered(self, message):
        call = self.calls.pop(message["id"], None)
        error = message.get("error")
        if isinstance(call, str):
            if error is not None:
                self.nak(call, error["message"])
        elif call is not None and not call.done():
            if error is not None:
                call.set_exception(RuntimeError(error["message"]))
            else:
                call.set_result(message["result"])

    async def run(self):
        while line := await self.reader.readline():
            message = json.loads(line)
            method = message.get("method")
            if method == "broker.event":
                task = asyncio.create_task(self.handle(message["params"]))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
            elif method is None:
                self.answered(message)
            elif not self.control(method, message.get("id")):
                return

    def control(self, method, request):
        """Answers everything that is no event. Gives false at the end."""

        def result(value):
            self.send({"jsonrpc": "2.0", "id": request, "result": value})

        if method == "initialize":
            result({
                "manifest": {"plugin": {"id": "echo", "version": "0.1.0"}},
                "protocol": "trunkline/1.0",
                "accepts": {"events": 256, "bytes": 8 << 20},
                "subscriptions": [{"name": "work", "filters": ["plugin.tool.echo.>"]}],
            })
        elif method == "instance.activate":
            result({})
            self.send({"jsonrpc": "2.0", "method": "instance.status", "params": {"state": "ready"}})
        elif method == "ping":
            result({"loop_lag_ms": 0, "in_flight": len(self.running)})
        elif method == "shutdown":
            result({"ok": True})
            return False
        elif request is not None:
            result({})
        return True


async def main():
    link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
    link.set_inheritable(False)
    reader, writer = await asyncio.open_unix_connection(sock=link, limit=2 * FRAME_BYTES_MAX)
    await Plugin(reader, writer, sys.argv[1]).run()
    await writer.drain()


asyncio.run(main())
