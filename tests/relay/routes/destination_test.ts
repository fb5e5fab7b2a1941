import assert from "node:assert/strict";
import { field } from "../../../lib/http1/head.ts";
import type { Service } from "../../../lib/domain/service.ts";
import type { Exchange } from "../../../lib/net/exchange.ts";
import type { ServiceRoute } from "../../../lib/relay/route.ts";
import { destinationOf } from "../../../lib/relay/routes/destination.ts";

const service = {
  ...{ name: "app", policy: "staff", corsOrigins: [], headers: { set: [], remove: [] } },
} as unknown as Service;
const route = { kind: "service", hostname: "app.example.com", service } as unknown as ServiceRoute;
const exchange = { head: { fields: [] } } as unknown as Exchange;

for (const status of [101, 200, 304, 401]) {
  Deno.test(`Where people sign in, a ${status} of a target sets no cookie of the relay's, nor one for other hosts`, () => {
    const fields = [
      field("Set-Cookie", "__Host-Http-culvert=x; Path=/; Secure"),
      field("Set-Cookie", "a=b; Domain=example.com"),
      field("Set-Cookie", "own=1"),
    ];
    const returned = destinationOf(route, { signsIn: true }).returned(fields, status, exchange);
    const cookies = returned.filter(({ key }) => key === "set-cookie");
    assert.deepEqual(cookies.map(({ value }) => value), ["own=1"]);
  });
}
