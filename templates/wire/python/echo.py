"""An echo channel on the bare wire: what is sent to it comes back in. Standard library only."""
import hashlib, json, os, socket, time
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
commits = set()  # deliveries whose commit is not answered yet; its request has the delivery's id
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False).encode() + b"\n")

def refuse(request, number, code, text):
    send(id=request, error={"code": number, "message": text, "data": {"code": code, "retryable": False}})

def nak(delivery, kind, text):
    send(method="broker.nak", params={"deliveries": [delivery], "error": {"type": kind, "message": text}})

def echo(topic, event, delivery):  # one commit of answer, receipt and ack: all of them happen, or none
    place, cause = topic.removeprefix("plugin.outbound."), f"{event['source']}|{event['id']}"
    def made(name, payload):  # its id comes out the same if the handling is repeated: no second event
        return {"topic": f"plugin.{name}.{place}", "on_conflict": "keep_first", "event": {
            "id": hashlib.sha256(f"{name}|{cause}".encode()).hexdigest(), "payload": payload,
            "session_id": event.get("session_id"), "correlation_id": event["id"], "causation_id": cause}}
    said = p if isinstance(p := event["payload"], dict) else {"value": p}
    answer = {**said, "raw": {"echo": {"received_us": time.time_ns() // 1000}}}
    events = [made("inbound", answer), made("delivery", {"state": "sent"})]
    commits.add(delivery)
    send(id=delivery, method="broker.commit", params={"events": events, "ack": [delivery]})

def take(line):
    if len(line) > 1 << 20:
        return refuse(None, -32003, "frame_too_large", f"expected at most 1 MiB, found {len(line)} bytes")
    try:
        message = dict(json.loads(line.decode()))
    except (TypeError, ValueError) as error:
        return refuse(None, -32700, "invalid_frame", f"expected a frame of JSON: {error}")
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if method == "broker.event" and "delivery" in params:
        try:
            echo(params["topic"], params["event"], params["delivery"]["id"])
        except Exception as error:
            nak(params["delivery"]["id"], type(error).__name__, str(error))
    elif method is None and request in commits:
        commits.remove(request)
        if "error" in message:
            nak(request, "refused", message["error"]["message"])
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
    return method

frames = filter(bytes.strip, link.makefile("rb"))  # empty lines are no frames
any(take(line) == "shutdown" for line in frames)  # until then, or until the link ends
