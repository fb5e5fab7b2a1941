/** A relay and an agent whose callers and agents come through a proxy, and what must hold there. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { connect } from "node:tls";
import { once } from "node:events";
import { Authority, withFolder } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { Program } from "../support/programs.ts";
import { freePort } from "../support/free_port.ts";
import { type Places, relayName } from "./recipes.ts";

/** Starts a proxy that stands where these places say; disposed at the test's end. */
export type StartProxy = (places: Places, folder: string) => Promise<AsyncDisposable>;

/** How the relay is set up for a recipe. */
export interface FrontOptions {
  /** The relay has the certificate, and the proxy passes TLS through to its public listener. */
  readonly isPassThrough?: boolean;
}

const agentToken = "an-agents-token-0123456789";
const callerToken = "a-callers-token-0123456789";
const uploadBytes = 3_000_000;

/** Runs a test's body with the relay's origin as callers see it through the proxy. */
export async function withFront(
  start: StartProxy,
  body: (front: Front) => Promise<void>,
  { isPassThrough = false }: FrontOptions = {},
): Promise<void> {
  await withFolder(async (folder) => {
    await using stack = new AsyncDisposableStack();
    const own = await Authority.create(folder, "own");
    const { certPath, keyPath } = await own.issue("relay", `DNS:${relayName}`);
    const target = stack.use(startTarget());
    const files = { clusters: `${folder}/clusters.json`, callers: `${folder}/callers.json` };
    const targetAddr = `127.0.0.1:${target.addr.port}`;
    await Deno.writeTextFile(
      files.clusters,
      JSON.stringify([{ id: "dev", token: agentToken, targetAddr }]),
    );
    const caller = { name: "me", token: callerToken, clusters: ["dev"] };
    await Deno.writeTextFile(files.callers, JSON.stringify([caller]));
    const tls = isPassThrough ? ["--tls-cert", certPath, "--tls-key", keyPath] : [];
    const relay = stack.use(Program.start("relay.ts", [
      ...["--clusters", files.clusters, "--caller-tokens", files.callers, ...tls],
      ...["--hosts", relayName, "--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"],
      ...["--log-format", "json"],
    ]));
    const places: Places = {
      port: freePort(),
      publicPort: await portOf(relay, "public"),
      internalPort: await portOf(relay, "internal"),
      certPath,
      keyPath,
    };
    stack.use(await start(places, folder));
    const agent = stack.use(Program.start("agent.ts", [
      ...["--server", `wss://${relayName}:${places.port}/connect`, "--server-ca-cert", own.caPath],
      ...["--target", targetAddr, "--plain-target", "--sa-token-path", ""],
      ...["--health-addr", "127.0.0.1:0", "--log-format", "json"],
    ], { TOKEN: agentToken }));
    await agent.waitForLog(({ message }) => message === "Connected to relay");
    const port = isPassThrough ? places.internalPort : places.port;
    const client = stack.use(
      Deno.createHttpClient({ caCerts: [await Deno.readTextFile(own.caPath)] }),
    );
    const ca = await Deno.readTextFile(own.caPath);
    await body({ origin: `https://${relayName}:${port}`, port, client, ca });
  });
}

/** The way in through a proxy. */
export interface Front {
  readonly origin: string;
  readonly port: number;
  readonly client: Deno.HttpClient;
  readonly ca: string;
}

async function portOf(relay: Program, listener: string): Promise<number> {
  const { address } = await relay.waitForLog((line) => line["listener"] === listener);
  return Number(String(address).split(":").at(-1));
}

/** Answers with what it got; streams, takes uploads and echoes over a WebSocket. */
function startTarget(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/echo") {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(data);
      return response;
    }
    if (pathname === "/slow") return new Response(oneLineThenSilence());
    if (pathname === "/upload") {
      return new Response(request.body, { headers: { "Content-Type": "application/grpc" } });
    }
    const path = request.url.slice(new URL(request.url).origin.length);
    return Response.json({ path, headers: Object.fromEntries(request.headers) });
  });
}

/** One line, and an end that never comes by itself. */
function oneLineThenSilence(): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("first\n")),
  });
}

/** Declares the tests that every recipe has to pass. */
export function testFront(name: string, start: StartProxy, options: FrontOptions = {}): void {
  const headers = { Authorization: `Bearer ${callerToken}` };
  const get = (front: Front, path: string, init: RequestInit = {}) =>
    fetch(`${front.origin}/tunnel/dev${path}`, { client: front.client, headers, ...init });

  Deno.test(`${name}: agents and callers come through as the recipe says`, async (t) => {
    await withFront(start, async (front) => {
      await t.step("a request arrives with its path, and without its credential", async () => {
        const response = await get(front, "/a//b%2Fc?x=%20y");
        equal(response.status, 200);
        const seen = await response.json();
        equal(seen.path, "/a//b%2Fc?x=%20y");
        equal(seen.headers.authorization, undefined);
        match(seen.headers["x-forwarded-for"], /127\.0\.0\.1|::1/);
      });

      await t.step("a caller without a credential is told so", async () => {
        const response = await get(front, "/", { headers: {} });
        equal(response.status, 401);
        equal((await response.json()).error.code, "caller_unknown");
      });

      await t.step("a response streams: nothing waits for its end", async () => {
        const abort = new AbortController();
        const response = await get(front, "/slow", { signal: abort.signal });
        const reader = response.body!.getReader();
        const { value } = await within(reader.read(), "the first line");
        equal(new TextDecoder().decode(value), "first\n");
        abort.abort();
        await reader.read().catch(() => {});
      });

      await t.step("a large upload comes back whole", async () => {
        const sent = crypto.getRandomValues(new Uint8Array(65_536));
        const whole = new Uint8Array(uploadBytes).map((_, index) => sent[index % sent.length]!);
        const response = await get(front, "/upload", { method: "POST", body: whole });
        equal(response.status, 200);
        deepEqual(new Uint8Array(await response.arrayBuffer()), whole);
      });

      await t.step("a protocol upgrade carries bytes both ways", async () => {
        deepEqual(await upgraded(front), "hello");
      });
    }, options);
  });
}

/** Upgrades to a WebSocket by hand, sends one masked text frame, and returns the text that comes back. */
async function upgraded({ port, ca }: Front): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, servername: relayName, ca });
  try {
    await within(once(socket, "secureConnect"), "the handshake");
    socket.write(
      "GET /tunnel/dev/echo HTTP/1.1\r\n" + `Host: ${relayName}:${port}\r\n` +
        `Authorization: Bearer ${callerToken}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let received = "";
    const heard = Promise.withResolvers<string>();
    socket.on("data", (bytes: Uint8Array) => {
      received += new TextDecoder("latin1").decode(bytes);
      const [head, frame] = received.split("\r\n\r\n");
      // A text frame of five bytes, not masked.
      if (frame?.startsWith("\u0081\u0005") && frame.length === 7) heard.resolve(frame.slice(2));
      else if (head !== undefined && frame === "") {
        ok(received.startsWith("HTTP/1.1 101 "), received);
        // FIN and text, masked with zeros.
        socket.write(Uint8Array.of(0x81, 0x85, 0, 0, 0, 0, ...new TextEncoder().encode("hello")));
      }
    });
    socket.on("error", heard.reject);
    return await within(heard.promise, () => `the echo; got ${JSON.stringify(received)}`);
  } finally {
    socket.destroy();
  }
}

/** A proxy as a child process that is up once its port answers. */
export async function startProgram(
  command: string,
  args: readonly string[],
  port: number,
  env: Readonly<Record<string, string>> = {},
): Promise<AsyncDisposable> {
  const child = new Deno.Command(command, {
    args: [...args],
    env: { ...env },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const said = new Response(child.stderr).text();
  let code: number | undefined;
  const ended = child.status.then((status) => code = status.code);
  const stop = async () => {
    if (code === undefined) child.kill("SIGTERM");
    await ended;
    await said;
  };
  while (!await answers(port)) {
    if (code !== undefined) throw new Error(`${command} ended with code ${code}: ${await said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { [Symbol.asyncDispose]: stop };
}

async function answers(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}
