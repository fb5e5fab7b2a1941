/** `deno task demo`: the first thing that anybody runs. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { Program } from "../../deploy/demo/program.ts";
import { within } from "../support/deadline.ts";
import { startDemo } from "../support/demo.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";

/** Runs the demo as its task does, to its end. */
async function runDemo(...args: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "deploy/demo/main.ts", ...args],
    cwd: new URL("../../", import.meta.url),
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  try {
    const { code, stdout, stderr } = await within(output, "the demo to end", 30_000);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    child.kill("SIGTERM");
    await output;
    throw error;
  }
}

Deno.test("the demo shows a request whose credential was replaced", async () => {
  const { code, stdout, stderr } = await runDemo("--once");
  deepEqual([code, stderr], [0, ""]);
  match(stdout, /the target got {2}Authorization: Bearer the-agents-own-token-from-its-disk\n/);
  match(stdout, /answer {10}200; /);
});

Deno.test("the demo's URL opens the sample target by its hostname until the demo ends", async () => {
  await using demo = await startDemo();
  // Programs other than browsers may not resolve names below localhost.
  await using connection = await openConnection(`127.0.0.1:${demo.url.port}`);
  const fields = [`Host: ${demo.url.host}`, "Accept: text/html", "Connection: close", "", ""];
  await connection.write(["GET / HTTP/1.1", ...fields].join("\r\n"));
  const page = await within(readResponse(connection.reader), "the page");
  equal(statusOf(page), 200);
  match(new TextDecoder().decode(page.body), /This page came through culvert/);
});

Deno.test("a program that Ctrl-C has ended already is no error when the demo stops", async () => {
  await using program = Program.start("agent.ts", ["--version"]);
  await rejects(program.logged("Connected to relay"), /A program did not start/);
});

Deno.test("a demo that can't start says why at once", async (t) => {
  const target = ["--target", "127.0.0.1:1", "--once"];
  const cases = [
    [["--onc"], 2, /^demo: Unknown option '--onc'; run deno task demo --help\n$/],
    [["--target", "api"], 2, /^demo: Option --target must be HOST:PORT .* but is "api"; run .*\n$/],
    [[...target, "--ca-cert", "none.crt"], 1, /\nagent: Option --ca-cert names "none.crt", which/],
  ] as const;
  for (const [args, code, says] of cases) {
    await t.step(args.join(" "), async () => {
      const ended = await runDemo(...args);
      match(ended.stderr, says);
      equal(ended.code, code);
    });
  }
});
