/** A relay of which a test decides every frame. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { jsonPayload, V2, type V2Frame } from "../peers/v2_frame.ts";
import { V2Link, v2Settings } from "../peers/v2_link.ts";
import { WsAcceptor } from "../peers/ws.ts";
import { eventually } from "../support/deadline.ts";

/** A listening relay. Disposing it ends its sessions. */
export interface LinkRelay extends AsyncDisposable {
  /** What the agent dials. */
  readonly connectUrl: string;
  /** Session number `index` (from 0), awaited if it has not come yet. */
  link(index: number): Promise<V2Link>;
}

/**
 * Starts a relay whose Settings leave right behind the handshake's answer, in a packet of their own.
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
  const links: V2Link[] = [];
  const server = createServer();
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Uint8Array) => {
    acceptor.handleUpgrade(request, socket, head, (ws) => {
      const link = new V2Link(ws, { onFrame: (frame) => onFrame(link, frame), onClose() {} });
      links.push(link);
      queueMicrotask(() => void link.send(V2.settings, 0, jsonPayload(v2Settings())));
    });
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("The relay has no TCP address");
  return {
    connectUrl: `ws://127.0.0.1:${bound.port}/connect`,
    async link(index) {
      await eventually(() => links.length > index, `session ${index} of the agent`);
      return links[index]!;
    },
    async [Symbol.asyncDispose]() {
      for (const link of links) await link.terminate();
      const closed = once(server, "close");
      server.close();
      acceptor.close();
      await closed;
    },
  };
}
