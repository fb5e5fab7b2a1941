/** Requests to the API server through Deno's `fetch`, with credentials that rotate on disk. */
import type { KubeConnection } from "../../config/kubeconfig.ts";
import { certificatesOnly } from "../../config/pem.ts";
import { readText, rereader } from "../../config/text_file.ts";
import type { KubeFetch } from "../../kube/client.ts";

/** How often the CA is read again. */
const defaultCaAgeMs = 60_000;

/**
 * Connects to one API server. Uses HTTP/1.1: a request that was given up closes its connection, so
 * that the next one does not wait on a peer that is gone.
 */
export function kubeFetch(
  connection: KubeConnection,
  caAgeMs = defaultCaAgeMs,
): { fetch: KubeFetch; close: () => void } {
  const authorization = tokenReader(connection);
  const clients = clientOf(connection, caAgeMs);
  const fetchIt: KubeFetch = async (path, { headers, ...init }) => {
    const token = authorization();
    // What `fetch` says of a header that it can't send quotes it whole.
    if (token !== undefined && !/^[\x20-\x7e]+$/.test(token)) {
      throw new TypeError(
        "The token for the API server must be one line of visible ASCII characters",
      );
    }
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
  const read = rereader(token.path, () => readText(token.path).trim());
  let value: string | undefined;
  return () => {
    // Without the file the last token has to do; the API server says when it does not any more.
    try {
      value = read() || value;
    } catch (error) {
      if (value === undefined) throw error;
    }
    return value;
  };
}

function clientOf({ ca, cert, key }: KubeConnection, caAgeMs: number): {
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
      const now = certificatesOr(ca.path, pem);
      if (now === pem) return client;
      // Requests that are under way keep the old client until they end.
      pem = now;
      client = make(pem);
      return client;
    },
    close: () => client.close(),
  };
}

/** What a file holds; while it can't be read, or is half written, what it held before. */
function certificatesOr(path: string, before: string | undefined): string | undefined {
  try {
    return certificatesOnly(readText(path));
  } catch {
    return before;
  }
}
