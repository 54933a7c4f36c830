"""The plugin of the webhook suites, on the bare wire: notes every delivery in a file, waits if it is told to, acks.

Its config: `journal`, the file; `hold_ms`, how long it takes for each; `answer`, what it answers a webhook
with; `declares`, a file with what it declares in its handshake.
"""

import json
import os
import socket
import time

link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
config = {}


def send(message):
    link.sendall((json.dumps({"jsonrpc": "2.0", **message}) + "\n").encode())


def handle(params):
    event, delivery = params["event"], params["delivery"]
    line = json.dumps({
        "id": event["id"], "topic": params["topic"], "redelivered": delivery["redelivered"],
        "at_ms": round(time.time() * 1000), "payload": event["payload"],
    })
    with open(config["journal"], "a") as journal:
        journal.write(line + "\n")
    time.sleep(int(config.get("hold_ms") or 0) / 1000)
    if config.get("answer"):
        respond = {"status": 201, "headers": {"content-type": "text/plain"}, "body": config["answer"]}
        send({"id": f"c-{delivery['id']}", "method": "broker.commit", "params": {"ack": [delivery["id"]], "respond": respond}})
    else:
        send({"method": "broker.ack", "params": {"deliveries": [delivery["id"]]}})


def answer(method, params):
    if method == "initialize":
        config.update(params["config"])
        config["hooks_url"] = params.get("hooks_url")
        with open(config["journal"], "a") as journal:
            journal.write(json.dumps({"hooks_url": config["hooks_url"]}) + "\n")
        declares = {}
        if config.get("declares"):
            with open(config["declares"]) as text:
                declares = json.load(text)
        return {
            "declares": declares,
            "manifest": {"plugin": {"id": params["plugin"], "version": "0.1.0"}},
            "server_version": "hooks",
            "protocol": "trunkline/1.0",
            "accepts": {"events": 1, "bytes": 8388608},
        }
    return {"ok": True} if method == "shutdown" else {}


for line in link.makefile("rb"):
    message = json.loads(line)
    method = message.get("method")
    if method == "broker.event":
        handle(message["params"])
    elif method and "id" in message:
        send({"id": message["id"], "result": answer(method, message.get("params") or {})})
        if method == "instance.activate":
            send({"method": "instance.status", "params": {"state": "ready"}})
        if method == "shutdown":
            break
