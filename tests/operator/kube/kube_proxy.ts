/** An HTTPS proxy before an API server, which sees every request and may answer in its place. */
import { createHash } from "node:crypto";
import { readKubeConnection } from "../../../lib/config/kube_connection.ts";
import type { OwnKube } from "./own_kube.ts";

/** A request that came by. */
export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Of the credential that came with it. */
  readonly credential: string;
  /** On the clock of `performance`: when it came, and when it was answered. */
  readonly beganMs: number;
  answeredMs: number | undefined;
  status: number | undefined;
}

/** What answers in the server's place; undefined lets the request through. */
export type Intercept = (
  request: ProxiedRequest,
  pass: () => Promise<Response>,
) => Response | Promise<Response> | undefined;

/** What a proxy says of a credential. */
export function credentialOf(token: string): string {
  return createHash("sha256").update(`Bearer ${token}`).digest("hex");
}

/** The proxy. */
export class KubeProxy implements AsyncDisposable {
  /** In the order in which they came. */
  readonly requests: ProxiedRequest[] = [];
  intercept: Intercept | undefined;
  readonly #upstream: string;
  readonly #client: Deno.HttpClient;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #watches = new Set<AbortController>();

  private constructor(upstream: string, ca: string, pair: { cert: string; key: string }) {
    this.#upstream = upstream;
    this.#client = Deno.createHttpClient({ caCerts: [ca], http2: false });
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, ...pair, onListen() {}, onError: () => cut() },
      (request) => this.#serve(request),
    );
  }

  static start(kube: OwnKube): KubeProxy {
    const { server, ca } = readKubeConnection(kube.kubeconfig, "Option --kubeconfig", {});
    // The API server's own certificate, so that whoever trusts that one trusts this one.
    const folder = ca!.path!.replace(/[^/]+$/, "");
    const read = (name: string) => Deno.readTextFileSync(folder + name);
    return new KubeProxy(server, ca!.pem, {
      cert: read("apiserver.crt"),
      key: read("apiserver.key"),
    });
  }

  get url(): string {
    return `https://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Ends all watches that are open, as a proxy does that restarts. */
  cutWatches(): void {
    for (const watch of this.#watches) watch.abort();
    this.#watches.clear();
  }

  async #serve(request: Request): Promise<Response> {
    const { pathname, searchParams, search } = new URL(request.url);
    const credential = createHash("sha256").update(request.headers.get("authorization") ?? "");
    const seen: ProxiedRequest = {
      ...{ method: request.method, path: pathname, query: searchParams },
      credential: credential.digest("hex"),
      beganMs: performance.now(),
      ...{ answeredMs: undefined, status: undefined },
    };
    this.requests.push(seen);
    const body = request.body ? await request.text() : undefined;
    const pass = () => this.#pass(request, pathname + search, body);
    const response = await (this.intercept?.(seen, pass) ?? pass());
    seen.status = response.status;
    seen.answeredMs = performance.now();
    return response;
  }

  async #pass(request: Request, path: string, body: string | undefined): Promise<Response> {
    const ended = new AbortController();
    const isWatch = path.includes("watch=true");
    if (isWatch) this.#watches.add(ended);
    const headers = new Headers(request.headers);
    for (const name of ["host", "accept-encoding", "content-length"]) headers.delete(name);
    const response = await fetch(this.#upstream + path, {
      ...{ method: request.method, headers, client: this.#client, signal: ended.signal },
      ...body !== undefined && { body },
    });
    const type = response.headers.get("content-type") ?? "";
    const retryAfter = response.headers.get("retry-after");
    return new Response(isWatch ? cuttable(response.body!, ended.signal) : response.body, {
      status: response.status,
      headers: { "content-type": type, ...retryAfter !== null && { "retry-after": retryAfter } },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutWatches();
    await this.#server.shutdown();
    this.#client.close();
  }
}

/** A body that breaks off when the signal is aborted: an abort of the request alone wakes no reader. */
function cuttable(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { readable, writable } = new TransformStream<
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>
  >();
  body.pipeTo(writable, { signal }).catch(() => {});
  return readable;
}

/** For what the API server did not answer. */
function cut(): Response {
  return new Response("the proxy can't reach the API server", { status: 502 });
}
