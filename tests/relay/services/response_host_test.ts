import assert from "node:assert/strict";
import { field, type RequestHead } from "../../../lib/http1/head.ts";
import type { Exchange } from "../../../lib/net/exchange.ts";
import { withPublicHost } from "../../../lib/relay/services/response_host.ts";

function exchange(isTls: boolean): Exchange {
  const head: RequestHead = {
    method: "GET",
    target: "/",
    minor: 1,
    fields: [field("Host", "Dash.test:8443")],
  };
  return { head, peer: { address: "192.0.2.1", isTls } } as unknown as Exchange;
}

function rewritten(name: string, value: string, isTls = true): string | undefined {
  return withPublicHost([field(name, value)], "app.svc:80", exchange(isTls))[0]?.value;
}

Deno.test("withPublicHost puts the public host where the target has written its own", () => {
  const cases: [string, string][] = [
    ["http://app.svc:80/a?b#c", "https://Dash.test:8443/a?b#c"],
    ["http://APP.svc/a", "https://Dash.test:8443/a"],
    ["https://app.svc:80", "https://Dash.test:8443"],
    ["//app.svc/a", "//Dash.test:8443/a"],
    ["/a", "/a"],
    ["a", "a"],
    ["http://app.svc.evil/a", "http://app.svc.evil/a"],
    ["http://app.svc:81/a", "http://app.svc:81/a"],
    ["http://u@app.svc/a", "http://u@app.svc/a"],
    ["", ""],
  ];
  for (const [value, expected] of cases) {
    assert.equal(rewritten("Location", value), expected);
    assert.equal(rewritten("Content-Location", value), expected);
  }
  assert.equal(rewritten("Location", "https://app.svc/", false), "http://Dash.test:8443/");
  assert.equal(rewritten("X-Other", "http://app.svc/"), "http://app.svc/");
});

Deno.test("withPublicHost changes a cookie's domain where it is the target's, and nothing else of it", () => {
  const cases: [string, string][] = [
    ["a=1; Domain=app.svc; Path=/", "a=1; Domain=dash.test; Path=/"],
    ["a=1;domain = .APP.svc ;Secure", "a=1;Domain=dash.test;Secure"],
    ["a=1; Domain=svc", "a=1; Domain=svc"],
    ["a=app.svc; Path=/", "a=app.svc; Path=/"],
    ["a=1", "a=1"],
  ];
  for (const [value, expected] of cases) assert.equal(rewritten("Set-Cookie", value), expected);
});
