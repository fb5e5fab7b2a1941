/** Services files of whatever content: they are read, or refused in one line. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError } from "../../../lib/config/config_error.ts";
import type { ServicesContext } from "../../../lib/config/entries/service_checks.ts";
import { readServices } from "../../../lib/config/entries/services.ts";
import { readTargets } from "../../../lib/config/entries/targets.ts";
import { canonicalHost } from "../../../lib/relay/services/canonical_host.ts";
import { ServiceTable } from "../../../lib/relay/services/service_table.ts";
import { check } from "../../protocol/property.ts";

const context: ServicesContext = {
  ownNames: [{ option: "--web-relay-host", name: "relay.example.com" }],
  hasJwtIssuer: false,
  serverTls: "mutual",
};

const secret = "S3cret-of-the-client";

/** Every key that there is. */
const services = {
  services: [
    {
      name: "dashboard",
      hostnames: ["dash.example.com", "*.dash.example.com:8443"],
      cluster: "dev",
      target: "dashboard",
      policy: "staff",
      provider: "corp",
      host: "target",
      authorization: "app",
      impersonation: "strip",
      anonymousPaths: ["/manifest.json", "/public/"],
      serviceWorkers: false,
      frame: ["https://portal.example.com"],
      responseTimeout: "10m",
      limits: { requestsPerSecond: 5, openRequests: 2, bytesPerSecond: 1000 },
      headers: { set: { "X-Frame-Options": "DENY" }, remove: ["Server"] },
      cors: { origins: ["https://app.example.com"] },
    },
    {
      name: "pg",
      hostnames: ["pg.example.com"],
      cluster: "dev",
      target: "10.0.0.1:5432",
      kind: "tcp",
      policy: "public",
      listen: "127.0.0.1:15432",
      listenTls: true,
      allow: ["10.0.0.0/8"],
    },
  ],
  policies: [{ name: "staff", any: [{ emailDomain: "example.com" }, { all: [{ token: "ci" }] }] }],
  providers: [{
    name: "corp",
    kind: "oidc",
    issuer: "https://login.example.com",
    clientId: "culvert",
    clientSecret: secret,
  }],
  login: { host: "login.example.com", provider: "corp" },
};

const targets = {
  targets: [{
    name: "api",
    address: "kubernetes.default.svc:443",
    kind: "http",
    tls: { ca: "/ca.crt", serverName: "kubernetes", cert: "/a.crt", key: "/a.key" },
    credential: { file: "/token", header: "X-Token", scheme: "" },
  }],
};

/** Values that people, and programs that write files, have put in the wrong place. */
const odd = fc.oneof(
  fc.constantFrom<unknown>(
    ...[null, true, 0, -1, 1e308, "", " ", "\n", "null", [], [[]], {}, "*", "*.", "*.*", "*.com"],
    ...[
      "a..b",
      ".a",
      "a.",
      "A.EXAMPLE.com",
      "dash.example.com.",
      "münchen.example",
      "xn--a",
      "%2e",
    ],
    ...["a:99999", "a:0", "[::1]", "127.0.0.1", "::", "a b", "a\0b", "a\r\nb: c", "a".repeat(254)],
    ...["*.example.com", "*.relay.example.com", "relay.example.com", "login.example.com", "a.*.b"],
    ...["constructor", "__proto__", "toString", "${x}", "../x", "public", "staff", "corp"],
    ...["10m", "-1s", "1e9h", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", ":0", ":443", "tcp://x"],
  ),
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: "binary" }),
);

/** Where values are in a tree, by the keys that lead to them. */
function placesIn(value: unknown, at: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...at]];
  const below = Object.entries(value).flatMap(([key, item]) => placesIn(item, [...at, key]));
  return [[...at], ...below];
}

function changed(tree: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const copy = Array.isArray(tree) ? [...tree] : { ...tree as object };
  const holder = copy as Record<string, unknown>;
  holder[key] = changed(holder[key], rest, value);
  return copy;
}

/** Changes a few places of a file, or adds keys to it. */
function damaged(tree: object): fc.Arbitrary<unknown> {
  const place = fc.constantFrom(...placesIn(tree));
  const key = fc.option(fc.oneof(fc.string(), fc.constantFrom("name", "kind", "__proto__")), {
    nil: undefined,
  });
  const changes = fc.array(fc.tuple(place, key, odd), { minLength: 1, maxLength: 3 });
  return changes.map((list) =>
    list.reduce<unknown>((file, [place, key, value]) => {
      try {
        return changed(file, key === undefined ? place : [...place, key], value);
      } catch {
        return file; // An earlier change has put something else there.
      }
    }, tree)
  );
}

/** Has a reader take any file, or refuse it in a line that is fit for a log. */
function readsOrRefuses<Result>(
  read: (text: string) => Result,
  file: unknown,
  checkResult: (result: Result) => void,
): void {
  let result: Result;
  try {
    result = read(JSON.stringify(file) ?? "");
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const { message } = error;
    assert.match(message, /^File[:, ]/);
    // deno-lint-ignore no-control-regex
    assert.ok(!/[\0-\x1f\x7f-\x9f]/.test(message), JSON.stringify(message));
    assert.ok(message.length < 1_000, message);
    assert.ok(!message.includes(secret), message);
    return;
  }
  checkResult(result);
}

Deno.test("readServices reads any file or refuses it in one line, and what it reads can be published", () => {
  assert.equal(
    readServices([{ text: JSON.stringify(services), source: "File" }], context).services.length,
    2,
  );
  check(fc.property(damaged(services), (file) => {
    readsOrRefuses(
      (text) => readServices([{ text, source: "File" }], context),
      file,
      ({ services }) => {
        const table = new ServiceTable(services, []);
        for (const { name, hostnames, policy } of services) {
          assert.ok(policy.length > 0);
          for (const hostname of hostnames) {
            const asked = hostname.name.replace(/^\*/, "x");
            assert.equal(canonicalHost(asked), asked);
            assert.equal(canonicalHost(`${asked.toUpperCase()}.:8443`), asked);
            assert.equal(table.find(asked)?.service.name !== undefined, true, name);
            assert.notEqual(hostname.name, "relay.example.com");
          }
        }
      },
    );
  }));
});

Deno.test("readTargets reads any file or refuses it in one line, which shows no secret", () => {
  assert.equal(readTargets(JSON.stringify(targets), "File").length, 1);
  check(fc.property(damaged(targets), (file) => {
    readsOrRefuses((text) => readTargets(text, "File"), file, (targets) => {
      for (const { name, address } of targets) {
        assert.match(name, /^[a-z0-9-]{1,63}$/);
        assert.ok(address && address.port > 0 && address.hostname !== "");
      }
    });
  }));
});
