/**
 * Standard error is a pipe, and nobody reads it: `relay 2>&1 | less`, or a log shipper that hangs.
 * The program used to sleep in its write once the pipe was full, with all that it carried.
 */
import { equal, ok } from "node:assert/strict";
import { within } from "../support/deadline.ts";

const token = "a-token-of-24-characters";

/** A relay whose standard error, or standard output, is read only when the test says so. */
class UnreadRelay implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly internal: string;

  private constructor(internal: string, args: readonly string[]) {
    this.internal = internal;
    this.child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "relay.ts", "--addr", "127.0.0.1:0", "--internal-addr", internal],
        ...["--clusters", JSON.stringify([{ id: "dev", token, targetAddr: "127.0.0.1:80" }])],
        ...["--log-format", "json", ...args],
      ],
      cwd: new URL("../../", import.meta.url),
      env: { HOSTS: "*" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  static async start(...args: string[]): Promise<UnreadRelay> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    // Its log, which has the port that it bound, is not to be read.
    listener.close();
    const relay = new UnreadRelay(`127.0.0.1:${port}`, args);
    await within(
      (async () => {
        while (await relay.ask("/readyz").catch(() => 0) === 0) {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })(),
      "the relay to listen",
      60_000,
    );
    return relay;
  }

  async ask(path: string): Promise<number> {
    const answer = await fetch(`http://${this.internal}${path}`);
    await answer.body?.cancel();
    return answer.status;
  }

  async metric(name: string): Promise<number> {
    const answer = await fetch(`http://${this.internal}/metrics`);
    const value = new RegExp(`^${name} (\\d+)$`, "m").exec(await answer.text())?.[1];
    return Number(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended by itself.
    }
    await this.child.status;
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (!stream.locked) await stream.cancel();
    }
  }
}

/** Causes lines of 2 KiB until `isEnough`. */
async function fillLog(relay: UnreadRelay, isEnough: () => Promise<boolean>): Promise<void> {
  const path = `/tunnel/dev/${"x".repeat(2_000)}`;
  while (!await isEnough()) {
    const statuses = await Promise.all(Array.from({ length: 50 }, () => relay.ask(path)));
    ok(statuses.every((status) => status === 502), String(statuses));
  }
}

Deno.test("a relay whose log nobody reads goes on, and says later what was lost", async () => {
  await using relay = await UnreadRelay.start();
  const lost = () => relay.metric("culvert_log_lines_lost_total");
  await within(
    fillLog(relay, async () => await lost() > 0),
    "answers while nobody reads the log",
    120_000,
  );
  const reader = relay.child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const told = () =>
    [...text.matchAll(/^.*"Lost log lines that could not be written".*\n/mg)]
      .reduce((sum, [line]) => sum + JSON.parse(line).lines, 0);
  await within(
    (async () => {
      while (told() === 0 || told() !== await lost()) text += (await reader.read()).value ?? "";
    })(),
    "lines that say how many were lost",
    60_000,
  );
  await reader.cancel();
});

Deno.test("a relay whose log nobody reads still ends when it is asked to", async () => {
  await using relay = await UnreadRelay.start("--drain-delay", "0s", "--grace", "1s");
  let asked = 0;
  await within(fillLog(relay, () => Promise.resolve(++asked > 3)), "the answers", 60_000);
  relay.child.kill("SIGTERM");
  const { code } = await within(relay.child.status, "the relay's end", 60_000);
  equal(code, 0);
});

Deno.test("a relay whose audit log on standard output nobody reads refuses requests, and goes on", async () => {
  await using relay = await UnreadRelay.start("--audit-log", "-", "--log-level", "error");
  const path = `/tunnel/dev/${"x".repeat(2_000)}`;
  await within(
    (async () => {
      // Refused for want of a record, instead of for want of an agent.
      while (await relay.ask(path) !== 503);
    })(),
    "a refusal",
    120_000,
  );
  ok(await relay.metric("culvert_audit_failures_total") > 0);
});
