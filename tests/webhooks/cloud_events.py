"""Writes and reads CloudEvents with the package `cloudevents`: a list of asks on stdin, a list of answers on stdout.

An ask is {"do": "write", "mode": "structured" | "binary" | "batch", "events"}, answered with {"headers", "body"}, or
{"do": "read", "headers", "body"}, answered with a list of events. An event is {"attributes", "data" | "data_base64"};
bodies are in base64. The package has no batches: their array is made and taken apart here, each event is its own.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import datetime, timezone
from typing import Any

from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_binary,
    from_structured,
    to_binary,
    to_structured,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

Json = dict[str, Any]
FORMAT = JSONFormat()
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


def made(event: Json) -> CloudEvent:
    attributes = dict(event["attributes"])
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"])
    data = event.get("data")
    if "data_base64" in event:
        data = base64.b64decode(event["data_base64"])
    return CloudEvent(attributes, data)


def shown(event: Any) -> Json:
    def text(value: Any) -> str:
        if isinstance(value, datetime):
            utc = value.astimezone(timezone.utc)
            return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03}Z"
        return str(value).lower() if isinstance(value, bool) else str(value)

    attributes = {name: text(value) for name, value in event.get_attributes().items()}
    data = event.get_data()
    if isinstance(data, (bytes, bytearray)):
        return {"attributes": attributes, "data_base64": base64.b64encode(data).decode()}
    return {"attributes": attributes, "data": data}


def write(ask: Json) -> Json:
    events = [made(event) for event in ask["events"]]
    if ask["mode"] == "batch":
        bodies = [to_structured(event, FORMAT).body for event in events]
        message = HTTPMessage({"content-type": BATCH}, b"[" + b",".join(bodies) + b"]")
    else:
        writer = to_binary if ask["mode"] == "binary" else to_structured
        message = writer(events[0], FORMAT)
    return {"headers": message.headers, "body": base64.b64encode(message.body).decode()}


def read(ask: Json) -> list[Json]:
    body = base64.b64decode(ask["body"])
    kind = ask["headers"].get("content-type", "")
    if kind.startswith(BATCH):
        bodies = [json.dumps(one).encode() for one in json.loads(body)]
        messages = [HTTPMessage({"content-type": STRUCTURED}, body) for body in bodies]
    else:
        messages = [HTTPMessage(ask["headers"], body)]
    reader = from_structured if kind.startswith("application/cloudevents") else from_binary
    return [shown(reader(message, FORMAT)) for message in messages]


asks: list[Json] = json.load(sys.stdin)
json.dump([(write if ask["do"] == "write" else read)(ask) for ask in asks], sys.stdout)
