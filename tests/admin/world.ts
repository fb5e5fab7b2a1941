/** A relay with an admin API in the test's own process, asked without sockets. */
import { AdminEntries } from "../../lib/admin/entries.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import { serveFetch } from "../../lib/net/fetch_server.ts";
import { Relay } from "../../lib/relay/relay.ts";
import type { AuditRecord } from "../../lib/relay/telemetry/audit.ts";
import { PrometheusInstruments } from "../../lib/runtime/node/prometheus.ts";
import { RelayAdmin } from "../../lib/runtime/node/relay/admin.ts";
import { Published } from "../../lib/runtime/node/relay/published.ts";
import { ServicePorts } from "../../lib/runtime/node/relay/service_ports.ts";
import { relaysOf } from "../../lib/runtime/node/relay/peers.ts";
import { relayTlsFiles } from "../../lib/runtime/node/relay/tls.ts";
import { RelaySignIn } from "../../lib/runtime/node/relay/sign_in.ts";
import { tokenDigest } from "../../lib/runtime/node/token_digest.ts";
import { stopTimers } from "../support/relay_timers.ts";

export { AdminEntries };

/** Tokens of the tests' admin API, by name. */
export const adminTokens = [
  { name: "ops", clusters: ["*"], hostnames: ["*"], people: true },
  { name: "brief", clusters: ["l-*"], leaseSeconds: 60 },
  { name: "team-a", clusters: ["a-*"], hostnames: ["*.a.example.com", "a.example.com"] },
  { name: "team", clusters: ["t-*"] },
  { name: "small", clusters: ["s-*"], hostnames: [], maxClusters: 2 },
  { name: "guest", clusters: ["g-*"], hostnames: [], autoAccept: false },
  { name: "past", clusters: ["*"], hostnames: ["*"], expires: "2020-01-01T00:00:00Z" },
].map((entry) => ({ ...entry, token: tokenOf(entry.name) }));

/** The admin token of a name. */
export function tokenOf(name: string): string {
  return `admin-token-of-${name}-0123456789`;
}

/** A line of the relay's log. */
export interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** An answer of the API. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any
  readonly body: any;
}

/** How a request differs from the usual. */
export interface AskOptions {
  /** The name of the token; undefined is `ops`, and `""` none. */
  readonly as?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body as it is. */
  readonly text?: string;
}

/** A relay and its API. */
export class AdminWorld implements AsyncDisposable {
  readonly relay: Relay;
  readonly admin: RelayAdmin;
  readonly published: Published;
  readonly lines: Line[];
  readonly records: AuditRecord[];
  readonly instruments: PrometheusInstruments;
  readonly #ports: ServicePorts;

  private constructor(
    parts: Pick<AdminWorld, "relay" | "admin" | "published" | "lines" | "records" | "instruments">,
    ports: ServicePorts,
  ) {
    this.relay = parts.relay;
    this.admin = parts.admin;
    this.published = parts.published;
    this.lines = parts.lines;
    this.records = parts.records;
    this.instruments = parts.instruments;
    this.#ports = ports;
  }

  /** Starts one. @param env options besides the usual ones, as environment variables */
  static async start(env: Readonly<Record<string, string>> = {}): Promise<AdminWorld> {
    const parsed = parseRelayOptions([], {
      CLUSTERS: "[]",
      ADDR: "127.0.0.1:0",
      INTERNAL_ADDR: "127.0.0.1:0",
      ADMIN_ADDR: "127.0.0.1:0",
      // Their timers would go on behind a test.
      RESPONSE_TIMEOUT: "0",
      IDLE_TIMEOUT: "0",
      ADMIN_TOKENS: JSON.stringify(adminTokens),
      ...env,
    });
    if (parsed.kind !== "run") throw new Error("These are options to run with");
    const { options } = parsed;
    const lines: Line[] = [];
    const records: AuditRecord[] = [];
    const instruments = new PrometheusInstruments();
    const log = logInto(lines);
    const tlsFiles = await relayTlsFiles(options);
    const relay = await Relay.create(
      {
        ...options,
        services: options.services?.services,
        people: options.services,
        head: defaultHeadLimits,
        version: "0",
      },
      log,
      {
        instruments,
        defer: setImmediate,
        digest: tokenDigest,
        relays: await relaysOf(options, tlsFiles),
        audit: {
          failsOpen: false,
          log: {
            append(record, written) {
              records.push(record);
              written(true);
            },
          },
        },
      },
    );
    const ports = new ServicePorts(relay, undefined);
    const signIn = new RelaySignIn(relay, options, "https");
    const published = new Published(options, relay, { signIn, ports });
    const admin = await RelayAdmin.open(relay, options, published, tlsFiles);
    return new AdminWorld({ relay, admin: admin!, published, lines, records, instruments }, ports);
  }

  /** Asks the API. */
  async ask(
    method: string,
    path: string,
    body?: unknown,
    options: AskOptions = {},
  ): Promise<Answer> {
    const { as = "ops", headers = {}, text } = options;
    const content = text ?? (body === undefined ? undefined : JSON.stringify(body));
    const request = new Request(`http://127.0.0.1${path}`, {
      method,
      headers: { ...as !== "" && { Authorization: `Bearer ${tokenOf(as)}` }, ...headers },
      ...content !== undefined && { body: content },
    });
    const response = await serveFetch(request, {
      app: (request, bindings) => this.admin.fetch!(request, bindings as never),
      peer: { address: "192.0.2.1", isTls: true },
      host: {
        upgrade: () => {
          throw new Error("No upgrade was asked for");
        },
        copiesOnSend: true,
      },
      fault: (error) => {
        throw error;
      },
    });
    const answered = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: answered === "" ? undefined : JSON.parse(answered),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.admin.close();
    this.#ports.close();
    await this.relay.drain(0);
    stopTimers(this.relay);
  }
}

function logInto(lines: Line[]): Log {
  const at = (level: string) => (message: string, fields: object = {}) =>
    void lines.push({ level, message, fields: { ...fields } });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** A cluster's entry with a token of its own. */
export function entryFor(id: string, more: object = {}): Record<string, unknown> {
  return { token: agentToken(id), targetAddr: "target.example:443", ...more };
}

/** The token of a cluster's agents. */
export function agentToken(id: string): string {
  return `agents-of-${id}-0123456789`;
}

/** Runs a test with a folder of its own. */
export async function withState(test: (state: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "culvert-state-" });
  try {
    await test(`${folder}/state`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
