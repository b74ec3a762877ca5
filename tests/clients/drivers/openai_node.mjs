// openai for node: its own loop, runTools, with a zod schema for the tool.
import OpenAI from "openai";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { DESCRIPTION, NAME, drive } from "./common.mjs";

async function run(job) {
  const client = new OpenAI({ baseURL: job.base_url, apiKey: "none" });
  const parameters = z.object({ shelf: z.string(), row: z.number().int(), kind: z.enum(["book", "map"]) });
  const tool = zodFunction({ name: NAME, description: DESCRIPTION, parameters, function: (got) => job.execute(got) });
  const messages = [{ role: "user", content: job.prompt }];
  const runner = client.chat.completions.runTools({ model: job.model, messages, tools: [tool], stream: job.stream });
  return await runner.finalContent();
}

await drive(run);
