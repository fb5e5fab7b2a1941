/** Requests to relays' admin APIs and agents' health listeners, through Deno's `fetch`. */
import { hash } from "node:crypto";
import { messageOf } from "../../message_of.ts";
import type { ServedTable } from "../../operator/agents/route_delivery.ts";
import type { RelayFetch, RelayTls } from "../../operator/relay/relay_api.ts";
import { textOf } from "../../response_text.ts";
import { advised, type TlsAdvice } from "../tls_advice.ts";

/** CAs, client certificates and proxies that are in use at once; a client of each is kept. */
const maxClients = 64;

/** Sends requests, with a client for each CA, client certificate and proxy. */
export function relayFetch(): RelayFetch {
  const clients = new Map<string, Deno.HttpClient>();
  const clientOf = ({ caPem, pair, proxy }: RelayTls): Deno.HttpClient => {
    const print = hash("sha256", JSON.stringify([caPem, pair, proxy]));
    const known = clients.get(print);
    if (known) {
      // The last one that was used is the last in the map.
      clients.delete(print);
      clients.set(print, known);
      return known;
    }
    if (clients.size >= maxClients) {
      // Whoever names many CAs makes others connect anew at worst: what is under way goes on.
      const [[unused, client]] = clients as unknown as [[string, Deno.HttpClient]];
      clients.delete(unused);
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
  return async (url, init, tls) => {
    try {
      return await fetch(url, {
        ...init,
        redirect: "error",
        ...(tls.caPem !== undefined || tls.pair || tls.proxy) && { client: clientOf(tls) },
      });
    } catch (error) {
      if (init.signal.aborted) throw error;
      throw new Error(failureText(messageOf(error), url, tls), { cause: error });
    }
  };
}

const tlsAdvice: TlsAdvice = {
  notTls: "a listener without TLS is reached by http://",
  unknownCa: "ca.crt must hold the CA of the relay's certificate",
  otherName: "the endpoint must have a name of the relay's certificate",
  dates: "renew the relay's certificate, or set the clock",
};

/** What went wrong, and what mends it. @param message The runtime's own. */
function failureText(message: string, url: string, { pair }: RelayTls): string {
  if (/received fatal alert: CertificateRequired/.test(message)) {
    return "it demands a client certificate, and the operator has none for it";
  }
  const isEnd = /received fatal alert|close_notify|reset by peer/.test(message);
  if (!isEnd || !url.startsWith("https:")) return advised(message, tlsAdvice);
  // A listener ends the connection because of a certificate, and its alert may get lost.
  return pair
    ? "it ended the connection; its --caller-ca must hold the CA of the operator's client certificate"
    : "it ended the connection; it may demand a client certificate, and the operator has none for it";
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
