/** The head of an HTTP/2 request, in the form that HTTP/1.1 has it (RFC 9113 section 8). */
import { type Framing, requestFraming } from "../../../http1/body.ts";
import {
  type Field,
  field,
  HeadError,
  type HeadLimits,
  type RequestHead,
} from "../../../http1/head.ts";
import { checkRequest, isHost } from "../../../http1/request_target.ts";

/** A request as everything behind the listener sees it. */
export interface H2Request {
  readonly head: RequestHead;
  readonly framing: Framing;
}

/** Fields that speak of a connection, which HTTP/2 forbids (RFC 9113 section 8.2.2). */
export const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** What a field takes besides its name and value where the head goes on: colon, space, CR, LF. */
const lineOverhead = 4;
/** RFC 9110 section 5.6.2, in lower case (RFC 9113 section 8.2.1). */
const namePattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
// deno-lint-ignore no-control-regex
const valuePattern = /^[^\0-\x08\x0a-\x1f\x7f]*$/;
const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^[\x21-\x7e\x80-\xff]+$/;

/**
 * Reads a request's fields.
 *
 * nghttp2 has refused the worst already, and left out what is no value. It is checked again here: the
 * fields go on over HTTP/1.1, where a line break in one of them would be a second field.
 *
 * @param raw Names and values in turn, as they came.
 * @param hasBody Whether the head was not the end of the request.
 * @throws {HeadError}
 */
export function readRequest(
  raw: readonly string[],
  hasBody: boolean,
  limits: HeadLimits,
): H2Request {
  const { pseudo, fields } = split(raw, limits);
  const method = pseudo.get(":method") ?? "";
  const target = pseudo.get(":path") ?? "";
  // Nothing is tunnelled here, and WebSockets come over HTTP/1.1 (no RFC 8441).
  if (method === "CONNECT") throw new HeadError(501, "CONNECT is not supported");
  if (!methodPattern.test(method)) throw new HeadError(400, ":method is malformed");
  if (!targetPattern.test(target)) throw new HeadError(400, ":path is malformed");
  const host = hostOf(pseudo.get(":authority"), fields);
  const all = [field("Host", host), ...withCookiesJoined(fields)];
  const head = checkRequest({ method, target, minor: 1, fields: all });
  const declared = requestFraming(head);
  if (declared.kind === "length" && !hasBody) {
    throw new HeadError(400, "Content-Length promises a body, and none follows");
  }
  const isLengthGiven = fields.some(({ key }) => key === "content-length");
  return { head, framing: hasBody && !isLengthGiven ? { kind: "chunked" } : declared };
}

function split(raw: readonly string[], { maxBytes, maxFields }: HeadLimits) {
  const pseudo = new Map<string, string>();
  const fields: Field[] = [];
  let bytes = 0;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const [name, value] = [raw[index]!, raw[index + 1]!];
    bytes += name.length + value.length + lineOverhead;
    if (name.startsWith(":")) addPseudo(pseudo, name, value);
    else fields.push(checked(name, value));
  }
  if (bytes > maxBytes) {
    throw new HeadError(431, `Request head is longer than ${maxBytes} bytes`);
  }
  if (fields.length > maxFields) {
    throw new HeadError(431, `Request head has more than ${maxFields} fields`);
  }
  return { pseudo, fields };
}

function addPseudo(pseudo: Map<string, string>, name: string, value: string): void {
  if (pseudo.has(name)) throw new HeadError(400, `Duplicate ${name}`);
  if (name === ":protocol") throw new HeadError(501, "Extended CONNECT is not supported");
  pseudo.set(name, value);
}

function checked(name: string, value: string): Field {
  if (!namePattern.test(name)) throw new HeadError(400, "A field's name is malformed");
  if (!valuePattern.test(value)) throw new HeadError(400, "A field's value is malformed");
  if (connectionFields.has(name)) throw new HeadError(400, `HTTP/2 has no field ${name}`);
  if (name === "te" && value.toLowerCase() !== "trailers") {
    throw new HeadError(400, "HTTP/2 allows no TE but trailers");
  }
  return field(name, value);
}

/** `:authority` is the host; a `Host` beside it must say the same (RFC 9113 section 8.3.1). */
function hostOf(authority: string | undefined, fields: Field[]): string {
  const hosts = fields.filter(({ key }) => key === "host");
  if (hosts.length > 1) throw new HeadError(400, "Duplicate Host");
  const host = hosts[0]?.value;
  if (host !== undefined) fields.splice(fields.indexOf(hosts[0]!), 1);
  const chosen = authority ?? host;
  if (chosen === undefined) throw new HeadError(400, "The request names no host");
  if (!isHost(chosen)) throw new HeadError(400, ":authority is malformed");
  if (host !== undefined && host.toLowerCase() !== chosen.toLowerCase()) {
    throw new HeadError(400, "Host differs from :authority");
  }
  return chosen;
}

/** Joins `Cookie` fields for HTTP/1.1. HTTP/2 splits them to compress them better (RFC 9113 section 8.2.3). */
function withCookiesJoined(fields: readonly Field[]): readonly Field[] {
  const cookies = fields.filter(({ key }) => key === "cookie");
  if (cookies.length < 2) return fields;
  const joined = field("cookie", cookies.map(({ value }) => value).join("; "));
  return fields.flatMap((item) => {
    if (item.key !== "cookie") return [item];
    return item === cookies[0] ? [joined] : [];
  });
}
