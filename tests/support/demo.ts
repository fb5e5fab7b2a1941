/** `deno task demo` as it runs until it is interrupted. */
import { equal } from "node:assert/strict";
import { within } from "./deadline.ts";

/** A running demo. Disposing of it interrupts it. */
export interface RunningDemo extends AsyncDisposable {
  /** What it says is to be opened in a browser. */
  readonly url: URL;
}

/** Starts the demo as its task does, and waits until it has said all that it says. */
export async function startDemo(): Promise<RunningDemo> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "deploy/demo/main.ts"],
    cwd: new URL("../../", import.meta.url),
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const end = async () => {
    child.kill("SIGTERM");
    await reader.cancel();
    return (await child.status).code;
  };
  try {
    const url = await within(urlOf(reader), "the demo to print its URL", 30_000);
    return { url, [Symbol.asyncDispose]: async () => equal(await end(), 0) };
  } catch (error) {
    await end();
    throw error;
  }
}

async function urlOf(reader: ReadableStreamDefaultReader<string>): Promise<URL> {
  let text = "";
  for (;;) {
    const url = /^ {2}(http:\/\/demo\.localhost:\d+\/)$/m.exec(text)?.[1];
    if (url !== undefined && text.includes("Running until")) return new URL(url);
    const { value, done } = await reader.read();
    if (done) throw new Error(`The demo ended without a URL:\n${text}`);
    text += value;
  }
}
