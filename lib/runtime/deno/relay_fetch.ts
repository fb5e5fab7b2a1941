/** Requests to relays' admin APIs and agents' health listeners, through Deno's `fetch`. */
import type { RelayFetch, RelayTls } from "../../operator/relay/relay_api.ts";
import { textOf } from "../../operator/response_text.ts";
import type { ServedTable } from "../../operator/agents/route_delivery.ts";

/** CAs, client certificates and proxies that are in use at once; a client of each is kept. */
const maxClients = 64;

/** Sends requests, with a client for each CA, client certificate and proxy. */
export function relayFetch(): RelayFetch {
  const clients = new Map<string, Deno.HttpClient>();
  const clientOf = ({ caPem, pair, proxy }: RelayTls): Deno.HttpClient => {
    const print = JSON.stringify([caPem, pair, proxy]);
    const known = clients.get(print);
    if (known) return known;
    if (clients.size >= maxClients) {
      // The oldest goes: CAs change rarely, and a client is made anew in no time.
      const [[oldest, client]] = clients as unknown as [[string, Deno.HttpClient]];
      clients.delete(oldest);
      client.close();
    }
    const client = Deno.createHttpClient({
      ...caPem !== undefined && { caCerts: [caPem] },
      ...pair,
      ...proxy && { proxy },
      ...{ http1: true, http2: false },
    });
    clients.set(print, client);
    return client;
  };
  return async (url, init, tls) =>
    await fetch(url, {
      ...init,
      redirect: "error",
      ...(tls.caPem !== undefined || tls.pair || tls.proxy) && { client: clientOf(tls) },
    });
}

const probeTimeoutMs = 2_000;
const maxProbeBytes = 1024 * 1024;

/** Asks an agent's health listener what it serves; undefined without an answer. */
export async function probeTargets(
  address: string,
  port: number,
): Promise<ServedTable | undefined> {
  const host = address.includes(":") ? `[${address}]` : address;
  try {
    const response = await fetch(`http://${host}:${port}/targets`, {
      signal: AbortSignal.timeout(probeTimeoutMs),
      redirect: "error",
    });
    if (!response.ok) {
      await response.body?.cancel();
      return undefined;
    }
    const { hash, refused } = JSON.parse(await textOf(response, maxProbeBytes)) as {
      hash?: unknown;
      refused?: { hash?: unknown; reason?: unknown };
    };
    if (typeof hash !== "string") return undefined;
    return {
      hash,
      ...refused && {
        refused: { hash: String(refused.hash), reason: String(refused.reason).slice(0, 512) },
      },
    };
  } catch {
    return undefined;
  }
}
