/** Requests by several callers, one after the other each, while something restarts. */
import { sha256 } from "../interop/contents.ts";
import { requestHead } from "../isolation/tunnel.ts";
import { uploadBytes } from "../isolation/service.ts";
import { within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { fieldValues, readResponse } from "../support/raw_http.ts";

/** Callers at the same time. */
const CALLERS = 8;

/** Uploads, as they must never be sent twice; on connections that stay open until told otherwise. */
export class Load {
  answered = 0;
  readonly #failures: unknown[] = [];
  readonly #callers: Promise<void>[];
  #isStopping = false;

  constructor(address: string) {
    this.#callers = Array.from({ length: CALLERS }, () => this.#run(address));
  }

  /** Lets the last requests be answered. @returns what went wrong, in all of them. */
  async stop(): Promise<unknown[]> {
    this.#isStopping = true;
    await within(Promise.all(this.#callers), "the last requests of the load");
    return this.#failures;
  }

  async #run(address: string): Promise<void> {
    try {
      while (!this.#isStopping) {
        await using caller = await openConnection(address);
        while (!this.#isStopping && await this.#ask(caller));
      }
    } catch (error) {
      this.#failures.push(error);
    }
  }

  /** @returns whether the connection stays open. */
  async #ask(caller: RawConnection): Promise<boolean> {
    const body = uploadBytes.subarray(0, 20_000);
    await caller.write(requestHead("PUT", "/upload", [`Content-Length: ${body.length}`]));
    await caller.write(body);
    const answer = await within(readResponse(caller.reader), "an answer");
    const text = new TextDecoder().decode(answer.body);
    if (text !== sha256(body)) throw new Error(`${answer.startLine}: ${text}`);
    this.answered++;
    return !fieldValues(answer, "connection").includes("close");
  }
}
