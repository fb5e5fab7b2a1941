/**
 * frp with two TCP proxies, and plain TCP between frps and frpc as for the others. It forwards bytes,
 * so over TLS the caller speaks to the target itself.
 */
import { type Peer, programPath, startPeer, versionOf, writeConfig } from "./peer_route.ts";
import { findProgram } from "./subprocess.ts";

const log = `log.level = "error"
auth.token = "culvert-bench"
`;

/** frp: frps and frpc. */
export const frp: Peer = {
  name: "frp",
  source: "frps and frpc of https://github.com/fatedier/frp/releases",
  version: async () =>
    findProgram("frpc") === undefined
      ? undefined
      : await versionOf("frps", ["--version"], /^(\S+)/),
  start: (context) =>
    startPeer("frp", {
      server: async ({ control }, folder) => {
        const config = `bindAddr = "127.0.0.1"
bindPort = ${control}
proxyBindAddr = "127.0.0.1"
${log}`;
        return [programPath("frps"), "-c", await writeConfig(folder, "frps.toml", config)];
      },
      client: async ({ control, plain, tls }, folder) => {
        const { plainPort, tlsPort } = context.target;
        const proxy = (name: string, localPort: number, remotePort: number): string =>
          `[[proxies]]
name = "${name}"
type = "tcp"
localIP = "127.0.0.1"
localPort = ${localPort}
remotePort = ${remotePort}
`;
        const config = `serverAddr = "127.0.0.1"
serverPort = ${control}
loginFailExit = false
transport.tls.enable = false
${log}${proxy("plain", plainPort, plain)}${proxy("tls", tlsPort, tls)}`;
        return [programPath("frpc"), "-c", await writeConfig(folder, "frpc.toml", config)];
      },
    }, context),
};
