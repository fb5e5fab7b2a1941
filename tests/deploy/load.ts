/** Requests that go on while a test changes what they go through; each is accounted for. */
import { rejects } from "node:assert/strict";

/** Codes of the relay's own answers that say that no agent had the request. */
const notTaken = /"code":"(?:stopping|cluster_not_available)"/;

/** How a request that got no right answer went. */
export interface Failure {
  readonly kind: "not taken" | "lost";
  readonly detail: string;
}

/** What a load may tell of itself when it has ended. */
export interface LoadReport {
  readonly answered: number;
  /** Requests that were refused before anything of them was processed, and came through later. */
  readonly notTaken: readonly string[];
  /** Requests without a right answer: wrong, cut, or with an error that says less than "not taken". */
  readonly lost: readonly string[];
}

/** How a load asks. */
export interface LoadOptions {
  readonly url: string;
  /** With the client certificates and CAs that the URL needs. */
  readonly client: Deno.HttpClient;
  /** The caller's token, where it needs one. */
  readonly token?: string;
  /** What a right answer's body holds. */
  readonly expects: RegExp;
  readonly workers: number;
}

/** Between two requests of one worker, in milliseconds: some hundred requests in a test's time. */
const pauseMs = 10;
/** For one request to get through with all its repetitions. */
const retryForMs = 60_000;

/** A load that runs until it is stopped. */
export class Load {
  #isStopping = false;
  #answered = 0;
  readonly #notTaken: string[] = [];
  readonly #lost: string[] = [];
  readonly #options: LoadOptions;
  readonly #workers: Promise<void[]>;

  private constructor(options: LoadOptions) {
    this.#options = options;
    this.#workers = Promise.all(Array.from({ length: options.workers }, () => this.#work()));
  }

  static start(options: LoadOptions): Load {
    return new Load(options);
  }

  /** Requests that were answered so far. */
  get answered(): number {
    return this.#answered;
  }

  /** Lets the open requests finish. */
  async stop(): Promise<LoadReport> {
    this.#isStopping = true;
    await this.#workers;
    return { answered: this.#answered, notTaken: this.#notTaken, lost: this.#lost };
  }

  async #work(): Promise<void> {
    while (!this.#isStopping) {
      await this.#askUntilTaken();
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #askUntilTaken(): Promise<void> {
    const deadline = performance.now() + retryForMs;
    while (true) {
      const failure = await this.#ask();
      if (failure === undefined) {
        this.#answered++;
        return;
      }
      if (failure.kind === "lost" || performance.now() > deadline) {
        this.#lost.push(`${new Date().toISOString()} ${failure.detail}`);
        return;
      }
      this.#notTaken.push(`${new Date().toISOString()} ${failure.detail}`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #ask(): Promise<Failure | undefined> {
    const { url, client, token, expects } = this.#options;
    const headers: HeadersInit = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    try {
      const response = await fetch(url, { client, headers });
      const body = await response.text();
      if (response.status === 200 && expects.test(body)) return undefined;
      const detail = `${response.status} ${body.slice(0, 200)}`;
      return { kind: notTaken.test(body) ? "not taken" : "lost", detail };
    } catch (error) {
      const detail = chainOf(error);
      return { kind: /Connection refused/.test(detail) ? "not taken" : "lost", detail };
    }
  }
}

/** What a client hears: the alert, unless the connection's end overtakes it. */
const handshakeRefusal = /certificate ?required|unknown ?ca|closed connection|reset by peer/i;

/** The relay ends the TLS handshake with this client. */
export async function assertNoHandshake(url: string, client: Deno.HttpClient): Promise<void> {
  const asked = fetch(url, { client }).catch((error) => Promise.reject(chainOf(error)));
  await rejects(asked, handshakeRefusal);
}

/** An error with its causes: `fetch` says why only there. */
function chainOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? String(error) : `${String(error)}: ${chainOf(cause)}`;
}
