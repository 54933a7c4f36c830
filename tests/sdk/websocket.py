"""A client in Python that is told by its environment where the daemon is: it publishes, and reads that."""

import asyncio

from trunkline import Client, TrunklineError


async def main() -> None:
    try:
        async with Client("py") as client:
            subscription = await client.subscribe("agent.py", name="read", start="earliest")
            await client.publish("agent.py", {"n": 7})
            delivery = await subscription.next()
            print("read", delivery.payload["n"])
            delivery.ack()
    except TrunklineError as error:
        print(error.code)


asyncio.run(main())
