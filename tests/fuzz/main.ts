/** `deno task fuzz`: what reads peers' bytes, under whatever bytes. See `--help`. */
import { parseArgs } from "node:util";
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

const HELP = `Usage: deno task fuzz [options]

Feeds generated input to what reads peers' bytes: the frame decoder, the reader of heads, the scanner
of chunks, what proxies and TLS clients send first, sessions, sign-in, name servers' answers, and
the webhook's reviews. Targets take turns of 10 s; each round has the next seed.

Options:
  --minutes N          How long it runs (default 10; fractions are fine)
  --seed N             Seed of the first round (default: random, printed)
  --target NAME        Only this target; may be repeated
  --help               Print this text

Targets: TARGETS

A finding is printed with its target, its seed and the smallest input that shows it.
Exit code: 0 when nothing was found, 1 when something was, 2 for a wrong option.`;

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
const names = targets.map(({ name }) => name);

class UsageError extends Error {}

function readOptions(args: string[]) {
  const options = {
    minutes: { type: "string", default: "10" },
    seed: { type: "string" },
    target: { type: "string", multiple: true },
    help: { type: "boolean" },
  } as const;
  let values;
  try {
    ({ values } = parseArgs({ args, options }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new UsageError(`--minutes ${values.minutes}: must be a number over 0`);
  const seed = values.seed === undefined ? randomSeed() : Number(values.seed);
  if (seed !== (seed | 0)) {
    throw new UsageError(`--seed ${values.seed}: must be a whole number of 32 bits`);
  }
  for (const name of values.target ?? []) {
    if (!names.includes(name)) {
      throw new UsageError(`--target ${name}: must be one of ${names.join(", ")}`);
    }
  }
  return { minutes, seed, wanted: values.target ?? names, help: values.help };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Int32Array(1))[0]!;
}

async function main(args: string[]): Promise<number> {
  const { minutes, seed, wanted, help } = readOptions(args);
  if (help) {
    console.log(HELP.replace("TARGETS", names.join(", ")));
    return 0;
  }
  console.error(`Fuzzing for ${minutes} minutes with seed ${seed}`);
  const { runs, finding } = await fuzz({
    targets: targets.filter(({ name }) => wanted.includes(name)),
    seed,
    minutes,
    report: (line) => console.error(line),
  });
  for (const [name, count] of runs) console.log(`${name}: ${count} inputs`);
  if (!finding) {
    console.log(`Nothing found with seed ${seed}`);
    return 0;
  }
  const { target } = finding;
  console.log(`FOUND in ${target.name}: it does not hold that ${target.claim}`);
  console.log(finding.report);
  console.log(`Again: deno task fuzz --target ${target.name} --seed ${finding.seed}`);
  return 1;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`fuzz: ${error.message}`);
  Deno.exit(2);
}
