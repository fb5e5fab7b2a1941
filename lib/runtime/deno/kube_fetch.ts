/** Requests to the API server through Deno's `fetch`, with credentials that rotate on disk. */
import type { KubeConnection } from "../../config/kube_connection.ts";
import { readText } from "../../config/text_file.ts";
import type { KubeFetch } from "../../kube/client.ts";

const caAgeMs = 60_000;

/**
 * Connects to one API server. Uses HTTP/1.1: a request that was given up closes its connection, so
 * that the next one does not wait on a peer that is gone.
 */
export function kubeFetch(connection: KubeConnection): { fetch: KubeFetch; close: () => void } {
  const authorization = tokenReader(connection);
  const clients = clientOf(connection);
  const fetchIt: KubeFetch = async (path, { headers, ...init }) => {
    const token = authorization();
    return await fetch(connection.server + path, {
      ...init,
      headers: { ...headers, ...token !== undefined && { authorization: `Bearer ${token}` } },
      client: clients.current(),
      redirect: "error",
    });
  };
  return { fetch: fetchIt, close: clients.close };
}

function tokenReader({ token }: KubeConnection): () => string | undefined {
  if (token === undefined) return () => undefined;
  if ("token" in token) return () => token.token;
  let value: string | undefined;
  return () => {
    // Without the file the last token has to do; the API server says when it does not any more.
    try {
      value = readText(token.path).trim() || value;
    } catch (error) {
      if (value === undefined) throw error;
    }
    return value;
  };
}

function clientOf({ ca, cert, key }: KubeConnection): {
  current: () => Deno.HttpClient;
  close: () => void;
} {
  const pair = cert !== undefined && key !== undefined ? { cert, key } : {};
  const make = (pem: string | undefined) =>
    Deno.createHttpClient({
      ...pem !== undefined && { caCerts: [pem] },
      ...pair,
      http1: true,
      http2: false,
      poolIdleTimeout: 60_000,
    });
  let pem = ca?.pem;
  let client = make(pem);
  let readMs = performance.now();
  return {
    current() {
      if (ca?.path === undefined || performance.now() - readMs < caAgeMs) return client;
      readMs = performance.now();
      const now = readOr(ca.path, pem);
      if (now === pem) return client;
      // Requests that are under way keep the old client until they end.
      pem = now;
      client = make(pem);
      return client;
    },
    close: () => client.close(),
  };
}

function readOr(path: string, otherwise: string | undefined): string | undefined {
  try {
    return readText(path);
  } catch {
    return otherwise;
  }
}
