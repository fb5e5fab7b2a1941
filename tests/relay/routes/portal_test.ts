/** Which services the portal lists, for whom, and whether their agents are there. */
import { deepEqual, equal } from "node:assert/strict";
import { readServices } from "../../../lib/config/entries/services.ts";
import { anyName } from "../../../lib/domain/name_patterns.ts";
import { defaultHeadLimits } from "../../../lib/http1/head.ts";
import type { Log } from "../../../lib/log.ts";
import { TokenClaims } from "../../../lib/policies/caller_attributes.ts";
import type { Registration } from "../../../lib/relay/agents/registry.ts";
import type { Caller } from "../../../lib/relay/callers/caller.ts";
import { noLimits } from "../../../lib/relay/limits/limits.ts";
import { Relay } from "../../../lib/relay/relay.ts";
import { portalServices, type Visitor } from "../../../lib/relay/routes/portal.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** One service of each kind, and of each reason to be open or closed. */
const services = `
login: { host: login.example.com, provider: corp }
providers:
  - { name: corp, kind: oidc, issuer: "https://idp.example.com", clientId: c, clientSecret: s }
  - { name: other, kind: oidc, issuer: "https://other.example.com", clientId: c, clientSecret: s }
policies:
  - { name: staff, any: [{ emailDomain: example.com }] }
  - { name: admins, any: [{ claim: groups, value: admins }] }
  - { name: office, any: [{ address: 192.0.2.0/24 }] }
  - { name: elsewhere, any: [{ address: 198.51.100.0/24 }] }
  - { name: program, any: [{ token: ci }] }
services:
  - { name: app, hostnames: ["app.example.com:8443"], cluster: dev, target: web, policy: staff }
  - { name: away, hostnames: [away.example.com], cluster: gone, target: web, policy: staff }
  - { name: bytes, hostnames: [bytes.example.com], cluster: dev, target: pg, kind: tcp, policy: staff }
  - { name: closed, hostnames: [closed.example.com], cluster: dev, target: web, policy: admins }
  - { name: far, hostnames: [far.example.com], cluster: dev, target: t, kind: tls, policy: elsewhere }
  - { name: foreign, hostnames: [foreign.example.com], cluster: dev, target: web, policy: staff, provider: other }
  - { name: lacking, hostnames: [lacking.example.com], cluster: dev, target: nothing, policy: staff }
  - { name: many, hostnames: ["*.many.example.com"], cluster: dev, target: web, policy: staff }
  - { name: near, hostnames: [near.example.com], cluster: dev, target: t, kind: tls, policy: office }
  - { name: open, hostnames: [open.example.com], cluster: dev, target: web, policy: public }
  - { name: robots, hostnames: [robots.example.com], cluster: dev, target: web, policy: program }
`;

async function startRelay(): Promise<Relay> {
  const read = readServices([{ text: services, source: "the test" }], {
    ownNames: [],
    hasJwtIssuer: false,
  });
  const relay = await Relay.create(
    {
      clusters: [{
        id: "side",
        name: "side",
        tokens: [],
        claims: { hostnames: [{ name: "*.side.example.com", port: undefined }], policy: "office" },
      } as never],
      services: read.services,
      people: read,
      callers: { mode: "open" },
      limits: noLimits,
      clusterLimits: noLimits,
      idleTimeoutMs: 0,
      responseTimeoutMs: 0,
      maxBodyBytes: 0,
      head: defaultHeadLimits,
      maxStreams: 1,
      version: "0",
    },
    silent,
    { defer: setImmediate },
  );
  return relay;
}

function register(relay: Relay, id: string, more: Partial<Registration>): void {
  const session = { takesStreams: true, isSuspect: false, isDraining: false, openStreams: 0 };
  relay.registry.add({
    session: session as Registration["session"],
    cluster: { id } as Registration["cluster"],
    number: 1,
    address: "192.0.2.1",
    tokenName: "default",
    instance: "one",
    slot: 0,
    sinceMs: 0,
    ...more,
  });
}

function visitor(relay: Relay, claims: Record<string, unknown>): Visitor {
  const provider = relay.people.provider("corp")!;
  const caller: Caller = {
    kind: "session",
    name: "ann@example.com",
    clusters: anyName,
    person: {
      verifiedClaims: new TokenClaims("corp", claims, provider.claims),
      issuer: provider.issuer,
      subject: "1",
      username: "ann@example.com",
      sessionId: "s",
    },
  };
  return { caller, provider: "corp", address: "192.0.2.7" };
}

const ann = { email: "ann@example.com", email_verified: true };
const everything = { query: "", page: 1 };

Deno.test("the portal lists what the policies open to somebody, and nothing else", async () => {
  const relay = await startRelay();
  const names = async (claims: Record<string, unknown>) =>
    (await portalServices(relay, "https", visitor(relay, claims), everything)).items
      .map(({ name }) => name);
  const expected = ["app", "away", "bytes", "lacking", "many", "near", "open"];
  deepEqual(await names(ann), expected);
  deepEqual(await names({ ...ann, groups: ["admins"] }), [...expected, "closed"].sort());
  deepEqual(await names({ email: "eve@example.net", email_verified: true }), ["near", "open"]);
});

Deno.test("the portal tells whether agents serve a service, and how to open it", async () => {
  const relay = await startRelay();
  const targets = new Map([["web", { kind: "http" }], ["pg", { kind: "tcp" }]]);
  register(relay, "dev", { targets });
  register(relay, "side", { claims: new Map([["a.side.example.com", "web"]]) });
  const { items } = await portalServices(relay, "https", visitor(relay, ann), everything);
  const byName = new Map(items.map((item) => [item.name, item]));
  deepEqual(byName.get("app"), {
    name: "app",
    kind: "http",
    hosts: ["app.example.com:8443"],
    url: "https://app.example.com:8443/",
    connection: "connected",
  });
  equal(byName.get("away")!.connection, "away");
  equal(byName.get("lacking")!.connection, "lacks target");
  equal(byName.get("bytes")!.command, "access tcp bytes.example.com --listen 127.0.0.1:0");
  equal(byName.get("bytes")!.url, undefined);
  equal(byName.get("many")!.url, undefined);
  equal(byName.get("near")!.url, undefined);
  equal(byName.get("a.side.example.com")!.url, "https://a.side.example.com/");
});
