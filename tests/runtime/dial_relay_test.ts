/** The agent's handshake with what answers at the relay's address: what it says of each refusal. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { RelayConnectionError, RelayRefusedError } from "../../lib/agent/relay_errors.ts";
import { dialRelay, type RelayDialOptions } from "../../lib/runtime/node/dial_relay.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";

const token = "dial-relay-token-0123456789";
const never = new AbortController().signal;

/** Why the handshake fails. */
async function failureOf(options: Omit<RelayDialOptions, "token">): Promise<Error> {
  let failure: unknown;
  await rejects(async () => {
    (await dialRelay({ token, ...options }, never)).terminate();
  }, (error) => {
    failure = error;
    return true;
  });
  ok(failure instanceof Error);
  return failure;
}

function answer(status: string, body: string, ...fields: string[]): string {
  const head = [`HTTP/1.1 ${status}`, `Content-Length: ${body.length}`, ...fields];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

const text = "Content-Type: text/plain; charset=UTF-8";

Deno.test("dialRelay says of each status what it means and what to do", async (t) => {
  const cases: readonly (readonly [string, RegExp, number?])[] = [
    [answer("400 Bad Request", "No required SSL certificate was sent", text), /--client-cert/],
    [answer("401 Unauthorized", "unauthorized\n", text), /401 \(unauthorized\); check --token/],
    [answer("403 Forbidden", "forbidden\n", text), /403 \(forbidden\); check --client-cert/],
    [answer("404 Not Found", "<html>no</html>", "Content-Type: text/html"), /404; --server must/],
    [answer("301 Moved", "", "Location: https://elsewhere/"), /301; --server must lead to/],
    [answer("407 Proxy Auth", ""), /407; .*--proxy/],
    [answer("426 Upgrade Required", "agents connect\n", text), /426 \(agents connect\); a proxy/],
    [answer("429 Slow", "", "Retry-After: 1"), /429; too many attempts/, 1_000],
    [answer("502 Bad Gateway", ""), /502; the relay failed, or what is before it/],
    [
      answer("503 Busy", "too many sessions of this cluster\n", text, "Retry-After: 5"),
      /503 \(too many sessions of this cluster\)$/,
      5_000,
    ],
    [answer("503 Busy", "", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"), /503; the relay, or/],
    [answer("418 Teapot", "a\u001b[2Jb\nsecond line", text), /418 \(a\?\[2Jb\)$/],
    [answer("418 Teapot", "x".repeat(5_000), text), /418 \(x{200}\)$/],
  ];
  for (const [bytes, says, retryAfterMs] of cases) {
    await t.step(bytes.split("\r\n", 1)[0]!, async () => {
      await using relay = await startRawTarget(answering(bytes));
      const failure = await failureOf({ url: `ws://${relay.address}/connect` });
      ok(failure instanceof RelayRefusedError, String(failure));
      match(failure.message, says);
      equal(failure.details.retryAfterMs, retryAfterMs);
    });
  }
});

Deno.test("dialRelay waits for no more of a refusal's body than a moment", async () => {
  const head = `HTTP/1.1 401 Unauthorized\r\n${text}\r\nContent-Length: 100\r\n\r\nunauth`;
  await using relay = await startRawTarget(answering(head));
  const failure = await failureOf({ url: `ws://${relay.address}/connect` });
  match(failure.message, /status 401 \(unauth\)/);
});

Deno.test("a relay that demands a certificate: the agent never hears of a hang-up", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const foreign = await Authority.create(folder, "foreign");
    const server = await own.issue("server", "IP:127.0.0.1");
    const stranger = await foreign.issue("stranger", "DNS:stranger");
    await using relay = await startRelay({
      clusters: [{ id: "dev", token, targetAddr: "127.0.0.1:1" }],
      args: [
        ...["--tls-cert", server.certPath, "--tls-key", server.keyPath],
        ...["--tls-client-ca", own.caPath],
      ],
    });
    const read = (path: string) => Deno.readTextFile(path);
    const options = {
      url: `wss://${relay.publicAddress}/connect`,
      ca: await read(own.caPath),
    };
    const cases = {
      "no certificate": [{}, /give (a certificate|one) with --client-cert$/],
      "one of another CA": [
        { cert: await read(stranger.certPath), key: await read(stranger.keyPath) },
        /does not accept the certificate in --client-cert/,
      ],
    } as const;
    for (const [what, [pair, says]] of Object.entries(cases)) {
      await t.step(what, async () => {
        // Whether the alert gets through differs from attempt to attempt.
        for (let attempt = 0; attempt < 20; attempt++) {
          const failure = await failureOf({ ...options, ...pair });
          ok(failure instanceof RelayConnectionError, String(failure));
          match(failure.message, says);
        }
      });
    }
  });
});

/** A listener that ends each connection after its first bytes, or at once. */
async function startHangingUp(): Promise<{ server: Server; address: string }> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: `127.0.0.1:${(server.address() as { port: number }).port}` };
}

Deno.test("a connection that ends without a word gets words of its own, by how far it came", async () => {
  const { server, address } = await startHangingUp();
  try {
    const plain = await failureOf({ url: `ws://${address}/connect` });
    const secure = await failureOf({ url: `wss://${address}/connect` });
    deepEqual([plain, secure].map((error) => (error as RelayConnectionError).kind), [
      "silent",
      "silent",
    ]);
    match(plain.message, /ended without an answer; .*wss:/);
    match(secure.message, /ended within the TLS handshake; --server must lead/);
  } finally {
    server.close();
  }
});
