/**
 * Refusals that anybody on the network can cause, before any credential. Each was a line of the log
 * once, so that a loop of curl could fill a disk.
 */
import { equal, ok } from "node:assert/strict";
import { freeLines } from "../../lib/rate_limited_log.ts";
import { loopbackFiles, withFolder } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { type LogLine, type RunningRelay, startRelay } from "../support/programs.ts";
import { ConnectionGoneError, openConnection } from "../support/raw_connection.ts";

const storm = 60;
const token = "a-token-of-24-characters";
const clusters = [{ id: "dev", token, targetAddr: "127.0.0.1:1" }];

interface Refusal {
  readonly what: string;
  /** What the relay is sent, each time on a connection of its own. */
  readonly sent: string;
  readonly listener: "publicAddress" | "internalAddress";
  /** What its log lines begin with. */
  readonly messages: readonly string[];
  readonly metric: string;
}

const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

const refusals: readonly Refusal[] = [
  {
    what: "heads that are not HTTP, at the public listener",
    sent: "not HTTP\r\n\r\n",
    listener: "publicAddress",
    messages: ["Refused a request"],
    metric: 'proxy_refused_requests_total{reason="400"}',
  },
  {
    what: "TLS handshakes with what is no TLS",
    sent: request("/"),
    listener: "publicAddress",
    messages: ["TLS handshake failed"],
    metric: 'culvert_tls_handshake_failures_total{reason="not_tls"}',
  },
  {
    what: "heads that are not HTTP, at the internal listener",
    sent: "GET  / HTTP/1.1\r\n\r\n",
    listener: "internalAddress",
    messages: ["Refused a request"],
    metric: 'proxy_refused_requests_total{reason="400"}',
  },
  {
    what: "callers without a credential",
    sent: request("/tunnel/made-up/x"),
    listener: "internalAddress",
    messages: ["Refused a caller", "Request"],
    metric: 'culvert_callers_denied_total{reason="missing"}',
  },
];

async function cause(relay: RunningRelay, { listener, sent }: Refusal): Promise<void> {
  await using connection = await openConnection(relay[listener]);
  try {
    await connection.write(sent);
    await connection.reader.readSome();
  } catch (error) {
    if (!(error instanceof ConnectionGoneError)) throw error; // The relay has ended it.
  }
  connection.destroy();
}

async function count(relay: RunningRelay, metric: string): Promise<number> {
  const response = await fetch(`http://${relay.internalAddress}/metrics`);
  const line = (await response.text()).split("\n").find((line) => line.startsWith(metric + " "));
  return Number(line?.split(" ").at(-1));
}

for (const refusal of refusals) {
  Deno.test(`the log has a few lines of many ${refusal.what}, and how many more there were`, async () => {
    await withFolder(async (folder) => {
      const { certPath: cert, keyPath: key } = await loopbackFiles(folder);
      const callers = `${folder}/callers.json`;
      await Deno.writeTextFile(callers, JSON.stringify([{ name: "ops", token, clusters: ["*"] }]));
      const isTls = refusal.what.startsWith("TLS");
      const tls = ["--tls-cert", cert, "--tls-key", key, "--health-addr", "127.0.0.1:0"];
      await using relay = await startRelay({
        clusters,
        args: isTls ? tls : ["--caller-tokens", callers, "--health-addr", "127.0.0.1:0"],
      });
      const health = await relay.waitForLog(({ listener }) => listener === "health");
      const counted = { ...relay, internalAddress: String(health.address) };
      await Promise.all(Array.from({ length: storm }, () => cause(relay, refusal)));
      await eventually(
        async () => await count(counted, refusal.metric) >= storm,
        "all of them to be counted",
      );
      for (const message of refusal.messages) {
        const linesIn = (log: readonly LogLine[]) =>
          log.filter((line) => line.message.startsWith(message));
        const told = (log: readonly LogLine[]) =>
          linesIn(log).reduce((sum, { unlogged }) => sum + Number(unlogged ?? 1), 0);
        const wait = { what: `lines that tell of ${message}`, timeoutMs: 30_000 };
        const lines = linesIn(await relay.logWhen((log) => told(log) === storm, wait));
        const first = lines.filter(({ unlogged }) => unlogged === undefined);
        ok(first.length <= freeLines, `${first.length} lines`);
        equal(lines.at(-1)!["peer"], "127.0.0.1");
      }
    });
  });
}
