// A client in JavaScript that is told by its environment where the daemon is: it publishes, and reads that.
import { Client } from "trunkline";

const client = new Client("js");
try {
  await client.connect();
  const subscription = client.subscribe("agent.js", { name: "read", start: "earliest" });
  await subscription.opened;
  await client.publish("agent.js", { n: 7 });
  const { value: delivery } = await subscription.next();
  console.log("read", delivery.payload.n);
  delivery.ack();
} catch (error) {
  console.log(error.code);
} finally {
  await client.close();
}
