/** Checks that build on each other, and the report of them: one line each. */
import { messageOf } from "../message_of.ts";

/** One thing that must work. */
export interface Check {
  /** Two or three words, unique in the report. */
  readonly name: string;
  /**
   * Tries it.
   *
   * @returns what was found, for the line
   * @throws {Error} whose message says what is wrong and what to do about it, without a credential
   */
  run(signal: AbortSignal): Promise<string>;
  /** Milliseconds; {@link defaultTimeoutMs} unless given. */
  readonly timeoutMs?: number;
}

/** What became of a check; `skip`: one before it has failed. */
export interface CheckResult {
  readonly name: string;
  readonly state: "ok" | "FAIL" | "skip";
  readonly detail: string;
}

const defaultTimeoutMs = 5_000;

/** Runs checks in their order, up to the first that fails. */
export async function runChecks(checks: readonly Check[]): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  let failed: string | undefined;
  for (const check of checks) {
    const { name } = check;
    if (failed !== undefined) {
      results.push({ name, state: "skip", detail: `not tried, because ${failed} failed` });
      continue;
    }
    const result = await runCheck(check);
    results.push(result);
    if (result.state === "FAIL") failed = name;
  }
  return results;
}

async function runCheck({ name, run, timeoutMs = defaultTimeoutMs }: Check): Promise<CheckResult> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    const error = new Error(`no answer within ${timeoutMs / 1000} s; ${timeoutAdvice}`);
    timeout.abort(error);
    // For what can't be aborted, such as a look-up by the system.
    reject(error);
  }, timeoutMs);
  try {
    return { name, state: "ok", detail: await Promise.race([run(timeout.signal), late]) };
  } catch (error) {
    return { name, state: "FAIL", detail: messageOf(error) };
  } finally {
    clearTimeout(timer);
  }
}

const timeoutAdvice = "look for a firewall that drops packets, or a wrong address";

/** Writes results as lines, and says by an exit code whether all is well. */
export function reportOf(results: readonly CheckResult[]): { text: string; exitCode: 0 | 1 } {
  const width = Math.max(...results.map(({ name }) => name.length));
  const lines = results.map(({ name, state, detail }) =>
    // What a peer said must not begin a line or steer a terminal.
    `${state.padEnd(4)}  ${name.padEnd(width)}  ${
      detail.replaceAll(/\s+/g, " ").replaceAll(unprintable, "?")
    }\n`
  );
  const isWell = results.every(({ state }) => state === "ok");
  return { text: lines.join(""), exitCode: isWell ? 0 : 1 };
}

const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
