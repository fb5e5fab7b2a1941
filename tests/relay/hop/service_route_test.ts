import assert from "node:assert/strict";
import fc from "fast-check";
import type { ServiceRoute } from "../../../lib/relay/route.ts";
import { encodeServiceRoute, readServiceRoute } from "../../../lib/relay/hop/service_route.ts";
import { check } from "../../protocol/property.ts";

const route: ServiceRoute = {
  kind: "service",
  cluster: "dev",
  path: "/",
  name: "dashboard",
  hostname: "dash.example.com",
  target: "10.0.0.1:80",
  transport: "http",
  rules: { host: "target", authorization: "app", impersonation: "strip" },
  isOpenWildcard: false,
  service: undefined,
};

Deno.test("a service's route is the same behind a hop, whatever bytes its path has", () => {
  const visible = fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code));
  const path = fc.string({ unit: visible }).map((text) => `/${text}`);
  const target = fc.option(fc.string({ unit: visible, minLength: 1 }), { nil: undefined });
  check(fc.property(path, target, fc.boolean(), (path, target, isSelective) => {
    const sent = { ...route, path, target };
    const text = encodeServiceRoute({ route: sent, isSelective });
    assert.match(text, /^[\x21-\x7e]+$/);
    assert.deepEqual(readServiceRoute(text, path), { route: sent, isSelective });
  }));
});

Deno.test("what no relay writes is no route", () => {
  const text = encodeServiceRoute({ route, isSelective: false });
  assert.equal(readServiceRoute("", "/"), undefined);
  assert.equal(readServiceRoute("cluster=dev", "/"), undefined);
  assert.equal(readServiceRoute(text.replace("host=target", "host=both"), "/"), undefined);
  for (const path of ["", "x", "http://a/"]) assert.equal(readServiceRoute(text, path), undefined);
});
