"""The echo plugin on nexo's Python SDK, given by PYTHONPATH: what its template does, without its wrapping of the payload.

Its publish is a notification: it never learns what became of it, and there is nothing to ack. So both forms are
this one.
"""

import asyncio

from nexo_plugin_sdk import Event, PluginAdapter

MANIFEST = """
[plugin]
id = "echo"
version = "0.1.0"
name = "Echo"
description = "What comes goes back."
min_nexo_version = ">=0.1.0"
"""


async def on_event(topic, event, broker):
    out_topic = topic.replace("plugin.outbound.", "plugin.inbound.", 1)
    await broker.publish(out_topic, Event.new(out_topic, event.source, event.payload))


asyncio.run(PluginAdapter(manifest_toml=MANIFEST, on_event=on_event).run())
