// openai for node: its own loop, runTools, with a zod schema for the tool.
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { DESCRIPTION, NAME, connected, drive } from "./common.mjs";

async function run(job) {
  const { client, model } = await connected(job);
  const parameters = z.object({ shelf: z.string(), row: z.number().int(), kind: z.enum(["book", "map"]) });
  const tool = zodFunction({ name: NAME, description: DESCRIPTION, parameters, function: (got) => job.execute(got) });
  const messages = [{ role: "user", content: job.prompt }];
  const runner = client.chat.completions.runTools({ model, messages, tools: [tool], stream: job.stream });
  return await runner.finalContent();
}

await drive(run);
