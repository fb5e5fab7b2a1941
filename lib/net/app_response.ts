/**
 * Pages of the relay's own, made by an app of standard `Request`s and `Response`s, through an exchange.
 */
import { field } from "../http1/head.ts";
import type { Exchange } from "./exchange.ts";

/** Bytes of a form; no page of the relay's own takes more. */
export const maxFormBytes = 64 * 1024;

/** A request that none can be made of. */
export class NoRequest {
  readonly status: 400 | 405 | 413;

  constructor(status: 400 | 405 | 413) {
    this.status = status;
  }
}

/**
 * An exchange's request, once its body has come. Its only header is `Content-Type`: all others are
 * read as they came.
 *
 * @param origin what was asked for
 */
export async function toRequest(exchange: Exchange, origin: string): Promise<Request | NoRequest> {
  const { method, target, fields } = exchange.head;
  if (!["GET", "HEAD", "POST", "OPTIONS"].includes(method)) return new NoRequest(405);
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?]*/i, "");
  const url = URL.parse(origin + (path === "" || path.startsWith("?") ? `/${path}` : path));
  if (!url) return new NoRequest(400);
  const body = method === "POST" ? await bodyOf(exchange) : undefined;
  if (body === "too long") return new NoRequest(413);
  const type = fields.find(({ key }) => key === "content-type")?.value;
  return new Request(url, {
    method,
    ...type !== undefined && { headers: { "Content-Type": type } },
    ...body && { body: body as Uint8Array<ArrayBuffer> },
  });
}

function bodyOf(exchange: Exchange): Promise<Uint8Array | "too long"> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | "too long">();
  const pieces: Uint8Array[] = [];
  let length = 0;
  // A caller that leaves has nobody wait for it.
  exchange.onAborted = () => resolve("too long");
  exchange.readBody({
    data(bytes) {
      length += bytes.length;
      if (length > maxFormBytes) return resolve("too long");
      pieces.push(bytes.slice());
    },
    end() {
      const body = new Uint8Array(length);
      let at = 0;
      for (const piece of pieces) {
        body.set(piece, at);
        at += piece.length;
      }
      resolve(body);
    },
  });
  return promise;
}

const reasons: Readonly<Record<number, string>> = {
  200: "OK",
  302: "Found",
  303: "See Other",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  429: "Too Many Requests",
  503: "Service Unavailable",
};

/** Answers an exchange with a response; its headers keep their order, and cookies their own lines. */
export async function answerWith(exchange: Exchange, response: Response): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  if (exchange.isOver || exchange.isAnswered) return;
  const fields = [...response.headers].map(([name, value]) => field(spelled(name), value));
  exchange.answer(response.status, reasons[response.status] ?? "", fields, body);
}

/** `Headers` have names in lower case; older tools, and people, expect the usual spelling. */
function spelled(name: string): string {
  return name === "www-authenticate"
    ? "WWW-Authenticate"
    : name.replace(/(?:^|-)[a-z]/g, (letter) => letter.toUpperCase());
}
