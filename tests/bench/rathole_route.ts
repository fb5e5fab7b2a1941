/**
 * rathole as it comes (plain TCP between its ends, its defaults otherwise): one service for each of
 * the target's listeners. It forwards bytes, so over TLS the caller speaks to the target itself.
 */
import { type Peer, programPath, startPeer, versionOf, writeConfig } from "./peer_route.ts";

/** rathole, the fastest peer that was found. */
export const rathole: Peer = {
  name: "rathole",
  source: "cargo install rathole",
  version: () => versionOf("rathole", ["--version"], /Build Version:\s+(\S+)/),
  start: (context) =>
    startPeer("rathole", {
      server: async ({ control, plain, tls }, folder) => {
        const config = `[server]
bind_addr = "127.0.0.1:${control}"
default_token = "culvert-bench"
[server.services.plain]
bind_addr = "127.0.0.1:${plain}"
[server.services.tls]
bind_addr = "127.0.0.1:${tls}"
`;
        const path = await writeConfig(folder, "server.toml", config);
        return [programPath("rathole"), "--server", path];
      },
      client: async ({ control }, folder) => {
        const { plainPort, tlsPort } = context.target;
        const config = `[client]
remote_addr = "127.0.0.1:${control}"
default_token = "culvert-bench"
[client.services.plain]
local_addr = "127.0.0.1:${plainPort}"
[client.services.tls]
local_addr = "127.0.0.1:${tlsPort}"
`;
        const path = await writeConfig(folder, "client.toml", config);
        return [programPath("rathole"), "--client", path];
      },
    }, context),
};
