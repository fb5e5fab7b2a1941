/** A short run of `deno task chaos`, which has all its checks in itself. */
import { equal } from "node:assert/strict";

const seconds = 20;

Deno.test("relay, agents and targets that are killed and frozen cause clean failures only", async () => {
  const script = new URL("../bench/chaos.ts", import.meta.url).pathname;
  const options = ["--minutes", `${seconds / 60}`, "--callers", "4", "--max-freeze", "2"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, ...options, "--every", "2"],
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  const report = decoder.decode(stdout);
  // The seed, what happened, and each answer that was lost or wrong.
  equal(code, 0, `${decoder.decode(stderr)}\n${report}`);
  console.log(report.trimEnd().split("\n").at(-1));
});
