"""An echo channel on the bare wire: what is sent to it comes back in. Standard library only."""
import hashlib, itertools, json, os, socket, time

link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
numbers = itertools.count(1)
commits = {}  # number of a commit that is not answered yet -> the delivery that it acks

def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False).encode() + b"\n")

def refuse(request, number, code, text):
    send(id=request, error={"code": number, "message": text, "data": {"code": code, "retryable": False}})

def nak(delivery, kind, text):
    send(method="broker.nak", params={"deliveries": [delivery], "error": {"type": kind, "message": text}})

def echo(topic, event, delivery):
    """Commits answer, receipt and ack together: all of them happen, or none."""
    place, cause = topic.removeprefix("plugin.outbound."), f"{event['source']}|{event['id']}"
    def made(name, payload):  # its id comes out the same if the handling is repeated: no second event
        return {"topic": f"plugin.{name}.{place}", "on_conflict": "keep_first", "event": {
            "id": hashlib.sha256(f"{name}|{cause}".encode()).hexdigest(), "payload": payload,
            "session_id": event.get("session_id"), "correlation_id": event["id"], "causation_id": cause}}
    answer = {**event["payload"], "raw": {"echo": {"received_us": time.time_ns() // 1000}}}
    events = [made("inbound", answer), made("delivery", {"state": "sent"})]
    number = next(numbers)
    commits[number] = delivery
    send(id=number, method="broker.commit", params={"events": events, "ack": [delivery]})

def take(message):
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if method == "broker.event" and "delivery" in params:
        try:
            echo(params["topic"], params["event"], params["delivery"]["id"])
        except Exception as error:
            nak(params["delivery"]["id"], type(error).__name__, str(error))
    elif method is None and (delivery := commits.pop(request, None)) and "error" in message:
        nak(delivery, "refused", message["error"]["message"])
    elif method == "initialize":
        send(id=request, result={"manifest": {"plugin": {"id": params["plugin"], "version": "0.1.0"}},
                                 "protocol": "trunkline/1.0", "accepts": {"events": 64, "bytes": 1 << 20}})
    elif method == "broker.gap":
        send(method="broker.ack", params={"deliveries": [params["delivery"]["id"]]})
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": len(commits)})
    elif method in ("instance.activate", "instance.deactivate", "instance.pause", "instance.resume", "shutdown"):
        send(id=request, result={"ok": True})
        if method == "instance.activate":
            send(method="instance.status", params={"state": "ready"})
    elif method is not None and request is not None:
        refuse(request, -32601, "not_implemented", f"not built here: {method}")
    return method != "shutdown"

for line in link.makefile("rb"):
    try:
        if line.strip() and not take(json.loads(line)):
            break
    except json.JSONDecodeError as error:
        refuse(None, -32700, "invalid_frame", f"expected a frame of JSON: {error}")
