"""Tools on the bare wire: one that echoes, one that reports, one that hangs until it is cancelled."""
import json, os, socket

link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
hanging, cancels = {}, 0


def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False).encode() + b"\n")


def report(call_id, done, **more):
    send(method="tool.progress", params={"call_id": call_id, "done": done, **more})


def call(request, params):
    name, call_id = params["tool"].partition(".")[2], params["call_id"]
    if name == "echo":
        send(id=request, result={"output": params["arguments"]})
    elif name == "steps":
        for done in (1, 2, 3):
            report(call_id, done, total=3, message=f"step {done}")
        send(id=request, result={"output": "done"})
    elif name == "hang":
        hanging[call_id] = request
        report(call_id, 1)
    elif name == "cancels":
        send(id=request, result={"output": {"count": cancels}})


def cancel(call_id):
    global cancels
    request = hanging.pop(call_id, None)
    if request is not None:
        cancels += 1
        data = {"code": "cancelled", "retryable": False}
        send(id=request, error={"code": -32023, "message": "cancelled", "data": data})


def take(message):
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if method == "tool.call":
        call(request, params)
    elif method == "tool.cancel":
        cancel(params["call_id"])
    elif method == "initialize":
        about = {"plugin": {"id": params["plugin"], "version": "0.1.0"}}
        send(id=request, result={"manifest": about, "protocol": "trunkline/1.0"})
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": len(hanging)})
    elif method is not None and request is not None:
        send(id=request, result={"ok": True})
        if method == "instance.activate":
            send(method="instance.status", params={"state": "ready"})
    return method


any(take(json.loads(line)) == "shutdown" for line in link.makefile("rb") if line.strip())
