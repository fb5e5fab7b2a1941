/** The relay's homes at the edge, each with the real platform program, for tests that run on all. */
import {
  type AgentOptions,
  type LogLine,
  Program,
  type RunningAgent,
  startAgent,
} from "../support/programs.ts";

/** Settings of a relay, as a platform's variables and secrets have them. */
export type Settings = Readonly<Record<string, string>>;

/** A relay that runs at the edge. */
export interface EdgeRelay extends AsyncDisposable {
  readonly program: Program;
  /** `host:port` for agents and callers. */
  readonly address: string;
  /** Ends what holds the agents' sessions, as the platform may at any time, and has it begin anew. */
  restart(): Promise<void>;
}

/** A platform. */
export interface Home {
  readonly name: string;
  /**
   * Whether a chunked answer whose body failed ends like a whole one. workerd's own HTTP server closes
   * such a body with its last chunk; docs/runtimes.md tells.
   */
  readonly hidesCuts: boolean;
  start(settings: Settings): Promise<EdgeRelay>;
}

/** `deno serve` with the entry for Deno Deploy and no more permissions than it needs. */
const deno: Home = {
  name: "deno serve",
  hidesCuts: false,
  async start(settings) {
    let program = startDenoServe(settings, "0");
    const { message } = await program.waitForLog(({ message }) => message.includes("Listening on"));
    const address = new URL(/http:\S+/.exec(message)![0]).host;
    return {
      get program() {
        return program;
      },
      address,
      async restart() {
        await program.kill();
        program = startDenoServe(settings, address.split(":")[1]!);
        await program.waitForLog(({ message }) => message.includes("Listening on"));
      },
      [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
    };
  },
};

function startDenoServe(settings: Settings, port: string): Program {
  const args = ["serve", "--allow-net", "--allow-env", "--host", "127.0.0.1", "--port", port];
  return Program.startDeno("deno serve", [...args, "deploy/deno/main.ts"], settings);
}

/** The bundle of the Worker in workerd, by miniflare. */
const cloudflare: Home = {
  name: "workerd",
  hidesCuts: true,
  async start(settings) {
    const env = { EDGE_SETTINGS: JSON.stringify(settings) };
    const args = ["run", "-A", "--config", "tests/edge/workerd/deno.json"];
    const program = Program.startDeno("workerd", [...args, "tests/edge/workerd/main.ts"], env);
    const line = await program.waitForLog(({ message }) => message === "Listening");
    const address = String(line.address);
    return {
      program,
      address,
      async restart() {
        const response = await fetch(`http://${address}/restart/${clusterId}`);
        await response.body?.cancel();
      },
      [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
    };
  },
};

/** All of them. */
export const homes: readonly Home[] = [deno, cloudflare];

/** The cluster that the tests use. */
export const clusterId = "edge";
/** Of {@link clusterId}. */
export const agentToken = "edge-agent-token-0123456789";
/** Opens {@link clusterId} and clusters that begin with `edge-`. */
export const callerToken = "edge-caller-token-0123456789";

/** Settings with one cluster and one caller. */
export function settingsFor(target: string): Settings {
  const clusters = [
    { id: clusterId, token: agentToken, targetAddr: target },
    { id: "edge-empty", token: "edge-empty-token-0123456789", targetAddr: target },
    { id: "other", token: "edge-other-token-0123456789", targetAddr: target },
  ];
  const callers = [{ name: "tests", token: callerToken, clusters: ["edge*"] }];
  return { CLUSTERS: JSON.stringify(clusters), CALLER_TOKENS: JSON.stringify(callers) };
}

/** A relay at the edge and an agent beside a target. */
export interface EdgeTunnel extends AsyncDisposable {
  readonly relay: EdgeRelay;
  readonly agent: RunningAgent;
  /** Base of the cluster's requests, without a slash at the end. */
  readonly url: string;
  /** A request with the caller's token. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** A further agent of the cluster. */
  startAgent(): Promise<RunningAgent>;
}

/** Starts a relay on a platform, and the project's real agent. */
export async function startEdgeTunnel(
  home: Home,
  target: string,
  agentOptions: Partial<AgentOptions> = {},
): Promise<EdgeTunnel> {
  await using stack = new AsyncDisposableStack();
  const relay = stack.use(await home.start(settingsFor(target)));
  const start = async () => {
    let agent: RunningAgent | undefined;
    const begin = async () => {
      agent = await startAgent({
        relayUrl: `ws://${relay.address}/connect`,
        token: agentToken,
        target,
        ...agentOptions,
      });
    };
    await relay.program.logAfter(begin, isAgentConnected);
    return agent!;
  };
  const agent = stack.use(await start());
  const url = `http://${relay.address}/tunnel/${clusterId}`;
  const owned = stack.move();
  return {
    relay,
    agent,
    url,
    fetch(path, init = {}) {
      const headers = new Headers(init.headers);
      headers.set("Authorization", `Bearer ${callerToken}`);
      // Miniflare compresses answers for a caller that lets it, as Cloudflare may; it holds them back.
      if (!headers.has("Accept-Encoding")) headers.set("Accept-Encoding", "identity");
      return fetch(`${url}${path}`, { ...init, headers });
    },
    async startAgent() {
      return owned.use(await start());
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Whether a line of a relay's log tells of an agent. */
export function isAgentConnected({ message }: LogLine): boolean {
  return message === "Agent connected";
}

/** How often an agent has connected to the relay up to now, which the line of a request tells. */
export async function agentsConnected(tunnel: EdgeTunnel): Promise<number> {
  const id = crypto.randomUUID();
  await (await tunnel.fetch("/", { headers: { "X-Request-Id": id } })).text();
  const log = await tunnel.relay.program.logUntil(({ message, request_id }) =>
    message === "Request" && request_id === id
  );
  return log.filter(isAgentConnected).length;
}
