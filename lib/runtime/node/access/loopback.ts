/** The port of this machine to which a browser comes back from a sign-in (RFC 8252 section 7.3). */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** What the page says in the end. */
export interface Outcome {
  readonly isGood: boolean;
  readonly text: string;
}

/** Takes a request's target. @returns what to tell the person; undefined for a request of something else */
export type Receive = (target: string) => Promise<Outcome | undefined>;

/** Listens on a free port of loopback. */
export class Loopback {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(receive: Receive): Promise<Loopback> {
    const server = createServer((request, response) => {
      void answer(request, response, receive);
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
    await promise;
    return new Loopback(server);
  }

  /** `http://127.0.0.1:PORT` */
  get origin(): string {
    const { port } = this.#server.address() as { port: number };
    return `http://127.0.0.1:${port}`;
  }

  /** Ends it, once the page has been sent. */
  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), 1_000);
    await promise;
    clearTimeout(timer);
  }
}

async function answer(
  { method, url = "/", headers }: IncomingMessage,
  response: ServerResponse,
  receive: Receive,
): Promise<void> {
  response.setHeader("Connection", "close");
  response.setHeader("Cache-Control", "no-store");
  response.setHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  response.setHeader("Referrer-Policy", "no-referrer");
  // A name that was made to mean this machine (DNS rebinding) is not the address that was given out.
  const isOwn = /^127\.0\.0\.1:\d+$/.test(headers.host ?? "");
  const outcome = isOwn && method === "GET" ? await receive(url) : undefined;
  response.statusCode = outcome === undefined ? 404 : outcome.isGood ? 200 : 400;
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(pageOf(outcome ?? { isGood: false, text: "Nothing is here." }));
}

function pageOf({ isGood, text }: Outcome): string {
  const title = isGood ? "Signed in" : "Not signed in";
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><h1>${title}</h1><p>${escaped}</p></html>
`;
}
