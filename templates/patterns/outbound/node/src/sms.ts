// Sends SMS by Twilio.
import { Plugin, isMain, run } from "trunkline";

const API = "{config.api}/2010-04-01/Accounts/{config.sid}";

export const plugin = new Plugin<{ from: string }>("{{name}}");

plugin.outbound("sms", { rate: "100/s", ratePerTarget: "1/s", timeout: "15s" }, async (message, ctx) => {
  const twilio = ctx.http.at(API, { basic: ["{config.sid}", "{config.auth_token}"] });
  const form = { To: message.conversation.id, From: ctx.config.from, Body: message.text };
  const sent = await twilio.post("/Messages.json", { form });
  return String(sent.json().sid); // the receipt: sent, with this id
});

if (isMain(import.meta)) await run(plugin);
