/** Makes a `Response` of the target's. */
import { type Field, getField } from "../http1/head.ts";
import { errorBody } from "./error_body.ts";
import type { FetchHost } from "./fetch_host.ts";

/** Bytes of a response that may wait for the platform to take them. */
const highWaterBytes = 256 * 1024;

/** Statuses whose `Response` must have no body (Fetch standard, "null body status"). */
export const nullBodyStatuses: ReadonlySet<number> = new Set([204, 205, 304]);

/** What a response's body tells its exchange. */
export interface ResponseBodyHost {
  /** Called when there is room again, after {@link ResponseBody.write} has returned false. */
  drained(): void;
  /** The platform does not want the rest. */
  cancelled(): void;
}

/** The body of one response, which the platform reads at its own pace. */
export class ResponseBody {
  readonly #stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #wantsDrain = false;

  constructor(host: ResponseBodyHost) {
    this.#stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        this.#controller = controller as ReadableStreamDefaultController<Uint8Array>;
      },
      pull: () => {
        if (!this.#wantsDrain) return;
        this.#wantsDrain = false;
        host.drained();
      },
      cancel: () => host.cancelled(),
    }, { highWaterMark: highWaterBytes, size: ({ byteLength }) => byteLength });
  }

  /** The body for a `Response` with these fields. */
  toStream(
    fields: readonly Field[],
    host: FetchHost,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    const length = getField(fields, "content-length");
    if (length === undefined || !host.withLength) return this.#stream;
    return host.withLength(this.#stream, Number(length)) as ReadableStream<Uint8Array<ArrayBuffer>>;
  }

  /** @returns whether there is room for more. @throws if the platform has given the body up. */
  write(bytes: Uint8Array): boolean {
    this.#controller.enqueue(bytes);
    this.#wantsDrain = (this.#controller.desiredSize ?? 0) <= 0;
    return !this.#wantsDrain;
  }

  /** All has been written. @throws if the platform has given the body up. */
  close(): void {
    this.#controller.close();
  }

  /** Breaks the body off, so that nobody takes what there is for the whole. */
  breakOff(): void {
    this.#controller.error(new Error("The answer was broken off"));
  }
}

/** `encodeBody` keeps Cloudflare from encoding a body that is encoded already. */
export function responseInit(
  status: number,
  reason: string,
  fields: readonly Field[],
): ResponseInit {
  const headers = new Headers();
  for (const { name, value, key } of fields) {
    if (key !== "transfer-encoding" && key !== "connection") headers.append(name, value);
  }
  const init = { status, statusText: reason, headers, encodeBody: "manual" };
  return init;
}

/** The response in place of one that this platform can't pass on. */
export function unanswerable(): Response {
  const message = "the target's answer can't be passed on by this platform";
  const body = errorBody(502, "protocol", message) as Uint8Array<ArrayBuffer>;
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  return new Response(body, { status: 502, headers });
}
