/**
 * The sample target: a small HTTP service with one path for each kind of traffic that a tunnel has
 * to carry. `deno task demo` and the benches put it behind an agent; `deno run -A target.ts --port
 * 8000` runs it alone.
 *
 * It is no example of a hardened server: it trusts whoever reaches it, and listens on loopback
 * unless told otherwise.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

/** Where {@link startSampleTarget} listens, and how. */
export interface SampleTargetOptions {
  /** TCP port; 0, the default, takes any that is free. */
  port?: number;
  /** Address to bind; the default is `127.0.0.1`. */
  hostname?: string;
  /** Certificate chain and private key, both PEM: the service then speaks HTTPS. */
  tls?: { cert: string; key: string };
}

/** A running sample target. */
export interface SampleTarget extends AsyncDisposable {
  /** `HOST:PORT`, as an agent's `--target` takes it. */
  readonly address: string;
  readonly hostname: string;
  readonly port: number;
  /** `http://HOST:PORT`, or `https://…` with TLS; no final slash. */
  readonly url: string;
  /** Ends event streams and WebSockets, lets other requests finish, frees the port. */
  close(): Promise<void>;
}

interface Route {
  /** As the index page shows it. */
  shape: string;
  summary: string;
  /** Undefined where any method will do. */
  methods?: readonly string[];
  /** Matches the whole path; its first group, if any, is the handler's `argument`. */
  pattern: RegExp;
  handle(exchange: Exchange): Response | Promise<Response>;
}

interface Exchange {
  request: Request;
  query: URLSearchParams;
  argument: string;
  /** Aborted when the target closes: whatever would go on for ever ends then. */
  closing: AbortSignal;
}

const defaultEventIntervalMs = 1_000;
/** An hour: longer than any timeout on the way that one may want to try. */
const maxEventIntervalMs = 3_600_000;
/** What a WebSocket client may leave unread of its echo before it is cut off. */
const maxUnreadEchoBytes = 64 * 1024 * 1024;

/**
 * Length in bytes of the pattern that downloads repeat. A prime just under 64 KiB, so that no
 * power-of-two frame or buffer lines up with it: a block that is lost, doubled or out of order
 * changes what follows.
 */
export const samplePatternBytes = 65_521;

/** The pattern twice over: any run of up to one period is a view of it, and nothing is copied. */
const pattern = makePattern();

function makePattern(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2 * samplePatternBytes);
  let state = 0x9e3779b9; // any seed but 0, where xorshift stays
  for (let i = 0; i < samplePatternBytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  bytes.copyWithin(samplePatternBytes, 0, samplePatternBytes);
  return bytes;
}

/**
 * Bytes `offset` to `offset + length` of every `/download/…`, for comparing. The result is a view
 * of shared memory: read it, do not write to it.
 *
 * @throws {RangeError} if `length` is over {@link samplePatternBytes}
 */
export function sampleBytes(offset: number, length: number): Uint8Array<ArrayBuffer> {
  if (length > samplePatternBytes) {
    throw new RangeError(
      `Cannot view ${length} sample bytes at once: at most ${samplePatternBytes}`,
    );
  }
  const start = offset % samplePatternBytes;
  return pattern.subarray(start, start + length);
}

/**
 * Starts the sample target; it accepts connections when this returns.
 *
 * @throws {Deno.errors.AddrInUse} if `port` is taken
 */
export function startSampleTarget(options: SampleTargetOptions = {}): SampleTarget {
  const { port = 0, hostname = "127.0.0.1", tls } = options;
  const closing = new AbortController();
  const server = Deno.serve(
    {
      port,
      hostname,
      onListen() {},
      onError: (error) => answerFailure(error, closing.signal),
      ...tls,
    },
    (request) => answer(request, closing.signal),
  );
  const bound = server.addr.port;
  const address = hostname.includes(":") ? `[${hostname}]:${bound}` : `${hostname}:${bound}`;
  const close = async () => {
    closing.abort();
    await server.shutdown();
  };
  return {
    address,
    hostname,
    port: bound,
    url: `${tls ? "https" : "http"}://${address}`,
    close,
    [Symbol.asyncDispose]: close,
  };
}

const routes: readonly Route[] = [
  {
    shape: "/",
    summary: "this page",
    methods: ["GET", "HEAD"],
    pattern: /^\/$/,
    handle: answerIndex,
  },
  {
    shape: "/echo",
    summary: "JSON of what arrived: method, path, headers, body size and SHA-256; /echo/… too",
    // Whatever follows is for seeing what becomes of an odd path on its way.
    pattern: /^\/echo(?:\/.*)?$/s,
    handle: answerEcho,
  },
  {
    shape: "/download/{bytes}",
    summary: "that many bytes, the same ones each time",
    methods: ["GET", "HEAD"],
    pattern: /^\/download\/(.*)$/,
    handle: answerDownload,
  },
  {
    shape: "/upload",
    summary: "JSON of the size and SHA-256 of what was sent",
    methods: ["POST", "PUT"],
    pattern: /^\/upload$/,
    handle: async ({ request }) => jsonResponse(await digestOf(request.body)),
  },
  {
    shape: "/events",
    summary: "server-sent events, one a second or every ?interval_ms=",
    methods: ["GET"],
    pattern: /^\/events$/,
    handle: answerEvents,
  },
  {
    shape: "/ws",
    summary: "WebSocket that sends back what it gets",
    methods: ["GET"],
    pattern: /^\/ws$/,
    handle: answerWebSocket,
  },
  {
    shape: "/healthz",
    summary: "ok",
    methods: ["GET", "HEAD"],
    pattern: /^\/healthz$/,
    handle: () => new Response("ok\n"),
  },
];

function indexPage(): string {
  const width = Math.max(...routes.map((route) => route.shape.length));
  const lines = routes.map((route) => `${route.shape.padEnd(width)}  ${route.summary}\n`);
  return `culvert sample target\n\n${lines.join("")}`;
}

/** The page for browsers; everybody else gets text. */
function answerIndex({ request }: Exchange): Response {
  if (!request.headers.get("accept")?.includes("text/html")) return new Response(indexPage());
  return new Response(browserPage, { headers: { "content-type": "text/html; charset=utf-8" } });
}

/** Says what it can about the way that it came, and keeps a WebSocket and an event stream open. */
const browserPage = `<!doctype html>
<html lang="en">
<title>culvert demo</title>
<style>body { font: 1rem/1.5 system-ui; margin: 2rem auto; max-width: 40rem; padding: 0 1rem }</style>
<h1>This page came through culvert</h1>
<p>Your browser asked the relay for <b id="host"></b>. The relay passed the request to the agent,
which had dialled out to it, and the agent asked its target.</p>
<dl>
<dt>WebSocket<dd id="socket">connecting …
<dt>Server-sent events<dd id="events">waiting …
<dt>What the target received (<a href="/echo">/echo</a>)<dd><pre id="echo"></pre>
</dl>
<script>
const show = (id, text) => { document.getElementById(id).textContent = text; };
show("host", location.host);
const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws");
socket.onopen = () => socket.send("hello");
socket.onmessage = ({ data }) => show("socket", "sent and received: " + data);
socket.onclose = () => show("socket", "closed");
new EventSource("/events").onmessage = ({ data }) => show("events", data);
fetch("/echo").then((response) => response.text()).then((text) => show("echo", text));
</script>
</html>
`;

function answer(request: Request, closing: AbortSignal): Response | Promise<Response> {
  const target = requestTarget(request);
  const queryStart = target.indexOf("?");
  const path = queryStart < 0 ? target : target.slice(0, queryStart);
  for (const route of routes) {
    const match = route.pattern.exec(path);
    if (!match) continue;
    if (route.methods && !route.methods.includes(request.method)) {
      return methodRefusal(request.method, route.shape, route.methods);
    }
    const query = new URLSearchParams(queryStart < 0 ? "" : target.slice(queryStart));
    return route.handle({ request, query, argument: match[1] ?? "", closing });
  }
  return errorResponse(404, "not_found", `No such path: ${JSON.stringify(path)}; / lists them`);
}

/**
 * Path and query as they were sent. `new URL()` would resolve `..` and so hide what a proxy on the
 * way may have done to them.
 */
function requestTarget(request: Request): string {
  return /^[a-z]+:\/\/[^/?]*(.*)$/s.exec(request.url)?.[1] ?? request.url;
}

async function answerEcho({ request }: Exchange): Promise<Response> {
  // Deno.serve has put the names in lower case and joined repeated headers with a comma.
  const headers = Object.fromEntries(request.headers);
  const body = await digestOf(request.body);
  return jsonResponse({ method: request.method, path: requestTarget(request), headers, body });
}

async function digestOf(
  body: ReadableStream<Uint8Array> | null,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of body ?? []) {
    hash.update(chunk);
    bytes += chunk.byteLength;
  }
  return { bytes, sha256: hash.digest("hex") };
}

function answerDownload({ request, argument }: Exchange): Response {
  const size = Number(argument);
  if (!/^\d+$/.test(argument) || !Number.isSafeInteger(size)) {
    return errorResponse(
      400,
      "bad_size",
      `Cannot send ${JSON.stringify(argument)} bytes: give a whole number, as in /download/1048576`,
    );
  }
  const headers = {
    "content-type": "application/octet-stream",
    "content-length": `${size}`,
  };
  return new Response(request.method === "HEAD" ? null : sampleStream(size), { headers });
}

/** Makes each chunk when the one before is gone, so a slow reader costs no memory. */
function sampleStream(size: number): ReadableStream<Uint8Array> {
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const length = Math.min(samplePatternBytes, size - sent);
      if (length > 0) controller.enqueue(sampleBytes(sent, length));
      sent += length;
      if (sent === size) controller.close();
    },
  }, { highWaterMark: 0 });
}

function answerEvents({ query, closing }: Exchange): Response {
  const given = query.get("interval_ms");
  const intervalMs = given === null ? defaultEventIntervalMs : Number(given);
  if (!Number.isInteger(intervalMs) || intervalMs < 1 || intervalMs > maxEventIntervalMs) {
    return errorResponse(
      400,
      "bad_interval",
      `Cannot use interval_ms ${JSON.stringify(given)}: give a whole number of milliseconds, ` +
        `1 to ${maxEventIntervalMs}`,
    );
  }
  return new Response(eventStream(intervalMs, closing), {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
  });
}

function eventStream(intervalMs: number, closing: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const abandoned = new AbortController();
  const ended = AbortSignal.any([closing, abandoned.signal]);
  let count = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        if (count > 0) await delay(intervalMs, undefined, { signal: ended });
      } catch (error) {
        if (!ended.aborted) throw error;
      }
      if (abandoned.signal.aborted) return; // cancelled: there is nothing left to close
      if (closing.aborted) return controller.close();
      count++;
      controller.enqueue(encoder.encode(`id: ${count}\ndata: {"count":${count}}\n\n`));
    },
    cancel() {
      abandoned.abort();
    },
  }, { highWaterMark: 0 });
}

function answerWebSocket({ request, closing }: Exchange): Response {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    const refusal = errorResponse(426, "upgrade_required", "Expected a WebSocket handshake");
    refusal.headers.set("upgrade", "websocket");
    return refusal;
  }
  const offered = request.headers.get("sec-websocket-protocol")?.split(",")[0]?.trim();
  const { socket, response } = Deno.upgradeWebSocket(request, offered ? { protocol: offered } : {});
  socket.binaryType = "arraybuffer";
  const goAway = () => socket.close(1001, "The target is closing");
  closing.addEventListener("abort", goAway, { once: true });
  socket.addEventListener("close", () => closing.removeEventListener("abort", goAway));
  socket.addEventListener("message", ({ data }) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > maxUnreadEchoBytes) {
      return socket.close(1008, `Over ${maxUnreadEchoBytes} bytes of echo are unread`);
    }
    socket.send(data);
  });
  return response;
}

function methodRefusal(method: string, shape: string, methods: readonly string[]): Response {
  const allowed = methods.join(", ");
  const refusal = errorResponse(
    405,
    "method_not_allowed",
    `Cannot ${method} ${shape}: send ${allowed}`,
  );
  refusal.headers.set("allow", allowed);
  return refusal;
}

/**
 * A request body that broke off ends here too: there is nobody left to read the answer then, unless
 * it was the target that stopped reading, because it closes.
 */
function answerFailure(error: unknown, closing: AbortSignal): Response {
  if (closing.aborted) return errorResponse(503, "closing", "The target is closing");
  console.error("Failed to answer a request:", error);
  return errorResponse(500, "internal", "Failed to answer the request");
}

function errorResponse(status: number, code: string, message: string): Response {
  return jsonResponse({ error: { code, message } }, status);
}

function jsonResponse(value: unknown, status = 200): Response {
  return new Response(`${JSON.stringify(value, null, 2)}\n`, {
    status,
    headers: { "content-type": "application/json" },
  });
}

function readOptions(args: string[]): { port: number; hostname: string } {
  const { values } = parseArgs({
    args,
    options: {
      port: { type: "string", default: "8000" },
      hostname: { type: "string", default: "127.0.0.1" },
    },
  });
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port > 65_535) {
    throw new RangeError(
      `Cannot use --port ${JSON.stringify(values.port)}: give a whole number, 0 to 65535`,
    );
  }
  return { port, hostname: values.hostname };
}

function listen(options: { port: number; hostname: string }): SampleTarget {
  try {
    return startSampleTarget(options);
  } catch (error) {
    const { hostname, port } = options;
    throw new Error(
      `Cannot listen on --hostname ${hostname} --port ${port}: give an address of this machine ` +
        "and a port that is free",
      { cause: error },
    );
  }
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      Deno.removeSignalListener("SIGINT", stop);
      Deno.removeSignalListener("SIGTERM", stop);
      resolve();
    };
    Deno.addSignalListener("SIGINT", stop);
    Deno.addSignalListener("SIGTERM", stop);
  });
}

async function main(args: string[]): Promise<number> {
  let target: SampleTarget;
  try {
    target = listen(readOptions(args));
  } catch (error) {
    console.error(`target: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
  console.log(`Sample target on ${target.url} (Ctrl-C ends it)`);
  await interrupted();
  await target.close();
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
