import assert from "node:assert/strict";
import type { Framing } from "../../../lib/http1/body.ts";
import { field, type RequestHead } from "../../../lib/http1/head.ts";
import type { Impersonation } from "../../../lib/domain/cluster.ts";
import {
  forwardedFields,
  impersonates,
  relayedField,
  returnedFields,
} from "../../../lib/relay/forward/headers.ts";

/** What of the context a case changes. */
interface Changes {
  readonly impersonation?: Impersonation;
  readonly isTls?: boolean;
  readonly framing?: Framing;
  readonly upgrade?: string;
  readonly closesConnection?: boolean;
  readonly minor?: number;
  readonly forwardedHost?: string;
}

function fieldsOf(lines: readonly string[]) {
  return lines.map((line) => {
    const colon = line.indexOf(":");
    return field(line.slice(0, colon), line.slice(colon + 1).trim());
  });
}

/** The header lines with which a request of these header lines enters the tunnel. */
function forwarded(lines: readonly string[], changes: Changes = {}): string[] {
  const { impersonation = "strip", isTls = false, framing = { kind: "none" } } = changes;
  const { forwardedHost, minor = 1, upgrade, closesConnection = false } = changes;
  const head: RequestHead = { method: "GET", target: "/", minor, fields: fieldsOf(lines) };
  const fields = forwardedFields(head, {
    target: {
      host: "kubernetes.default:443",
      prefix: "/tunnel/c",
      rules: { host: "target", authorization: "culvert", impersonation },
    },
    peer: { address: "192.0.2.7", isTls, forwardedHost },
    framing,
    via: "culvert-here",
    requestId: "r-1",
    upgrade,
    closesConnection,
  });
  return fields.map(({ name, value }) => `${name}: ${value}`);
}

/** What the relay says about the caller of the cases below. */
const OWN = [
  "X-Forwarded-For: 192.0.2.7",
  "X-Forwarded-Proto: http",
  "X-Forwarded-Host: relay:8080",
  "X-Forwarded-Prefix: /tunnel/c",
  "X-Request-Id: r-1",
  "Via: 1.1 culvert-here",
];
const HOST = "Host: kubernetes.default:443";

Deno.test("forwardedFields keeps order, spelling and repeats, and puts the target into Host", () => {
  const lines = ["aCCept: */*", "HOST: relay:8080", "X-B: 1", "X-A: 2", "x-b: 3", "Cookie: c=1"];
  assert.deepEqual(forwarded(lines), [
    "aCCept: */*",
    "HOST: kubernetes.default:443",
    "X-B: 1",
    "X-A: 2",
    "x-b: 3",
    "Cookie: c=1",
    ...OWN,
  ]);
});

Deno.test("forwardedFields gives HTTP/1.0 the Host that it lacks", () => {
  assert.deepEqual(forwarded(["A: 1"], { minor: 0 }), [
    HOST,
    "A: 1",
    ...OWN.slice(0, 2),
    ...OWN.slice(3, -1),
    "Via: 1.0 culvert-here",
  ]);
});

Deno.test("forwardedFields drops the fields of the caller's connection and what it names in them", () => {
  const lines = [
    "Host: relay:8080",
    "Connection: keep-alive, X-Mine, x-OTHER",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: X-Sum",
    "Transfer-Encoding: chunked",
    "Upgrade: h2c",
    "Proxy-Authorization: Basic eDp5",
    "X-Mine: 1",
    "X-Other: 2",
    "X-Kept: 3",
  ];
  assert.deepEqual(forwarded(lines), [HOST, "X-Kept: 3", ...OWN]);
});

Deno.test("forwardedFields lets no caller's credential through, however it is spelled", () => {
  const lines = ["Host: relay:8080", "Authorization: Bearer a", "AUTHORIZATION: Basic b"];
  assert.deepEqual(forwarded(lines), [HOST, ...OWN]);
});

Deno.test("forwardedFields drops Impersonate-* unless the cluster allows it", () => {
  const impersonating = [
    "Impersonate-User: admin",
    "impersonate-group: system:masters",
    "IMPERSONATE-EXTRA-scopes: all",
    "Impersonate-Uid: 1",
  ];
  const lines = ["Host: relay:8080", ...impersonating, "X-Impersonate-User: kept"];
  assert.deepEqual(forwarded(lines), [HOST, "X-Impersonate-User: kept", ...OWN]);
  assert.deepEqual(forwarded(lines, { impersonation: "forward" }), [
    HOST,
    ...impersonating,
    "X-Impersonate-User: kept",
    ...OWN,
  ]);
});

Deno.test("forwardedFields believes nothing about whom a caller forwards for", () => {
  const lines = [
    "Host: relay:8080",
    "X-Forwarded-For: 10.0.0.1",
    "x-forwarded-for: 10.0.0.2",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: bank.example",
    "Forwarded: for=10.0.0.1",
  ];
  assert.deepEqual(forwarded(lines), [HOST, ...OWN]);
  assert.deepEqual(forwarded(lines, { isTls: true })[2], "X-Forwarded-Proto: https");
});

Deno.test("forwardedFields drops every field of the forwarding family, however it is spelled", () => {
  const lines = [
    ...["X-Real-IP: 10.0.0.1", "X_Real_Ip: 10.0.0.1", "x.real.ip: 10.0.0.1"],
    ...["X-Forwarded-Prefix: /x", "X-Forwarded-Port: 1", "X-Forwarded-Server: s"],
    ...["X_Forwarded_For: 10.0.0.1", "X-Forwarded_Host: h", "X-Forwarded-New: 1"],
    ...["X-Forwarded-User: root", "X-Forwarded-Client-Cert: c", "X-Forwarded: 1"],
    ...["X-Client-IP: 1", "True-Client-IP: 1", "CF-Connecting-IP: 1", "CF_Connecting_IP: 1"],
    ...["X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Original-Forwarded-For: 1"],
    ...["Fastly-Client-IP: 1", "Fly-Client-IP: 1", "X-Cluster-Client-IP: 1", "Client-IP: 1"],
    ...["X-Envoy-External-Address: 1", "X-Scheme: https", "Front-End-Https: on", "FORWARDED: f"],
    ...["X-Remote-User: system:admin", "X-Remote-Group: system:masters", "X_Remote_Extra_a: 1"],
    ...["X_Request_Id: other", "Culvert_Caller_Name: root", "Content_Length: 5"],
    ...["Transfer_Encoding: chunked", "Proxy_Authorization: Basic eDp5"],
  ];
  assert.deepEqual(forwarded(["Host: relay:8080", ...lines]), [HOST, ...OWN]);
  for (const item of fieldsOf(lines)) {
    assert.equal(relayedField(item, { authorization: "culvert" }), undefined, item.name);
  }
  const kept = ["X-Forward: 1", "X_Own_Field: 1", "Via: 1.1 x", "Referer: r", "X-Realm: r"];
  assert.deepEqual(forwarded(["Host: relay:8080", ...kept]), [HOST, ...kept, ...OWN]);
});

Deno.test("forwardedFields drops every field by which proxies tell applications who somebody is", () => {
  const lines = [
    ...["X-Forwarded-User: root", "X_Forwarded_User: root", "x-forwarded-USER: root"],
    ...["X-Forwarded-Email: root", "X-Auth-Request-User: root", "X_Auth_Request_Groups: admin"],
    ...["X-WEBAUTH-USER: root", "Remote-User: root", "Remote_Groups: admin", "X-Remote-Uid: 0"],
    ...["X-Authentik-Username: root", "X-Pomerium-Jwt-Assertion: x.y.z", "Tailscale-User-Login: r"],
    ...["Teleport-Jwt-Assertion: x.y.z", "Culvert-Identity: x.y.z", "Culvert_Identity: x.y.z"],
    ...["Cf-Access-Jwt-Assertion: x.y.z", "CF-Access-Client-Secret: s", "culvert.identity: x.y.z"],
    ...["Culvert-Authorization: Bearer x", "Culvert-Proof: x.y.z", "Culvert-Groups: ops"],
  ];
  assert.deepEqual(forwarded(["Host: relay:8080", ...lines, ...lines]), [HOST, ...OWN]);
  for (const item of fieldsOf(lines)) {
    assert.equal(relayedField(item, { authorization: "culvert" }), undefined, item.name);
  }
});

Deno.test("forwardedFields tells the target which host a trusted proxy was asked for", () => {
  const lines = ["Host: relay:8080", "X-Forwarded-Host: forged.example"];
  const asked = forwarded(lines, { forwardedHost: "app.example" });
  assert.deepEqual(asked.filter((line) => line.startsWith("X-Forwarded-Host")), [
    "X-Forwarded-Host: app.example",
  ]);
});

Deno.test("forwardedFields passes Impersonate-* on in its own spelling alone", () => {
  const lines = ["Host: relay:8080", "Impersonate_User: root", "Impersonate-User: jane"];
  assert.deepEqual(forwarded(lines, { impersonation: "forward" }), [
    HOST,
    "Impersonate-User: jane",
    ...OWN,
  ]);
});

Deno.test("impersonates finds every field that asks to act for somebody else", () => {
  const head = (line: string) => ({
    method: "GET",
    target: "/",
    minor: 1,
    fields: fieldsOf(["Host: relay:8080", line]),
  });
  const found = ["Impersonate-User: a", "IMPERSONATE_GROUP: a", "Impersonate-Extra-x: a"];
  for (const line of found) assert.equal(impersonates(head(line)), true, line);
  const others = ["X-Impersonate-User: a", "Impersonate: a", "Impersonator-Name: a"];
  for (const line of others) assert.equal(impersonates(head(line)), false, line);
});

Deno.test("forwardedFields takes a bearer token out of a WebSocket's subprotocols", () => {
  const bearer = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
  const cases: [string, string[]][] = [
    [`${bearer}, v5.channel.k8s.io`, ["Sec-WebSocket-Protocol: v5.channel.k8s.io"]],
    [`v4.channel.k8s.io,${bearer},v5.channel.k8s.io`, [
      "Sec-WebSocket-Protocol: v4.channel.k8s.io, v5.channel.k8s.io",
    ]],
    [bearer, []],
    ["v4.channel.k8s.io,v5.channel.k8s.io", [
      "Sec-WebSocket-Protocol: v4.channel.k8s.io,v5.channel.k8s.io",
    ]],
  ];
  for (const [value, kept] of cases) {
    const lines = ["Host: relay:8080", `Sec-WebSocket-Protocol: ${value}`];
    assert.deepEqual(forwarded(lines), [HOST, ...kept, ...OWN], value);
  }
});

Deno.test("forwardedFields frames the body as the relay writes it", () => {
  const chunked = ["Host: relay:8080", "Transfer-Encoding: Chunked"];
  assert.deepEqual(forwarded(chunked, { framing: { kind: "chunked" } }), [
    HOST,
    "Transfer-Encoding: chunked",
    ...OWN,
  ]);
  const length = ["Host: relay:8080", "Content-Length: 5", "Connection: content-length"];
  assert.deepEqual(forwarded(length, { framing: { kind: "length", bytes: 5 } }), [
    HOST,
    "Content-Length: 5",
    ...OWN,
  ]);
});

Deno.test("forwardedFields asks for the change of protocols that the caller asked for", () => {
  const lines = ["Host: relay:8080", "Connection: Upgrade", "Upgrade: SPDY/3.1"];
  assert.deepEqual(forwarded(lines, { upgrade: "SPDY/3.1", closesConnection: true }), [
    HOST,
    ...OWN,
    "Connection: Upgrade",
    "Upgrade: SPDY/3.1",
  ]);
});

Deno.test("forwardedFields has the target close behind a version 1 agent", () => {
  const fields = forwarded(["Host: relay:8080"], { closesConnection: true });
  assert.deepEqual(fields, [HOST, ...OWN, "Connection: close"]);
});

Deno.test("returnedFields drops the target's connection and keeps all else in order", () => {
  const fields = returnedFields({
    status: 200,
    reason: "OK",
    minor: 1,
    fields: fieldsOf([
      "Set-Cookie: a=1",
      "Connection: keep-alive, X-Hop",
      "Keep-Alive: timeout=60",
      "X-Hop: 1",
      "Transfer-Encoding: chunked",
      "set-cookie: b=2",
      "Content-Encoding: gzip",
      "Trailer: X-Sum",
      "WWW-Authenticate: Bearer",
    ]),
  });
  assert.deepEqual(fields.map(({ name, value }) => `${name}: ${value}`), [
    "Set-Cookie: a=1",
    "set-cookie: b=2",
    "Content-Encoding: gzip",
    "WWW-Authenticate: Bearer",
  ]);
});

Deno.test("returnedFields drops a length where no body can follow", () => {
  const cases: [number, boolean][] = [[100, false], [103, false], [204, false], [200, true], [
    304,
    true,
  ]];
  for (const [status, isKept] of cases) {
    const head = { status, reason: "", minor: 1, fields: [field("Content-Length", "5")] };
    assert.equal(returnedFields(head).length, isKept ? 1 : 0, `${status}`);
  }
});
