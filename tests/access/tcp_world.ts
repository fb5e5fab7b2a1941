/** A relay with TCP services, an agent with targets, and `access` between them and the tests. */
import { createServer, type Server, type Socket } from "node:net";
import { withFolder } from "../support/certificates.ts";
import {
  Program,
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";

/** The cluster's token, and the user's. */
export const agentToken = "tcp-agent-token-0123456789";
export const userToken = "tcp-user-token-0123456789";

/** How a world is set up. */
export interface WorldOptions {
  /** Addresses of TCP targets, by the names that agent and services have for them. */
  readonly targets: Readonly<Record<string, string>>;
  /** Keys that entries of services have besides the usual ones, by their names. */
  readonly services?: Readonly<Record<string, object>>;
  readonly policies?: readonly object[];
  /** Who may call on the internal listener; everybody unless given. */
  readonly callers?: readonly string[];
  /** Whether the relay's own listeners have TLS. */
  readonly usesTls?: boolean;
  readonly relayArgs?: readonly string[];
  readonly agentArgs?: readonly string[];
}

/** What runs. */
export interface World {
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;
  readonly folder: string;
  /** `host:port` of the relay's web listener. */
  readonly webAddress: string;
  /** `http://NAME.localhost:PORT` of a service. */
  url(name: string): string;
  /** Starts `access tcp` for a service, on a free port. */
  access(name: string, ...args: string[]): Promise<RunningAccess>;
}

/** A running `access`, and the port it listens on. */
export interface RunningAccess extends AsyncDisposable {
  readonly program: Program;
  readonly port: number;
}

/** Starts all, and runs `test` with it. */
export async function withWorld(
  options: WorldOptions,
  test: (world: World) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/targets.yaml`, targetsFile(options));
    await Deno.writeTextFile(`${folder}/services.json`, servicesFile(options));
    await using relay = await startRelay({
      clusters: [{ id: "dev", token: agentToken, targetAddr: "none:1" }],
      args: [
        "--web-addr",
        "127.0.0.1:0",
        "--services",
        `${folder}/services.json`,
        ...options.callers ?? ["--callers", "open"],
        ...options.relayArgs ?? [],
      ],
    });
    await using agent = await startAgent({
      relayUrl: options.usesTls ? relay.connectUrl.replace("ws:", "wss:") : relay.connectUrl,
      token: agentToken,
      args: ["--targets", `${folder}/targets.yaml`, ...options.agentArgs ?? []],
    });
    const { address } = await relay.waitForLog(({ listener }) => listener === "web");
    const webAddress = String(address);
    const url = (name: string) => `http://${name}.localhost:${webAddress.split(":").at(-1)}`;
    await test({
      relay,
      agent,
      folder,
      webAddress,
      url,
      access: (name, ...args) =>
        startAccess(["tcp", url(name), "--listen", "127.0.0.1:0", ...args]),
    });
  });
}

/** Starts `access`, and waits until it listens. */
export async function startAccess(
  args: readonly string[],
  token = userToken,
): Promise<RunningAccess> {
  const program = Program.start("access.ts", args, { CULVERT_TOKEN: token });
  try {
    const line = await program.waitForLog(({ message }) => message.startsWith("Listening on "));
    const port = Number(/:(\d+) for /.exec(line.message)![1]);
    return { program, port, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
  } catch (error) {
    await program.kill();
    throw error;
  }
}

function targetsFile({ targets }: WorldOptions): string {
  const entries = Object.entries(targets).map(([name, address]) => ({
    name,
    address,
    kind: "tcp",
  }));
  return JSON.stringify({ targets: entries });
}

/** The services file's text: each target is a service of its own name. */
export function servicesFile({ targets, services = {}, policies }: WorldOptions): string {
  const names = new Set([...Object.keys(targets), ...Object.keys(services)]);
  const entries = [...names].map((name) => ({
    name,
    hostnames: [`${name}.localhost`],
    cluster: "dev",
    target: name,
    kind: "tcp",
    policy: "public",
    ...services[name],
  }));
  return JSON.stringify({ services: entries, ...policies && { policies } });
}

/** A TCP server in the test's own process. */
export interface TcpTarget extends AsyncDisposable {
  readonly address: string;
  /** Connections that are open. */
  readonly open: ReadonlySet<Socket>;
}

/** Starts one that serves each connection as told; an echo unless told otherwise. */
export async function startTcpTarget(
  serve: (socket: Socket) => void = (socket) => void socket.pipe(socket),
): Promise<TcpTarget> {
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    serve(socket);
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const { port } = server.address() as { port: number };
  return {
    address: `127.0.0.1:${port}`,
    open,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
