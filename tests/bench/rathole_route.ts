/**
 * rathole as it comes (plain TCP between its ends, its defaults otherwise): one service for each of
 * the target's listeners. It forwards bytes, so over TLS the caller speaks to the target itself.
 */
import { lineTo } from "./line.ts";
import { twoFreePorts } from "./ports.ts";
import { waitUntilAnswers } from "./probe.ts";
import { makeRoute, type Route, type RouteContext } from "./route.ts";
import { findProgram, outputOf, Subprocess } from "./subprocess.ts";

/** rathole's version, or undefined when it is not on the PATH. */
export async function ratholeVersion(): Promise<string | undefined> {
  const path = findProgram("rathole");
  if (path === undefined) return undefined;
  const about = await outputOf([path, "--version"]);
  return /Build Version:\s+(\S+)/.exec(about)?.[1] ?? about.trim().split("\n")[0];
}

/** Starts rathole's server and client. */
export async function startRathole(context: RouteContext): Promise<Route> {
  const program = findProgram("rathole");
  if (program === undefined) throw new Error("Program rathole is not on the PATH");
  await using stack = new AsyncDisposableStack();
  const [controlPort] = twoFreePorts();
  const [plainPort, tlsPort] = twoFreePorts();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bench-rathole-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));

  const serverConfig = `[server]
bind_addr = "127.0.0.1:${controlPort}"
default_token = "culvert-bench"
[server.services.plain]
bind_addr = "127.0.0.1:${plainPort}"
[server.services.tls]
bind_addr = "127.0.0.1:${tlsPort}"
`;
  const server = await start(program, "server", serverConfig, folder, stack);
  const remotePort = await lineTo(controlPort, context, stack);
  const clientConfig = `[client]
remote_addr = "127.0.0.1:${remotePort}"
default_token = "culvert-bench"
[client.services.plain]
local_addr = "127.0.0.1:${context.target.plainPort}"
[client.services.tls]
local_addr = "127.0.0.1:${context.target.tlsPort}"
`;
  const client = await start(program, "client", clientConfig, folder, stack);

  const { smallPath, certificate } = context.target;
  const ca = await Deno.readTextFile(certificate.caPath);
  const url: Route["url"] = (kind, path) =>
    kind === "tls" ? `https://127.0.0.1:${tlsPort}${path}` : `http://127.0.0.1:${plainPort}${path}`;
  for (const kind of ["plain", "tls"] as const) {
    await waitUntilAnswers(url(kind, smallPath), [server, client], context.signal, ca);
  }
  const processes = [
    { role: "relay", pid: server.pid },
    { role: "agent", pid: client.pid },
  ] as const;
  return makeRoute(stack, [server, client], { url, processes: () => processes });
}

async function start(
  program: string,
  role: "server" | "client",
  config: string,
  folder: string,
  stack: AsyncDisposableStack,
): Promise<Subprocess> {
  const path = `${folder}/${role}.toml`;
  await Deno.writeTextFile(path, config);
  const command = [program, `--${role}`, path] as const;
  return stack.use(new Subprocess({ name: `rathole ${role}`, command }));
}
