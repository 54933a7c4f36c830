// Makes events of the issues that are opened at GitHub.
import { Event, Plugin, isMain, run } from "trunkline";

export const plugin = new Plugin("{{name}}");

plugin.webhook("github", { verify: "github", secret: "{config.webhook_secret}" }, async (request) => {
  const { action, issue } = request.json();
  if (request.headers["x-github-event"] !== "issues" || action !== "opened") return;
  return Event.inbound({
    text: issue.title,
    sender: { id: issue.user.login },
    conversation: { id: issue.html_url },
  });
});

if (isMain(import.meta)) await run(plugin);
