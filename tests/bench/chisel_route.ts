/**
 * chisel in reverse: SSH over a WebSocket, in plain HTTP as SSH encrypts already. It forwards bytes,
 * so over TLS the caller speaks to the target itself.
 */
import { type Peer, programPath, startPeer, versionOf } from "./peer_route.ts";

/** chisel. */
export const chisel: Peer = {
  name: "chisel",
  source: "go install github.com/jpillora/chisel@latest",
  version: () => versionOf("chisel", ["--version"], /^(\S+)/),
  start: (context) =>
    startPeer("chisel", {
      server: ({ control }) => {
        const listen = ["--host", "127.0.0.1", "--port", `${control}`];
        return Promise.resolve([programPath("chisel"), "server", "--reverse", ...listen]);
      },
      client: ({ control, plain, tls }) => {
        const { plainPort, tlsPort } = context.target;
        return Promise.resolve([
          ...[programPath("chisel"), "client", "--max-retry-interval", "1s"] as const,
          `http://127.0.0.1:${control}`,
          `R:127.0.0.1:${plain}:127.0.0.1:${plainPort}`,
          `R:127.0.0.1:${tls}:127.0.0.1:${tlsPort}`,
        ]);
      },
    }, context),
};
