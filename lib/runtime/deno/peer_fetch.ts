/** Requests to other relays' internal listeners that are not forwarded. */
import type { PeerTls } from "./dial_peer.ts";

/** @param tls as it is now, for each request */
export function peerFetch(
  tls: () => PeerTls,
): (url: string, init: RequestInit) => Promise<Response> {
  return async (url, init) => {
    if (!url.startsWith("https:")) return await fetch(url, init);
    const { ca, cert, key } = tls();
    const pair = cert !== undefined && key !== undefined ? { cert, key } : {};
    const client = Deno.createHttpClient({ ...ca !== undefined && { caCerts: [ca] }, ...pair });
    try {
      const response = await fetch(url, { ...init, client });
      return new Response(await response.text(), { status: response.status });
    } finally {
      client.close();
    }
  };
}
