// The AI SDK: generateText or streamText with a tool, up to 20 steps.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { DESCRIPTION, NAME, drive } from "./common.mjs";

async function run(job) {
  const provider = createOpenAICompatible({ name: "fortieth", baseURL: job.base_url, apiKey: "none" });
  const inputSchema = z.object({ shelf: z.string(), row: z.number().int(), kind: z.enum(["book", "map"]) });
  const options = {
    model: provider(job.model),
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
