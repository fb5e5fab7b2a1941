/** A relay of which a test decides every frame, and what of it leaves in one packet. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { jsonPayload, V2, type V2Frame } from "../peers/v2_frame.ts";
import { V2Link, v2Settings } from "../peers/v2_link.ts";
import { WsAcceptor } from "../peers/ws.ts";
import { eventually } from "../support/deadline.ts";

/** A listening relay for one agent. Disposing it ends its session. */
export interface LinkRelay extends AsyncDisposable {
  /** What the agent dials. */
  readonly connectUrl: string;
  /** The agent's session, awaited if there is none yet. */
  link(): Promise<V2Link>;
}

/**
 * Starts a relay whose Settings leave in one packet with the handshake's answer.
 *
 * @param onFrame Called with each frame of the agent's before the next one is looked at: what it
 *   sends synchronously goes ahead of the answer to that one.
 */
export async function startLinkRelay(
  onFrame: (link: V2Link, frame: V2Frame) => void = () => {},
): Promise<LinkRelay> {
  const acceptor = new WsAcceptor({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 1024 * 1024,
  });
  let current: V2Link | undefined;
  const server = createServer();
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Uint8Array) => {
    socket.cork();
    acceptor.handleUpgrade(request, socket, head, (ws) => {
      const link = new V2Link(ws, { onFrame: (frame) => onFrame(link, frame), onClose() {} });
      void link.send(V2.settings, 0, jsonPayload(v2Settings()));
      current = link;
    });
    socket.uncork();
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("The relay has no TCP address");
  return {
    connectUrl: `ws://127.0.0.1:${bound.port}/connect`,
    async link() {
      await eventually(() => current !== undefined, "the agent's handshake");
      return current!;
    },
    async [Symbol.asyncDispose]() {
      await current?.terminate();
      const closed = once(server, "close");
      server.close();
      acceptor.close();
      await closed;
    },
  };
}
