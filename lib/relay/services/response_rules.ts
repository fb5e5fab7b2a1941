/** What a service's entry changes in the fields of its responses. */
import type { Service } from "../../domain/service.ts";
import { type Field, field } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { corsFields, corsOriginOf } from "./cors.ts";

/** The fields that the caller gets. Interim responses (1xx) pass as they are, but for a 101. */
export function returnedByService(
  { headers, corsOrigins }: Service,
  fields: Field[],
  status: number,
  exchange: Exchange,
): Field[] {
  if (status < 200 && status !== 101) return fields;
  const origin = corsOriginOf(corsOrigins, exchange.head);
  let returned = fields;
  if (headers.remove.length > 0 || headers.set.length > 0) {
    const gone = new Set([...headers.remove, ...headers.set.map(([name]) => name.toLowerCase())]);
    returned = fields.filter(({ key }) => !gone.has(key));
    for (const [name, value] of headers.set) returned.push(field(name, value));
  }
  return origin === undefined ? returned : corsFields(returned, origin);
}
