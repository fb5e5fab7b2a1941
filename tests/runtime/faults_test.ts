/**
 * Bugs, as this program must have some: an exception in what happens on one connection used to end
 * the process, and with it everybody's requests.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { type FaultScope, isolated, reportFaultsTo } from "../../lib/faults.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { processCounts } from "../../lib/process_counts.ts";
import { Deadlines } from "../../lib/relay/limits/deadlines.ts";
import { dialTarget } from "../../lib/runtime/node/dial_target.ts";
import { ConnSocket } from "../../lib/runtime/deno/conn_socket.ts";
import { HttpServer, type HttpServerOptions } from "../../lib/runtime/node/http_server.ts";
import { eventually, within } from "../support/deadline.ts";
import { loopbackCertificate } from "../support/certificates.ts";
import { Program } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";

/** What was reported while `test` ran. */
async function faultsOf(test: (faults: string[]) => Promise<void>): Promise<void> {
  const faults: string[] = [];
  reportFaultsTo((scope: FaultScope, error) => faults.push(`${scope}: ${error}`));
  try {
    await test(faults);
  } finally {
    reportFaultsTo((_scope, error) => {
      throw error;
    });
  }
}

function bug(): never {
  throw new Error("a bug");
}

async function withServer(
  options: Partial<HttpServerOptions>,
  test: (address: string, server: HttpServer) => Promise<void>,
): Promise<void> {
  const server = new HttpServer({
    fetch: () => new Response("fine"),
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: 10, maxPerAddress: 0 },
    fault: (error) => {
      throw error;
    },
    ...options,
  });
  const { hostname, port } = await server.listen("127.0.0.1", 0);
  try {
    await test(`${hostname}:${port}`, server);
  } finally {
    server.close();
  }
}

/** Connects, or is reset before that is known, and waits for the end. */
async function untilRefused(address: string): Promise<void> {
  const connection = await openConnection(address).catch(() => undefined);
  await connection?.reader.readToEnd().catch(() => {});
  connection?.destroy();
}

const head = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

Deno.test("an exception in what a connection brings ends that connection, and no other", async () => {
  await faultsOf(async (faults) => {
    await withServer({ refused: bug }, async (address) => {
      const before = processCounts.faults.connection;
      await using other = await openConnection(address);
      await other.write(head.slice(0, 10));
      await using broken = await openConnection(address);
      await broken.write("not HTTP\r\n\r\n");
      await within(broken.reader.readToEnd().catch(() => {}), "the end of the connection");
      await other.write(head.slice(10));
      match(new TextDecoder().decode(await other.reader.readUntil("fine")), /^HTTP\/1\.1 200 /);
      deepEqual(faults, ["connection: Error: a bug"]);
      equal(processCounts.faults.connection, before + 1);
      other.end();
    });
  });
});

Deno.test("an exception in what a connection begins with ends that connection, and no other", async () => {
  let isFirst = true;
  const turnedAway = (): void => {
    if (!isFirst) return;
    isFirst = false;
    bug();
  };
  await faultsOf(async (faults) => {
    await withServer({ turnedAway, connections: { max: 1, maxPerAddress: 0 } }, async (address) => {
      await using kept = await openConnection(address);
      await kept.write(head);
      await kept.reader.readUntil("fine");
      for (let n = 0; n < 2; n++) await within(untilRefused(address), "the end of the connection");
      deepEqual(faults, ["connection: Error: a bug"]);
      await kept.write(head);
      await kept.reader.readUntil("fine");
      kept.end();
    });
  });
});

Deno.test("an exception in a failed TLS handshake ends that connection, and no other", async () => {
  const tls = await loopbackCertificate();
  await faultsOf(async (faults) => {
    await withServer({ tls, handshakeFailed: bug }, async (address) => {
      for (let n = 1; n <= 2; n++) {
        const plain = await openConnection(address);
        await plain.write(head);
        await within(plain.reader.readToEnd().catch(() => {}), "the end of the connection");
        plain.destroy();
        await eventually(() => faults.length === n, "the fault to be reported");
      }
    });
  });
});

Deno.test("an exception in what a target sends ends the connection to it", async () => {
  await withServer({}, async (address) => {
    const [hostname = "", port] = address.split(":");
    const options = { hostname, port: Number(port), timeoutMs: 10_000, isTls: false };
    await faultsOf(async (faults) => {
      const plain = await dialTarget(options, new AbortController().signal);
      const conn = new ConnSocket(await Deno.connect({ hostname, port: Number(port) }));
      for (const socket of [plain, conn]) {
        const closed = Promise.withResolvers<void>();
        socket.on("data", bug);
        socket.on("close", closed.resolve);
        socket.write(new TextEncoder().encode(head));
        await within(closed.promise, "the connection's end");
      }
      deepEqual(faults, Array(2).fill("connection: Error: a bug"));
    });
  });
});

Deno.test("an exception in one of many timeouts keeps none of the others from its turn", async () => {
  await faultsOf((faults) => {
    let nowMs = 0;
    const deadlines = new Deadlines(1_000, () => nowMs);
    const expired: number[] = [];
    deadlines.begin(() => expired.push(1));
    deadlines.begin(bug);
    deadlines.begin(() => expired.push(3));
    nowMs = 2_000;
    deadlines.check();
    deepEqual(expired, [1, 3]);
    isolated("stream", bug);
    deepEqual(faults, ["request: Error: a bug", "stream: Error: a bug"]);
    return Promise.resolve();
  });
});

/** A program as both are set up, with bugs in a timer and in a promise, or in its main function. */
function buggyProgram(mainLine: string): Program {
  const source = `
    import { runProgram, untilSignalled } from "./lib/runtime/node/program.ts";
    import { logUncaughtErrors } from "./lib/runtime/node/uncaught_errors.ts";
    import { exitLogged, setUpLog } from "./lib/runtime/node/log.ts";
    const parse = () => ({ kind: "run", options: {} });
    await runProgram({ name: "relay", parse }, async () => {
      const log = setUpLog({ program: "relay", level: "info", format: "json" });
      logUncaughtErrors(log);
      ${mainLine}
      await untilSignalled();
      log.info("Stopped");
      await exitLogged(0);
    });`;
  return Program.startDeno("a program with bugs", ["eval", source]);
}

Deno.test("exceptions that nobody has caught are lines of the log, and the program goes on", async () => {
  await using program = buggyProgram(`
    setTimeout(() => { throw new Error("in a timer"); }, 0);
    Promise.reject(new Error("in a promise"));
    setTimeout(() => log.info("Going on"), 50);
  `);
  const log = await program.logUntil(({ message }) => message === "Going on");
  const lines = log.filter(({ message }) => message === "Internal error");
  deepEqual(lines.map(({ error }) => error).sort(), [
    "Error: in a promise",
    "Error: in a timer",
  ]);
  for (const { level, logger, scope, stack } of lines) {
    deepEqual([level, logger, scope], ["error", "relay", "process"]);
    match(String(stack), /\n {4}at /);
  }
  equal(await program.stop(), 0);
});

Deno.test("a program whose main function fails logs why, and ends with 1", async () => {
  const program = buggyProgram(`throw new Error("can't go on");`);
  equal(await program.ended(20_000), 1);
  const [line] = await program.completeLog();
  deepEqual([line?.message, line?.["error"]], ["Internal error", "Error: can't go on"]);
});
