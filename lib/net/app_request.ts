/** What Hono needs of a `Request`. A real one would normalise the path, and costs more than routing. */
import type { Exchange } from "./exchange.ts";

/** An exchange as a `Request`, with the few members that routing and handlers use. */
export class AppRequest {
  readonly #exchange: Exchange;
  #headers: Headers | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** Hono answers HEAD by wrapping GET's answer, which would hide one that was given already. */
  get method(): string {
    const { method } = this.#exchange.head;
    return method === "HEAD" ? "GET" : method;
  }

  get url(): string {
    const { target } = this.#exchange.head;
    if (target.startsWith("/")) return `http://relay${target}`;
    // The target of OPTIONS may be no path.
    return target === "*" ? "http://relay/*" : target;
  }

  get headers(): Headers {
    this.#headers ??= new Headers(
      this.#exchange.head.fields.map(({ name, value }): [string, string] => [name, value]),
    );
    return this.#headers;
  }
}
