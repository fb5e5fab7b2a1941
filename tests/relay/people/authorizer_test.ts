import assert from "node:assert/strict";
import { type CryptoKey, errors, importJWK, SignJWT } from "jose";
import type { PolicyEntry } from "../../../lib/domain/policy.ts";
import type { JwtHeaderProvider, Provider } from "../../../lib/domain/provider.ts";
import { field } from "../../../lib/http1/head.ts";
import { systemClock } from "../../../lib/jwt/clock.ts";
import type { IssuerKeys } from "../../../lib/jwt/keys.ts";
import type { Peer } from "../../../lib/net/exchange.ts";
import { providerSchema } from "../../../lib/config/entries/providers.ts";
import { type Caller, Denial, type Identity } from "../../../lib/relay/callers/caller.ts";
import { Callers } from "../../../lib/relay/callers/callers.ts";
import { refuseCrossSiteAt } from "../../../lib/relay/callers/cross_site.ts";
import { Authorizer, PolicyDenial } from "../../../lib/relay/people/authorizer.ts";
import type { AccessRequirements } from "../../../lib/relay/people/access_requirements.ts";
import { HeaderProvider } from "../../../lib/relay/people/header_provider.ts";
import { People, type PeopleConfig } from "../../../lib/relay/people/people.ts";
import { tokenDigest as digest } from "../../../lib/runtime/node/token_digest.ts";
import { Issuer, makeKey } from "../../callers/issuer.ts";

const team = "https://team.example.com";
const audience = "32eafc";
const header = "Cf-Access-Jwt-Assertion";
const peer: Peer = { address: "192.0.2.1", isTls: true };

const policies: readonly PolicyEntry[] = [
  {
    name: "platform",
    any: [
      { claim: "groups", value: "platform" },
      { emailDomain: "example.com" },
      { token: "ci" },
      { claim: "common_name", value: "robot.access" },
    ],
  },
  { name: "office", all: [{ address: "10.0.0.0/8" }, { emailDomain: "example.com" }] },
  { name: "inside", any: [{ address: "10.0.0.0/8" }] },
  { name: "either", any: [{ address: "10.0.0.0/8" }, { certificate: "laptop-*" }] },
];

/** A authorizer behind an access proxy, and what signs its JWTs. */
class Site {
  readonly key;
  readonly issuer: Issuer;
  readonly people: People;
  readonly authorizer: Authorizer;
  readonly config: PeopleConfig;

  private constructor(
    key: Awaited<ReturnType<typeof makeKey>>,
    issuer: Issuer,
    callers: Callers,
    people: People,
    config: PeopleConfig,
  ) {
    this.key = key;
    this.issuer = issuer;
    this.people = people;
    this.config = config;
    this.authorizer = new Authorizer(callers, people);
  }

  static async open(changed = () => {}): Promise<Site> {
    const key = await makeKey("one");
    const issuer = new Issuer([key]);
    const provider: Provider = providerSchema.parse({
      ...{ name: "access", kind: "jwt-header", header, issuer: team, jwksUrl: issuer.url },
    });
    const config = { providers: [provider], policies };
    const tokens = [{ name: "ci", token: "token-of-the-ci-job", clusters: ["none"] }];
    const callers = await Callers.create({ mode: "known", tokens }, { digest });
    const people = await People.create(config, {
      clock: systemClock,
      ...{ digest, changed, fetch: (url, init) => fetch(url, init) },
      keysEvents: { fetched() {}, failed() {} },
    });
    return new Site(key, issuer, callers, people, config);
  }

  sign(claims: Record<string, unknown>, more: { aud?: string; iss?: string; exp?: string } = {}) {
    return new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "one" })
      .setIssuer(more.iss ?? team).setAudience(more.aud ?? audience)
      .setExpirationTime(more.exp ?? "5m").sign(this.key.privateKey);
  }

  /** What comes of a request with these fields. */
  async ask(
    fields: Readonly<Record<string, string>> | [string, string][],
    requirements: AccessRequirements = { policy: "platform", provider: "access", audience },
    from: Peer = peer,
  ): Promise<Identity> {
    const entries = Array.isArray(fields) ? fields : Object.entries(fields);
    const request = {
      head: { fields: entries.map(([name, value]) => field(name, value)) },
      peer: from,
    };
    const resource = {
      requirements,
      currentRequirements: () => requirements,
      authorization: "culvert",
      asked: "anything",
    } as const;
    return await this.authorizer.identify(resource, request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.issuer[Symbol.asyncDispose]();
  }
}

function told(identity: Identity): string {
  return identity instanceof Denial
    ? `${identity.answer.status} ${identity.reason}`
    : `${identity.kind} ${identity.name}`;
}

const ann = { sub: "7335", email: "ann@example.com" };

Deno.test("an access proxy's JWT lets in whom the policy names, by their e-mail address", async () => {
  await using site = await Site.open();
  const identity = await site.ask({ [header]: await site.sign(ann) }) as Caller;
  assert.equal(told(identity), "edge ann@example.com");
  assert.equal(identity.person!.verifiedClaims.provider, "access");
  assert.match(identity.person!.sessionId, /^[0-9a-f]{16}$/);
});

Deno.test("an access proxy's service token, which has no subject, comes in by its common name", async () => {
  await using site = await Site.open();
  const robot = await site.sign({ sub: "", common_name: "robot.access", type: "app" });
  assert.equal(told(await site.ask({ [header]: robot })), "edge robot.access");
  const other = await site.sign({ sub: "", common_name: "other.access" });
  assert.equal(told(await site.ask({ [header]: other })), "403 policy");
});

Deno.test("a JWT in a header counts only once, for this application, of this team, in time and signed", async () => {
  await using site = await Site.open();
  const good = await site.sign(ann);
  const [head, payload] = good.split(".");
  const none = btoa('{"alg":"none"}').replaceAll("=", "");
  const cases: [string, [string, string][], string][] = [
    ["absent", [], "401 missing"],
    ["only as a cookie", [["Cookie", `CF_Authorization=${good}`]], "401 missing"],
    ["twice", [[header, good], [header, good]], "401 malformed"],
    ["twice in one line", [[header, `${good}, ${good}`]], "401 malformed"],
    ["not a JWT", [[header, "ann@example.com"]], "401 malformed"],
    ["empty", [[header, ""]], "401 malformed"],
    ["for another application", [[header, await site.sign(ann, { aud: "other" })]], "401 audience"],
    ["of another team", [[header, await site.sign(ann, { iss: `${team}x` })]], "401 issuer"],
    ["expired", [[header, await site.sign(ann, { exp: "-31s" })]], "401 expired"],
    ["unsigned", [[header, `${none}.${payload}.`]], "401 algorithm"],
    ["without its signature", [[header, `${head}.${payload}.`]], "401 signature"],
    ["of somebody whose e-mail address is not verified", [
      [header, await site.sign({ ...ann, email_verified: false })],
    ], "401 claim"],
    ["under a name that folds to the header's", [["Cf_Access_Jwt_Assertion", good]], "401 missing"],
  ];
  for (const [what, fields, outcome] of cases) {
    assert.equal(told(await site.ask(fields)), outcome, what);
  }
});

Deno.test("a request that asks for many applications has its JWT verified once, though it be for none", async () => {
  await using site = await Site.open();
  const [provider] = site.config.providers as [JwtHeaderProvider];
  let verified = 0;
  const find = async () => {
    verified++;
    return await importJWK(site.key.publicJwk as never, "ES256") as CryptoKey;
  };
  const keys = { find } as unknown as IssuerKeys;
  const isInUse = () => true;
  const good = await site.sign(ann, { aud: "app-7" });
  for (const token of [good, `${good.slice(0, -6)}AAAAAA`]) {
    verified = 0;
    const reader = new HeaderProvider(provider, { keys, clock: systemClock, digest, isInUse });
    const request = { head: { fields: [field(header, token)] }, peer };
    const found: string[] = [];
    for (let number = 0; number < 20; number++) {
      found.push(told((await reader.identify(request, `app-${number}`))!));
    }
    assert.equal(verified, 1);
    const [own] = found.splice(7, 1);
    const isGood = token === good;
    assert.equal(own, isGood ? "edge ann@example.com" : "401 signature");
    assert.deepEqual([...new Set(found)], [isGood ? "401 audience" : "401 signature"]);
  }
});

Deno.test("beside a certificate, the cookie of a session that has ended counts for nothing", async () => {
  await using site = await Site.open();
  const corp: Provider = providerSchema.parse({
    ...{ name: "corp", kind: "oidc", issuer: "https://idp.example.com" },
    ...{ clientId: "culvert", clientSecret: "secret" },
  });
  const laptops = { name: "laptops", any: [{ certificate: "laptop-*" }] };
  await site.people.replace({ providers: [corp], policies: [laptops] });
  const requirements: AccessRequirements = { policy: "laptops", provider: "corp" };
  const from = { ...peer, certificate: { names: ["laptop-7"], isStillTrusted: () => true } };
  for (const found of [undefined, Promise.resolve(undefined)]) {
    site.people.sessions = { identify: () => found };
    const identity = await site.ask({ Cookie: "x=y" }, requirements, from as unknown as Peer);
    assert.equal(told(identity), "certificate laptop-7");
    assert.equal(told(await site.ask({ Cookie: "x=y" }, requirements)), "401 missing");
  }
});

Deno.test("a JWT in a header is verified once in a minute for each application", async () => {
  await using site = await Site.open();
  const jwt = await site.sign(ann);
  const requirements: AccessRequirements = { policy: "platform", provider: "access", audience };
  const request = { head: { fields: [field(header, jwt)] }, peer };
  const resource = {
    requirements,
    currentRequirements: () => requirements,
    authorization: "app",
    asked: "anything",
  } as const;
  assert.ok(site.authorizer.identify(resource, request) instanceof Promise);
  await site.authorizer.identify(resource, request);
  assert.equal(
    told(site.authorizer.identify(resource, request) as Identity),
    "edge ann@example.com",
  );
  const other = { ...resource, requirements: { ...requirements, audience: "other" } };
  assert.equal(told(await site.authorizer.identify(other, request)), "401 audience");
});

Deno.test("a JWT in a header that is being verified while its key is withdrawn is refused", async () => {
  await using site = await Site.open();
  const [provider] = site.config.providers as [JwtHeaderProvider];
  const first = Promise.withResolvers<CryptoKey>();
  let asked = 0;
  const find = () => {
    if (asked++ === 0) return first.promise;
    throw new errors.JWKSNoMatchingKey();
  };
  const keys = { find } as unknown as IssuerKeys;
  const isInUse = () => true;
  const reader = new HeaderProvider(provider, { keys, clock: systemClock, digest, isInUse });
  const request = { head: { fields: [field(header, await site.sign(ann))] }, peer };
  const identity = reader.identify(request, audience);
  reader.forget();
  first.resolve(await importJWK(site.key.publicJwk as never, "ES256") as CryptoKey);
  assert.equal(told((await identity)!), "401 unknown_key");
});

Deno.test("a bearer token decides alone, whatever else a request has", async () => {
  await using site = await Site.open();
  const jwt = await site.sign(ann);
  const asked = async (token: string) =>
    told(await site.ask({ [header]: jwt, Authorization: `Bearer ${token}` }));
  assert.equal(await asked("token-of-the-ci-job"), "token ci");
  assert.equal(await asked("token-of-nobody-at-all"), "401 unknown_token");
  const own = { [header]: jwt, "Culvert-Authorization": "Bearer token-of-the-ci-job" };
  assert.equal(told(await site.ask({ ...own, Authorization: "Basic eDp5" })), "token ci");
});

Deno.test("all attributes of a request count: who somebody is, and where they are", async () => {
  await using site = await Site.open();
  const fields = { [header]: await site.sign(ann) };
  const requirements: AccessRequirements = { policy: "office", provider: "access", audience };
  assert.equal(told(await site.ask(fields, requirements)), "403 policy");
  const inside = { ...peer, address: "10.1.2.3" };
  assert.equal(told(await site.ask(fields, requirements, inside)), "edge ann@example.com");
});

Deno.test("who shows nothing gets 401 where a credential would let them in from there, and else 403", async () => {
  await using site = await Site.open();
  const at = async (address: string, policy: string) =>
    told(await site.ask({}, { policy, provider: "access", audience }, { ...peer, address }));
  const outcomes: [string, string, string][] = [
    ["192.0.2.1", "inside", "403 policy"],
    ["10.1.2.3", "inside", "network network"],
    ["192.0.2.1", "either", "401 missing"],
    ["192.0.2.1", "office", "403 policy"],
    ["10.1.2.3", "office", "401 missing"],
    ["192.0.2.1", "platform", "401 missing"],
    ["192.0.2.1", "a policy that is gone", "403 policy"],
  ];
  for (const [address, policy, outcome] of outcomes) {
    assert.equal(await at(address, policy), outcome, `${policy} from ${address}`);
  }
  const denial = await site.ask({}, { policy: "inside" });
  assert.ok(denial instanceof PolicyDenial);
  assert.equal(denial.caller, undefined);
  assert.equal(denial.detail, "not met: an address in 10.0.0.0/8");
});

Deno.test("a denial says which rules were not met, and that groups were not told", async () => {
  await using site = await Site.open();
  const bob = await site.sign({ sub: "1", email: "bob@other.com" });
  const denial = await site.ask({ [header]: bob });
  assert.ok(denial instanceof PolicyDenial);
  assert.equal(denial.caller?.name, "bob@other.com");
  assert.ok(denial.missing.includes('"platform" in groups'));
  assert.equal(denial.lacksGroups, true);
  assert.equal(denial.detail, "groups not told by the provider");
});

Deno.test("what a policy no longer lets in loses its grant at once, and so does what a provider vouched for", async () => {
  let changes = 0;
  await using site = await Site.open(() => changes++);
  const caller = await site.ask({ [header]: await site.sign(ann) }) as Caller;
  const isValid = () => caller.grant!.mayReach("any", Date.now());
  assert.equal(isValid(), true);
  await site.people.replace({ ...site.config, policies: [...policies].reverse() });
  assert.equal(isValid(), true, "the same policies");
  const narrowed = { name: "platform", any: [{ claim: "groups", value: "platform" }] };
  await site.people.replace({ ...site.config, policies: [narrowed] });
  assert.equal(isValid(), false, "a narrower policy");
  await site.people.replace(site.config);
  assert.equal(isValid(), true);
  await site.people.replace({ ...site.config, policies: [] });
  assert.equal(isValid(), false, "no such policy");
  await site.people.replace({ policies, providers: [] });
  assert.equal(isValid(), false, "no such provider");
  assert.equal(changes, 5);
});

Deno.test("the grant of a JWT in a header ends with the JWT", async () => {
  await using site = await Site.open();
  const caller = await site.ask({ [header]: await site.sign(ann) }) as Caller;
  const { expiresMs } = caller.grant!;
  assert.ok(Math.abs(expiresMs - Date.now() - 330_000) < 20_000);
  assert.equal(caller.grant!.mayReach("any", expiresMs), false);
});

Deno.test("a public resource lets everybody in without looking at what they show", async () => {
  await using site = await Site.open();
  const identity = await site.ask({ Authorization: "Bearer x" }, { policy: "public" });
  assert.equal(told(identity), "network network");
});

const edge: Caller = { ...{ kind: "edge", name: "ann" } as const, clusters: undefined as never };
const robot: Caller = {
  ...edge,
  person: {
    verifiedClaims: undefined as never,
    issuer: "",
    subject: "",
    username: "",
    sessionId: "",
  },
};

for (
  const [what, fields, caller, isRefused] of [
    ["no field of a browser's", {}, edge, false],
    ["its own page's", { "Sec-Fetch-Site": "same-origin" }, edge, false],
    ["a sibling's", { "Sec-Fetch-Site": "same-site" }, edge, true],
    ["a sibling's, for a program's token", { "Sec-Fetch-Site": "same-site" }, robot, true],
    ["its own origin", { Origin: "https://dash.example.com" }, edge, false],
    ["a sibling's origin", { Origin: "https://other.example.com" }, edge, true],
    ["no origin at all", { Origin: "null" }, edge, true],
    ["its own host without TLS", { Origin: "http://dash.example.com" }, edge, true],
    ["another port", { Origin: "https://dash.example.com:8443" }, edge, true],
    ["a page that is listed", { Origin: "https://app.example.com" }, edge, false],
    [
      "a forwarded host",
      {
        Origin: "https://evil.example",
        "X-Forwarded-Host": "evil.example",
      },
      edge,
      true,
    ],
    ["a WebSocket without an origin", { Upgrade: "websocket" }, edge, true],
    ["a program's WebSocket", { Upgrade: "websocket" }, robot, false],
    [
      "a WebSocket of its own page",
      {
        Upgrade: "websocket",
        Origin: "https://dash.example.com",
      },
      edge,
      false,
    ],
  ] as const
) {
  Deno.test(`at a hostname, a request that bears ${what} is ${isRefused ? "refused" : "taken"}`, () => {
    const all = Object.entries({ Host: "dash.example.com", ...fields });
    const head = {
      ...{ method: "POST", target: "/", minor: 1 },
      fields: all.map(([name, value]) => field(name, value)),
    };
    const denial = refuseCrossSiteAt(caller, { head, peer }, ["https://app.example.com"]);
    assert.equal(denial !== undefined, isRefused);
  });
}
