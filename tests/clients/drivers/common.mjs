// What the drivers for node share: jobs come as lines of JSON, and what came of each goes out as one.
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

export const NAME = "lookup_code";
export const DESCRIPTION = "Looks up the code of a place in the archive.";

// Runs each job by `run`, which returns the client's last words. `job.execute` is the tool itself.
export async function drive(run) {
  const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
  console.log = console.error;
  say({ ready: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    const executions = [];
    job.execute = (got) => {
      executions.push(got);
      if (equal(got, job.recorded)) return `CODE ${job.token}`;
      return job.steps.find(([due]) => equal(got, due))?.[1] ?? "There is no such place.";
    };
    let answer = "";
    let error = "";
    try {
      answer = String(await run(job));
    } catch (failure) {
      error = `${failure?.name}: ${failure?.message}`;
    }
    say({ id: job.id, answer, executions, error });
  }
}

// What the lines of `fortieth connect` export. They lie beside this script, where their modules are looked up.
export async function connected(job) {
  const script = path.join(import.meta.dirname, `connected-${job.id}.mjs`);
  writeFileSync(script, job.code);
  try {
    return await import(pathToFileURL(script));
  } finally {
    rmSync(script);
  }
}

function equal(got, due) {
  const names = Object.keys(due);
  return Object.keys(got ?? {}).length === names.length && names.every((name) => got[name] === due[name]);
}
