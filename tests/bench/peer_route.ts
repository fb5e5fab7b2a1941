/**
 * A peer of culvert's: two programs that carry the same work, from a caller to the same target. Its
 * server stands in the relay's place, its client in the agent's.
 */
import { lineTo, waitUntilListens } from "./line.ts";
import { twoFreePorts } from "./ports.ts";
import { waitUntilAnswers } from "./probe.ts";
import {
  makeRoute,
  type Route,
  type RouteContext,
  type RouteName,
  type StartRoute,
} from "./route.ts";
import { findProgram, outputOf, Subprocess } from "./subprocess.ts";

/** A peer that may be installed. */
export interface Peer {
  readonly name: RouteName;
  /** How to get it, for a heading without it. */
  readonly source: string;
  /** Its version; undefined when a program of it is not on the PATH, or is too old. */
  version(): Promise<string | undefined>;
  readonly start: StartRoute;
}

/** What a peer's two ends are told. */
export interface PeerPorts {
  /** Where the server takes clients; for the client, the end of the line that leads there. */
  readonly control: number;
  /** Where callers reach the two targets. */
  readonly plain: number;
  readonly tls: number;
}

type Command = readonly [program: string, ...args: string[]];

/** How a peer's programs are started. */
export interface PeerPrograms {
  /** @param folder For files of the programs; it is removed in the end. */
  server(ports: PeerPorts, folder: string): Promise<Command>;
  client(ports: PeerPorts, folder: string): Promise<Command>;
  /** Whether the peer speaks TLS to the TLS target by itself, so that its caller need not. */
  readonly endsTls?: boolean;
}

/** Starts a peer's server and client, and waits until requests pass to both targets. */
export async function startPeer(
  name: string,
  programs: PeerPrograms,
  context: RouteContext,
): Promise<Route> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: `culvert-bench-${name}-` });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const [control] = twoFreePorts();
  const [plain, tls] = twoFreePorts();
  const ports = { control, plain, tls };
  const start = (role: string, command: Command): Subprocess =>
    stack.use(new Subprocess({ name: `${name} ${role}`, command }));

  const server = start("server", await programs.server(ports, folder));
  // A client that comes too early may wait for long before it tries again.
  await waitUntilListens(control, server, context.signal);
  const line = await lineTo(control, context, stack);
  const client = start("client", await programs.client({ ...ports, control: line }, folder));

  const { smallPath, certificate } = context.target;
  const ca = await Deno.readTextFile(certificate.caPath);
  const tlsScheme = programs.endsTls ? "http" : "https";
  const url: Route["url"] = (kind, path) =>
    kind === "tls" ? `${tlsScheme}://127.0.0.1:${tls}${path}` : `http://127.0.0.1:${plain}${path}`;
  for (const kind of ["plain", "tls"] as const) {
    await waitUntilAnswers(url(kind, smallPath), [server, client], context.signal, ca);
  }
  const processes = [
    { role: "relay", pid: server.pid },
    { role: "agent", pid: client.pid },
  ] as const;
  return makeRoute(stack, [server, client], { url, processes: () => processes });
}

/** The path of a program that must be on the PATH. */
export function programPath(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`Program ${name} is not on the PATH`);
  return path;
}

/** Writes a program's configuration. @returns its path. */
export async function writeConfig(folder: string, name: string, text: string): Promise<string> {
  const path = `${folder}/${name}`;
  await Deno.writeTextFile(path, text);
  return path;
}

/** What a program says its version is; undefined when it is not on the PATH. */
export async function versionOf(
  name: string,
  args: readonly string[],
  pattern: RegExp,
): Promise<string | undefined> {
  const path = findProgram(name);
  if (path === undefined) return undefined;
  const about = await outputOf([path, ...args]);
  return pattern.exec(about)?.[1] ?? about.trim().split("\n")[0];
}
