/** A relay, an agent and a target for system tests, and what a test asks of them. */
import { deepEqual, equal } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import {
  type AgentOptions,
  type LogLine,
  type Program,
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { type RawMessage, readResponse, statusOf } from "../support/raw_http.ts";
import { type RawTarget, startRawTarget, type TargetHandler } from "../support/target.ts";
import { service } from "./service.ts";

/** The one cluster of a {@link Tunnel}. */
export const CLUSTER = "blue";

/** What is shown to others and must never stand in a log. */
export const secrets = {
  /** The agents' token for the relay. */
  token: "tunnel-secret-5f0c2a9e81",
  /** The ServiceAccount token that the agent injects. */
  credential: "service-account-secret-77b1d0",
  /** The bearer token that each caller shows. */
  caller: "caller-secret-c04e9f13",
} as const;

/** So that whatever could be logged is, and is looked at for secrets. */
const debugLog = ["-log-level", "debug"] as const;

/** How the parts of a tunnel are started. */
export interface TunnelOptions {
  readonly relayArgs?: readonly string[];
  readonly agentArgs?: readonly string[];
  readonly agent?: Partial<AgentOptions>;
  /** The target's side; the isolation tests' service by default. */
  readonly target?: TargetHandler;
}

/** A running relay, agent and target. */
export interface Tunnel {
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;
  readonly target: RawTarget;
}

/**
 * Runs `test` with a tunnel, stops it in good order, and asserts that no secret was logged. A
 * failure is followed by the programs' logs.
 */
export async function withTunnel(
  options: TunnelOptions,
  test: (tunnel: Tunnel) => Promise<void>,
): Promise<void> {
  await using target = await startRawTarget(options.target ?? service);
  const clusters = [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }];
  await using relay = await startRelay({
    clusters,
    args: [...debugLog, ...options.relayArgs ?? []],
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
    args: [...debugLog, ...options.agentArgs ?? []],
    ...options.agent,
  });
  await relay.waitForAgent(CLUSTER);
  try {
    await test({ relay, agent, target });
    await assertNoSecrets(relay, agent);
  } catch (error) {
    console.error(lastLines(relay.program), lastLines(agent.program));
    throw error;
  }
}

/** The end of a program's log, for a test that failed. */
export function lastLines(program: Program): string {
  return program.logText(24);
}

/**
 * Stops programs, the last one first, and fails when a log holds what must not be in it: one of
 * {@link secrets} or of `others`.
 */
export async function assertNoSecrets(...programs: readonly Logging[]): Promise<void> {
  for (const program of programs.toReversed()) {
    const lines = await program.completeLog();
    for (const secret of Object.values(secrets)) {
      const leaks = lines.filter((line) => JSON.stringify(line).includes(secret));
      deepEqual(leaks, [], "no secret may be logged");
    }
  }
}

type Logging = Pick<Program, "completeLog">;

/** The head of a request to a cluster, with a caller's credential; `fields` are whole lines. */
export function requestHead(
  method: string,
  path: string,
  fields: readonly string[] = [],
  cluster: string = CLUSTER,
): string {
  const credential = `Authorization: Bearer ${secrets.caller}`;
  const lines = [`${method} /tunnel/${cluster}${path} HTTP/1.1`, "Host: relay", credential];
  return [...lines, ...fields, "", ""].join("\r\n");
}

/** Opens a caller's connection and sends a request's head. */
export async function call(
  relay: { readonly internalAddress: string },
  method: string,
  path: string,
  fields: readonly string[] = [],
): Promise<RawConnection> {
  const caller = await openConnection(relay.internalAddress);
  await caller.write(requestHead(method, path, fields));
  return caller;
}

/** One whole exchange without a body, on a connection of its own. */
export async function ask(
  relay: { readonly internalAddress: string },
  path: string,
  cluster: string = CLUSTER,
): Promise<RawMessage> {
  await using caller = await openConnection(relay.internalAddress);
  await caller.write(requestHead("GET", path, [], cluster));
  return await within(readResponse(caller.reader), `the answer to ${path}`);
}

/** Asks for something small and asserts that the answer is right. */
export async function askSmall(relay: { readonly internalAddress: string }): Promise<void> {
  const answer = await ask(relay, "/small");
  equal(statusOf(answer), 200);
  equal(new TextDecoder().decode(answer.body), "small");
}

/** What a relay has logged up to now, which the line of a request tells. */
export async function relayLogUpToNow(relay: RunningRelay): Promise<readonly LogLine[]> {
  const id = crypto.randomUUID();
  await using caller = await openConnection(relay.internalAddress);
  await caller.write(requestHead("GET", "/small", [`X-Request-Id: ${id}`]));
  await within(readResponse(caller.reader), "an answer of the relay");
  return await relay.logUntil(({ message, request_id }) =>
    message === "Request" && request_id === id
  );
}

/** The sum of a metric over all its labels; throws when the program has no such metric. */
export async function metric(address: string, name: string): Promise<number> {
  const response = await fetch(`http://${address}/metrics`);
  const lines = (await response.text()).split("\n");
  if (!lines.some((line) => line.startsWith(`# TYPE ${name} `))) {
    throw new Error(`No metric ${name} at ${address}`);
  }
  const samples = lines.filter((line) =>
    line.startsWith(`${name} `) || line.startsWith(`${name}{`)
  );
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** Requests that are open, as each side counts them. */
export interface OpenRequests {
  readonly relay: number;
  readonly agent: number;
}

/** What the two sides say is open now. */
export async function openRequests({ relay, agent }: Tunnel): Promise<OpenRequests> {
  return {
    relay: await metric(relay.internalAddress, "tunnel_active_connections"),
    agent: await metric(agent.healthAddress, "agent_open_streams"),
  };
}

/** Waits until both sides say that `count` requests are open. */
export async function untilOpen(tunnel: Tunnel, count: number, timeoutMs?: number): Promise<void> {
  let open = await openRequests(tunnel);
  await eventually(
    async () => {
      open = await openRequests(tunnel);
      return open.relay === count && open.agent === count;
    },
    () => `${count} open requests on both sides (now ${JSON.stringify(open)})`,
    timeoutMs,
  );
}
