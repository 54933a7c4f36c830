// Drafts invoices at Stripe, as a tool.
import { Plugin, isMain, run } from "trunkline";
import { z } from "zod";

export const plugin = new Plugin("{{name}}");

const NewInvoice = z.object({
  customer: z.string().describe("Customer id, cus_…"),
  days_until_due: z.int().min(1).max(90),
});
const Invoice = z.object({ id: z.string(), status: z.string() });

plugin.tool(
  "create_invoice",
  {
    description: "Draft an invoice for a customer.",
    input: NewInvoice,
    output: Invoice,
    timeout: "20s",
    concurrency: 8,
    idempotent: true,
  },
  async (args, ctx) => {
    const stripe = ctx.http.at("{config.api}", { bearer: "{config.api_key}" });
    const options = { form: { ...args }, idempotencyKey: ctx.idempotencyKey };
    const { id, status } = (await stripe.post("/invoices", options)).json();
    return { id, status };
  },
);

if (isMain(import.meta)) await run(plugin);
