/**
 * `deno task bench`: relay and agent beside the target alone and beside peers, in one run on one
 * machine; `deno task bench agents`: many agents on one relay; `deno task bench sign-in`: requests and
 * memory of people who have signed in. See `--help`, and docs/benchmarks.md for the method.
 */
import { benchAgents } from "./agents.ts";
import { HELP, parseOptions, UsageError } from "./options.ts";
import { formatReport, reportAsJson } from "./report.ts";
import { run, selectMeasurements } from "./run.ts";
import { benchSignIn } from "./sign_in.ts";

/** Exit code of a program that was interrupted (128 + SIGINT), as shells have it. */
const EXIT_INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new Error("Interrupted"));
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);
  try {
    return await bench(args, interrupted.signal);
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED;
    if (!(error instanceof Error)) throw error;
    console.error(`bench: ${error.message}`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", interrupt);
  }
}

async function bench(args: readonly string[], signal: AbortSignal): Promise<number> {
  if (args[0] === "sign-in") return await benchSignIn(args.slice(1), signal);
  if (args[0] === "agents") return await benchAgents(args.slice(1), signal);
  const options = parseOptions(args);
  if (options.isHelp) {
    console.log(HELP);
    return 0;
  }
  if (options.isList) {
    console.log(selectMeasurements(options).map(({ id }) => id).join("\n"));
    return 0;
  }
  const report = await run(options, signal, (line) => console.error(`bench: ${line}`));
  console.log(
    options.isJson ? JSON.stringify(reportAsJson(report), null, 2) : formatReport(report),
  );
  return report.results.hasFailures ? 1 : 0;
}

Deno.exit(await main(Deno.args));
