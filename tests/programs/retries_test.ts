/**
 * A request whose session fails it: it goes through another session when nobody can have acted upon
 * it, or it asks for no change. Otherwise its caller is told, and it is never sent twice.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { okWith } from "../interop/contents.ts";
import { V2Agent, type V2AgentOptions } from "../peers/v2_agent.ts";
import { jsonPayload, V2 } from "../peers/v2_frame.ts";
import type { V2Stream } from "../peers/v2_stream.ts";
import { CLUSTER, lastLines, metric, requestHead, secrets } from "../isolation/tunnel.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type RunningRelay, startRelay } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import {
  type RawMessage,
  readHead,
  readRequest,
  readResponse,
  statusOf,
} from "../support/raw_http.ts";

/** What a stream of the first agent meets; the second agent always answers. */
type Fate = (stream: V2Stream, agent: V2Agent) => Promise<void>;

/** A caller's request. */
interface Request {
  readonly method: string;
  readonly fields?: readonly string[];
  readonly body?: string;
}

const get: Request = { method: "GET" };
const bare: Request = { method: "DELETE" };
const post: Request = { method: "POST", fields: ["Content-Length: 5"], body: "hello" };
const upgrade: Request = { method: "GET", fields: ["Connection: Upgrade", "Upgrade: echo"] };

const dies: Fate = (_stream, agent) => agent.link.terminate();
const goesAway: Fate = (_stream, agent) => agent.link.close(1001, "The agent stops");
const says = (code: string): Fate => (stream) =>
  stream.sendFrame(V2.error, jsonPayload({ code, message: "so it is" }));
const begins = (bytes: string): Fate => async (stream, agent) => {
  await stream.send(new TextEncoder().encode(bytes));
  await agent.link.ping();
  await agent.link.terminate();
};

/** What becomes of a request that the first agent gets: the reason of a second try, or a status. */
const cases: readonly (readonly [string, Request, Fate, string | number])[] = [
  ["a GET, its session dies", get, dies, "session_lost"],
  ["a HEAD, its session dies", { method: "HEAD" }, dies, "session_lost"],
  ["a GET, its agent goes away", get, goesAway, "session_lost"],
  ["a POST, its session dies", post, dies, 502],
  ["a POST, its agent goes away", post, goesAway, 503],
  ["a DELETE without a body, its session dies", bare, dies, 502],
  ["a PUT without a body, its session dies", { method: "PUT" }, dies, 502],
  ["a GET with a body, its session dies", { ...post, method: "GET" }, dies, 502],
  ["a GET that asks for an upgrade, its session dies", upgrade, dies, 502],
  ["a GET, a byte of the answer, its session dies", get, begins("H"), 502],
  ["a GET, an interim answer, its session dies", get, begins("HTTP/1.1 103 Early\r\n\r\n"), 502],
  ["a GET, the target broke off", get, says("reset"), 502],
  ["a GET, no connection in time", get, says("timeout"), 504],
  ["a GET that the agent found malformed", get, says("protocol"), 502],
  ["a GET for a target that the agent does not serve", get, says("forbidden"), 403],
  ["a DELETE, the target refused the connection", bare, says("refused"), "not_started"],
  ["a DELETE, the target can't be reached", bare, says("unreachable"), "not_started"],
  ["a DELETE, the target is not trusted", bare, says("tls"), "not_started"],
  ["a DELETE, the agent's streams are in use", bare, says("limit"), "not_started"],
  ["a DELETE, the agent has no credential", bare, says("credentials"), "not_started"],
  ["an upgrade, the target refused the connection", upgrade, says("refused"), "not_started"],
  ["a POST, the target refused the connection", post, says("refused"), 502],
];

Deno.test("a request that fails is sent again if that is safe, and never else", async (t) => {
  for (const [name, request, fate, expected] of cases) {
    await t.step(`${name}: ${expected}`, () =>
      withRelay(async (relay) => {
        await using first = await startAgent(relay, async (stream) => {
          await readRequestOf(stream, request);
          await fate(stream, first);
        });
        await using second = await startAgent(relay, serve);
        const answer = await ask(relay, request);
        const isRetried = typeof expected === "string";
        equal(statusOf(answer), isRetried ? 200 : expected);
        equal(first.opened.length, 1);
        equal(second.opened.length, isRetried ? 1 : 0, "requests at the second agent");
        deepEqual(await retries(relay), isRetried ? { [expected]: 1 } : {});
        const line = await relay.waitForLog(({ message }) => message === "Request");
        equal(line.retries, isRetried ? 1 : undefined);
      }));
  }
});

Deno.test("a request is sent again once: a second failure is the caller's", async () => {
  await withRelay(async (relay) => {
    const agents: V2Agent[] = [];
    const dying = async (stream: V2Stream) => {
      await readHead(stream.reader);
      const mine = agents.find(({ opened }) => opened.includes(stream));
      await mine!.link.terminate();
    };
    for (let count = 0; count < 3; count++) agents.push(await startAgent(relay, dying));
    equal(statusOf(await ask(relay, get)), 502);
    equal(agents.reduce((sum, { opened }) => sum + opened.length, 0), 2);
    for (const agent of agents) await agent[Symbol.asyncDispose]();
  });
});

Deno.test("a request without another session fails as before", async () => {
  await withRelay(async (relay) => {
    await using only = await startAgent(relay, async (stream) => {
      await readHead(stream.reader);
      await only.link.terminate();
    });
    const answer = await ask(relay, get);
    equal(statusOf(answer), 502);
    equal(JSON.parse(new TextDecoder().decode(answer.body)).error.code, "reset");
    deepEqual(await retries(relay), {});
  });
});

/**
 * The first agent takes bytes of an upload without an end and then reads nothing more, so the line to
 * it is full. What is opened after that waits in the relay, bodies too, until the agent dies.
 */
Deno.test("requests that had not left the relay are sent again whole, POSTs too", async () => {
  await withRelay(async (relay) => {
    const settings = { window: 1_000_000_000, maxWindow: 1_000_000_000 };
    await using first = await startAgent(relay, async () => {}, { settings });
    await using flood = await openConnection(relay.internalAddress);
    await flood.write(requestHead("PUT", "/flood", ["Content-Length: 100000000"]));
    await eventually(() => first.opened.length === 1, "the upload at the agent");
    first.link.pauseReading();
    await fill(flood);
    // The second body is longer than what the relay reads of it before it is under way.
    const sent = ["hello", "long ".repeat(20_000)];
    const callers: RawConnection[] = [];
    for (const body of sent) {
      const fields = [`Content-Length: ${body.length}`];
      const caller = await openConnection(relay.internalAddress);
      void caller.write(requestHead("POST", "/path", fields) + body);
      callers.push(caller);
    }
    const open = () => metric(relay.internalAddress, "tunnel_active_connections");
    await eventually(async () => await open() === 3, "the requests to be open at the relay");
    const arrived: string[] = [];
    await using _second = await startAgent(relay, async (stream) => {
      arrived.push(await serve(stream));
    });
    await first.link.terminate();
    for (const caller of callers) {
      equal(statusOf(await within(readResponse(caller.reader), "an answer")), 200);
      caller.destroy();
    }
    equal(first.opened.length, 1, "nothing but the upload had reached the first agent");
    deepEqual(arrived.toSorted(), sent.toSorted());
    deepEqual(await retries(relay), { unsent: 2 });
  });
});

/** Writes to a connection until nothing is taken any more. */
async function fill(connection: RawConnection): Promise<void> {
  const piece = new Uint8Array(256 * 1024);
  let written = 0;
  const write = async (): Promise<void> => {
    for (; written < 100_000_000; written += piece.length) await connection.write(piece);
  };
  write().catch(() => {}); // The agent's end breaks it off.
  await untilSteady(() => written, "the upload");
}

async function serve(stream: V2Stream): Promise<string> {
  const request = await readRequest(stream.reader);
  const isUpgrade = request.fields.some(([name]) => name.toLowerCase() === "upgrade");
  if (!isUpgrade) ok(request.startLine.includes(" /path HTTP/1.1"), request.startLine);
  const body = new TextDecoder().decode(request.body);
  const isHead = request.startLine.startsWith("HEAD ");
  await stream.send(isHead ? new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n") : okWith("done"));
  await stream.end();
  return body;
}

async function readRequestOf(stream: V2Stream, { body }: Request): Promise<void> {
  if (body === undefined) await readHead(stream.reader);
  else await readRequest(stream.reader);
}

async function withRelay(test: (relay: RunningRelay) => Promise<void>): Promise<void> {
  const clusters = [{ id: CLUSTER, token: secrets.token, targetAddr: "target.example:443" }];
  await using relay = await startRelay({ clusters, args: ["-grace", "0"] });
  try {
    await test(relay);
  } catch (error) {
    console.error(lastLines(relay.program));
    throw error;
  }
}

async function startAgent(
  relay: RunningRelay,
  serve: (stream: V2Stream) => Promise<unknown>,
  options: Partial<V2AgentOptions> = {},
): Promise<V2Agent> {
  const instance = crypto.randomUUID();
  const agent = await V2Agent.start({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    ...options,
    serve: async (stream) => void await serve(stream),
    settings: { instance, ...options.settings },
  });
  await relay.waitForLog(
    (line) => line.message === "Agent connected" && line.instance === instance,
    { what: `the agent ${instance}` },
  );
  return agent;
}

async function send(
  relay: RunningRelay,
  { method, fields = [], body }: Request,
): Promise<RawConnection> {
  const caller = await openConnection(relay.internalAddress);
  await caller.write(requestHead(method, "/path", fields) + (body ?? ""));
  return caller;
}

async function ask(relay: RunningRelay, request: Request): Promise<RawMessage> {
  await using caller = await send(relay, request);
  return await within(readResponse(caller.reader, request.method), "an answer");
}

/** How many requests were sent again, by reason. */
async function retries(relay: RunningRelay): Promise<Record<string, number>> {
  await metric(relay.internalAddress, "culvert_request_retries_total");
  const response = await fetch(`http://${relay.internalAddress}/metrics`);
  const lines = (await response.text())
    .matchAll(/^culvert_request_retries_total\{reason="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, reason, count]) => [reason!, Number(count)]));
}
