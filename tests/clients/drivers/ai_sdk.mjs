// The AI SDK: generateText or streamText with a tool, up to 20 steps.
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { DESCRIPTION, NAME, connected, drive } from "./common.mjs";

async function run(job) {
  const { model } = await connected(job);
  const inputSchema = z.object({ shelf: z.string(), row: z.number().int(), kind: z.enum(["book", "map"]) });
  const options = {
    model,
    prompt: job.prompt,
    tools: { [NAME]: tool({ description: DESCRIPTION, inputSchema, execute: async (got) => job.execute(got) }) },
    stopWhen: stepCountIs(20),
  };
  if (!job.stream) return (await generateText(options)).text;
  // an error comes as a part of the stream; whoever reads only the text would not see it
  let failure;
  const result = streamText({ ...options, onError: ({ error }) => { failure = error; } });
  await result.consumeStream();
  if (failure) throw failure;
  return await result.text;
}

await drive(run);
