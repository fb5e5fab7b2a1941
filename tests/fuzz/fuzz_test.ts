/** That the fuzzer finds what is there, says how to see it again, and nothing else. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { admissionTargets } from "./admission.ts";
import { bodyTargets } from "./bodies.ts";
import { clientHelloTargets } from "./client_hellos.ts";
import { dnsAnswerTargets } from "./dns_answers.ts";
import { frameTargets } from "./frames.ts";
import { fuzz } from "./fuzz.ts";
import { headTargets } from "./heads.ts";
import { pathTargets } from "./paths.ts";
import { proxyTargets } from "./proxies.ts";
import { announcementTargets } from "./announcements.ts";
import { sessionTargets } from "./sessions.ts";
import { signInTargets } from "./sign_in.ts";
import type { FuzzTarget } from "./target.ts";

const broken: FuzzTarget = {
  name: "broken",
  claim: "numbers are small",
  property: () => fc.property(fc.nat(10_000), (number) => number < 9_000),
};
const sound: FuzzTarget = {
  name: "sound",
  claim: "numbers are numbers",
  property: () => fc.property(fc.nat(), (number) => Number.isInteger(number)),
};

Deno.test("fuzz tries every target and finds nothing in this revision", async () => {
  const targets = [
    ...frameTargets,
    ...headTargets,
    ...bodyTargets,
    ...proxyTargets,
    ...pathTargets,
    ...clientHelloTargets,
    ...announcementTargets,
    ...sessionTargets,
    ...signInTargets,
    ...dnsAnswerTargets,
    ...admissionTargets,
  ];
  const lines: string[] = [];
  const report = (line: string) => void lines.push(line);
  const { runs, finding } = await fuzz({ targets, seed: 7, minutes: 0.2, turnMs: 500, report });
  equal(finding, undefined);
  for (const { name } of targets) ok((runs.get(name) ?? 0) > 0, name);
  match(lines[0]!, /^seed 7: frames \d+, /);
});

Deno.test("fuzz stops at a finding, with the seed that shows it again and the smallest input", async () => {
  const plan = { minutes: 1, turnMs: 200, report() {} };
  const first = await fuzz({ ...plan, targets: [sound, broken], seed: -5 });
  equal(first.finding?.target, broken);
  match(first.finding!.report, /Counterexample: \[9000\]/);
  const again = await fuzz({ ...plan, targets: [broken], seed: first.finding!.seed });
  deepEqual(again.finding?.report, first.finding!.report);
});

async function run(...args: string[]): Promise<[number, string, string]> {
  const script = new URL("main.ts", import.meta.url).pathname;
  const command = new Deno.Command(Deno.execPath(), { args: ["run", "-A", script, ...args] });
  const { code, stdout, stderr } = await command.output();
  return [code, new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)];
}

Deno.test("fuzz prints the seed that it was given or has drawn", async () => {
  const [code, out, log] = await run("--minutes", "0.005", "--seed", "42", "--target", "frames");
  equal(code, 0);
  match(log, /^Fuzzing for 0.005 minutes with seed 42\n/);
  match(out, /^frames: \d+ inputs\nNothing found with seed 42\n$/);
  const [, , drawn] = await run("--minutes", "0.005", "--target", "chunks");
  match(drawn, /with seed -?\d+\n/);
});

Deno.test("fuzz refuses a wrong option with 2 and says what would be right", async () => {
  const cases: [string[], RegExp][] = [
    [["--minutes", "0"], /^fuzz: --minutes 0: must be a number over 0\n$/],
    [["--minutes", "x"], /^fuzz: --minutes x: must be a number over 0\n$/],
    [["--seed", "1.5"], /^fuzz: --seed 1.5: must be a whole number of 32 bits\n$/],
    [["--target", "none"], /^fuzz: --target none: must be one of frames, /],
    [["--what"], /^fuzz: .*--what/],
  ];
  for (const [args, message] of cases) {
    const [code, out, log] = await run(...args);
    deepEqual([code, out], [2, ""], args.join(" "));
    match(log, message);
  }
});
