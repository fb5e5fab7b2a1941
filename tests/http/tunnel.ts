/**
 * What the tests of this room run on: the real relay and agent as processes of their own, and a
 * target that plays, for each path, the script that a test has given it.
 */
import type { ByteReader } from "../support/byte_reader.ts";
import { within } from "../support/deadline.ts";
import {
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { ConnectionGoneError, openConnection, RawConnection } from "../support/raw_connection.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import {
  latin1,
  methodOf,
  readWireHead,
  readWireRequestBody,
  readWireResponse,
  targetOf,
  type WireHead,
  type WireMessage,
} from "./wire.ts";

/** The cluster that every test of this room asks for. */
export const CLUSTER = "http";
/** Its agent's token. */
export const TOKEN = "http-room-token-0123456789";
/** What the agent's ServiceAccount token file holds at first. */
export const CREDENTIAL = "service-account-token";

/** For programs of these tests: what is still open when they are stopped has been left so on purpose. */
export const graceArgs: readonly string[] = ["-grace", "500ms"];

/** One request at the target, of which the head has been read. */
export interface TargetExchange {
  readonly head: WireHead;
  readonly connection: RawConnection;
  /** Reads the request's body. */
  request(): Promise<WireMessage>;
}

/** Plays the target's part for one request. It must read the request's body or end the connection. */
export type Script = (exchange: TargetExchange) => Promise<void> | void;

/** The target's scripts, by the path and query that they are for. */
export class Scripts {
  readonly #byTarget = new Map<string, Script>();
  /** Played for requests that have no script of their own: an echo unless told otherwise. */
  otherwise: Script = echo;
  /** What the target says on each new connection before it has been asked anything. */
  greeting = "";

  /** Plays `script` for requests with this request target from now on. */
  set(target: string, script: Script): void {
    this.#byTarget.set(target, script);
  }

  /** Speaks the target's side of a connection until the other side has gone. */
  async serve(connection: RawConnection): Promise<void> {
    if (this.greeting !== "") await connection.write(latin1(this.greeting));
    while (!connection.isClosed) {
      const head = await readWireHead(connection.reader);
      const request = () => readWireRequestBody(connection.reader, head);
      const script = this.#byTarget.get(targetOf(head)) ?? this.otherwise;
      await script({ head, connection, request });
    }
  }
}

/** The script of every path that has none: says what was asked for. */
const echo: Script = async ({ head, connection, request }) => {
  await request();
  await connection.write(okWith(`${methodOf(head)} ${targetOf(head)}`, methodOf(head)));
};

/** A 200 with a body of known length; for HEAD without the body. */
export function okWith(text: string, method = "GET"): Uint8Array {
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n`;
  return latin1(method === "HEAD" ? head : head + text);
}

/** A script that reads the request and sends these bytes as they are, one character for each. */
export function answer(text: string): Script {
  return async ({ connection, request }) => {
    await request();
    await connection.write(latin1(text));
  };
}

/** The head of a request; `fields` are whole lines. */
export function requestHead(
  method: string,
  target: string,
  fields: readonly string[] = [],
): string {
  return [`${method} ${target} HTTP/1.1`, "Host: caller.example", ...fields, "", ""].join("\r\n");
}

/** A path of the target as a caller of the relay writes it. */
export function tunnelled(path: string): string {
  return `/tunnel/${CLUSTER}${path}`;
}

/** How to start a tunnel. */
export interface TunnelOptions {
  /** Further keys of the cluster's entry in the clusters file. */
  readonly entry?: Readonly<Record<string, unknown>>;
  /** Further clusters, of which no agent connects. */
  readonly absent?: readonly string[];
  readonly relayArgs?: readonly string[];
  readonly relayEnv?: Readonly<Record<string, string>>;
  readonly agentArgs?: readonly string[];
}

/** A relay, an agent and a target, connected. */
export class Tunnel {
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;
  readonly target: RawTarget;
  readonly scripts: Scripts;

  constructor(relay: RunningRelay, agent: RunningAgent, target: RawTarget, scripts: Scripts) {
    this.relay = relay;
    this.agent = agent;
    this.target = target;
    this.scripts = scripts;
  }

  /** A caller's connection to the relay's internal listener. */
  caller(): Promise<RawConnection> {
    return openConnection(this.relay.internalAddress);
  }

  /** Sends one request on a connection of its own and reads the answer. */
  async ask(request: string, body = ""): Promise<WireMessage> {
    await using connection = await this.caller();
    await connection.write(latin1(request + body));
    return await this.answerOn(connection, request.split(" ", 1)[0]);
  }

  /** Reads the next answer on a caller's connection. */
  async answerOn(connection: RawConnection, method = "GET"): Promise<WireMessage> {
    return await within(
      readWireResponse(connection.reader, method),
      () => `an answer to ${method}; received ${JSON.stringify(connection.receivedText)}`,
    );
  }

  /**
   * Runs one step of a test. Programs, target and their pooled connections outlive it, so that only
   * the test around it can look for what is left open.
   */
  async step(t: Deno.TestContext, name: string, run: () => Promise<void>): Promise<void> {
    const fn = async (): Promise<void> => {
      try {
        await run();
      } catch (error) {
        console.error(this.#recentLog());
        throw error;
      }
    };
    await t.step({ name, fn, sanitizeOps: false, sanitizeResources: false });
  }

  #recentLog(): string {
    return [this.relay, this.agent].map(({ program }) => program.logText(8)).join("\n");
  }
}

/** Runs a test with a tunnel and ends everything afterwards. */
export async function withTunnel(
  test: (tunnel: Tunnel) => Promise<void>,
  { entry = {}, absent = [], relayArgs = [], relayEnv = {}, agentArgs = [] }: TunnelOptions = {},
): Promise<void> {
  const scripts = new Scripts();
  await using target = await startRawTarget((connection) => scripts.serve(connection));
  await using relay = await startRelay({
    clusters: [
      { id: CLUSTER, token: TOKEN, targetAddr: target.address, ...entry },
      ...absent.map((id) => ({ id, token: `${TOKEN}-${id}`, targetAddr: target.address })),
    ],
    args: [...graceArgs, ...relayArgs],
    env: relayEnv,
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: target.address,
    credential: CREDENTIAL,
    args: [...graceArgs, ...agentArgs],
  });
  await relay.waitForAgent(CLUSTER);
  await test(new Tunnel(relay, agent, target, scripts));
}

/** What a connection received until it ended, and in which way it ended. */
export interface Ending {
  readonly bytes: Uint8Array;
  /** Whether it broke instead of ending in good order. */
  readonly isBroken: boolean;
}

/** Reads a connection until the other side has ended or broken it. */
export async function untilEnd(connection: RawConnection): Promise<Ending> {
  const isBroken = await within(
    breaks(connection.reader),
    () => `the end of a connection; received ${JSON.stringify(connection.receivedText)}`,
  );
  return { bytes: connection.received, isBroken };
}

async function breaks(reader: ByteReader): Promise<boolean> {
  try {
    await reader.readToEnd();
    return false;
  } catch (error) {
    if (error instanceof ConnectionGoneError) return true;
    throw error;
  }
}
