import assert from "node:assert/strict";
import { readServices, type Services } from "../../../lib/config/entries/services.ts";
import { readServicesFiles } from "../../../lib/config/entries/services_files.ts";
import { checkTogether } from "../../../lib/config/services_option.ts";
import { readClusters } from "../../../lib/config/entries/clusters.ts";
import { refusalOf } from "../support.ts";

const context = { ownNames: [], hasJwtIssuer: false };

const dashboard = {
  name: "dashboard",
  hostnames: ["dash.example.com"],
  cluster: "dev",
  target: "dashboard",
  policy: "public",
};

function read(...services: object[]): Services {
  return readAll({ services });
}

function readAll(...files: object[]): Services {
  const texts = files.map((file, index) => ({
    text: JSON.stringify(file),
    source: `File ${index + 1}`,
  }));
  return readServices(texts, context);
}

Deno.test("readServices fills in what an entry leaves open", () => {
  const [service] = read(dashboard).services;
  assert.deepEqual(service, {
    ...dashboard,
    hostnames: [{ name: "dash.example.com", port: undefined }],
    kind: "http",
    host: "public",
    impersonation: "refuse",
    authorization: "app",
    headers: { set: [], remove: [] },
    corsOrigins: [],
  });
});

Deno.test("readServices takes YAML and JSON, and no services at all", () => {
  const yaml = `
services:
  - name: dashboard
    hostnames: ["*.Example.COM:8443"]   # case is ignored
    cluster: dev
    target: headlamp.headlamp.svc:80
    policy: public
    responseTimeout: 10m
`;
  const [service] = readServices([{ text: yaml, source: "x.yaml" }], context).services;
  assert.deepEqual(service?.hostnames, [{ name: "*.example.com", port: 8443 }]);
  assert.equal(service?.responseTimeoutMs, 600_000);
  assert.deepEqual(readAll({ services: [] }).services, []);
  assert.deepEqual(readAll({}).services, []);
});

Deno.test("readServices refuses a wrong entry by file, number, name and key", () => {
  const dashboardWith = (changes: object) => [{ ...dashboard, ...changes }];
  const { policy: _policy, ...unguarded } = dashboard;
  const place = 'File 1, entry 1 ("dashboard")';
  const cases: [object[], string | RegExp][] = [
    [
      [unguarded],
      `${place}: policy: is missing: it must be "public", which lets everybody in, or the name of ` +
      "a policy",
    ],
    [dashboardWith({ policy: "" }), /policy: is missing/],
    [dashboardWith({ policy: "staff" }), /there is no policy "staff"; there are public/],
    [dashboardWith({ polcy: "public" }), /unknown key "polcy"; did you mean "policy"\?/],
    [dashboardWith({ hostname: "a" }), /unknown key "hostname"; did you mean "hostnames"\?/],
    [dashboardWith({ name: "Dashboard" }), /name: must be 1 to 63 of a-z, 0-9 and -/],
    [
      dashboardWith({ hostnames: [] }),
      `${place}: hostnames: must be a list of at least one hostname`,
    ],
    [dashboardWith({ hostnames: "a" }), /hostnames: must be a list of at least one hostname/],
    [dashboardWith({ kind: "udp" }), `${place}: kind: must be one of http, tcp, tls`],
    [dashboardWith({ target: "a/b" }), /target: must be HOST:PORT .* or the name of one of/],
    [dashboardWith({ target: undefined }), /target: must be HOST:PORT/],
    [dashboardWith({ cluster: "a/b" }), /cluster: must be 1 to 253 letters/],
    [dashboardWith({ host: "both" }), `${place}: host: must be "public" or "target"`],
    [dashboardWith({ authorization: 1 }), `${place}: authorization: must be "culvert" or "app"`],
    [dashboardWith({ responseTimeout: 5 }), /responseTimeout: must be a duration/],
    [
      dashboardWith({ recentRequests: 1_001 }),
      /recentRequests: must be a whole number from 0 to 1000/,
    ],
    [
      dashboardWith({ recentRequests: "all" }),
      /recentRequests: must be a whole number from 0 to 1000/,
    ],
    [dashboardWith({ headers: { add: {} } }), /headers: unknown key "add"/],
    [dashboardWith({ headers: { set: { "Set-Cookie": "a" } } }), /belongs to culvert or the app/],
    [dashboardWith({ headers: { remove: ["Content-Length"] } }), /frames the response/],
    [dashboardWith({ headers: { set: { "Culvert-X": "a" } } }), /cannot be changed/],
    [dashboardWith({ headers: { set: { A: "a\r\nB: c" } } }), /must be printable ASCII/],
    [dashboardWith({ headers: { set: { "A B": "c" } } }), /must be the name of a header field/],
    [dashboardWith({ cors: { origins: ["*"] } }), /must be an origin such as/],
    [dashboardWith({ cors: { origins: ["https://a.test/"] } }), /must be an origin such as/],
    [
      dashboardWith({ kind: "tcp", host: "target" }),
      `${place}: host: is for services of kind http`,
    ],
    [
      dashboardWith({ anonymousPaths: ["/public/*"] }),
      `${place}: anonymousPaths: entry 1: must be a path such as "/manifest.json", or one that ` +
      'ends in "/" for all below',
    ],
    [[dashboard, dashboard], /entry 1 \("dashboard"\) and File 1, entry 2 .* have the same name/],
    [
      [dashboard, { ...dashboard, name: "other", hostnames: ["DASH.example.COM"] }],
      'File 1, entry 1 ("dashboard") and File 1, entry 2 ("other") have the same hostname ' +
      '"dash.example.com"; case is ignored',
    ],
    [
      dashboardWith({ hostnames: ["a.test", "A.test"] }),
      `${place}: hostnames: entry 2: is "a.test" again; case is ignored`,
    ],
  ];
  for (const [services, message] of cases) {
    const refusal = refusalOf(() => read(...services));
    if (typeof message === "string") assert.equal(refusal, message);
    else assert.match(refusal, message);
    assert.ok(refusal.startsWith("File 1"), refusal);
  }
});

Deno.test("readServices refuses what is no hostname", () => {
  const wrong = [
    ...["", ".", "a..b", "-a.test", "a-.test", "*", "*.", "a.*.test", "**.test", "*a.test"],
    ...["127.0.0.1", "10.1", "[::1]", "a.test:0", "a.test:70000", "a.test:", "http://a.test"],
    ...["a.test/", "a b", "ä.test", "x".repeat(64), `${"a.".repeat(127)}test`],
  ];
  for (const hostname of wrong) {
    const refusal = refusalOf(() => read({ ...dashboard, hostnames: [hostname] }));
    assert.match(refusal, /hostnames: entry 1: must be a hostname such as/, hostname);
  }
});

Deno.test("readServices refuses what is no file of services", () => {
  const cases: [string, RegExp][] = [
    ["[]", /must be an object with services, in YAML or JSON/],
    ["{", /it is not JSON at line 1/],
    ['{"services":[],"services":[]}', /has "services" twice/],
    ["services:\n\t- a", /tab|not YAML/],
    ["services: []\nservices: []", /key twice/],
    ["", /it is empty/],
    ["just words", /must be an object with services/],
  ];
  for (const [text, message] of cases) {
    assert.match(refusalOf(() => readServices([{ text, source: "X" }], context)), message);
  }
});

Deno.test("readServices looks at all files of a folder together", () => {
  const other = { ...dashboard, name: "other" };
  const message = refusalOf(() => readAll({ services: [dashboard] }, { services: [other] }));
  assert.match(message, /^File 1, entry 1 \("dashboard"\) and File 2, entry 1 \("other"\) have/);
  const staff = { name: "staff", any: [{ address: "10.0.0.0/8" }] };
  const services = [{ ...dashboard, policy: "staff" }];
  assert.equal(readAll({ policies: [staff] }, { services }).services[0]?.policy, "staff");
  assert.match(
    refusalOf(() => readServicesFiles("/etc/x", [], context)),
    /directory "\/etc\/x" has no \*\.yaml, \*\.yml or \*\.json file/,
  );
});

Deno.test("readServices refuses the relay's own name, and a wildcard over it", () => {
  const own = {
    ownNames: [{ option: "--web-relay-host", name: "relay.test" }],
    hasJwtIssuer: false,
  };
  const text = (hostname: string) =>
    JSON.stringify({ services: [{ ...dashboard, hostnames: ["a.test.test", hostname] }] });
  for (const [hostname, how] of [["Relay.test", "is"], ["*.test", "covers"]] as const) {
    assert.equal(
      refusalOf(() => readServices([{ text: text(hostname), source: "File 1" }], own)),
      `File 1, entry 1 ("dashboard"): hostnames: entry 2: "${hostname.toLowerCase()}" ${how} the ` +
        `relay's own name "relay.test" (--web-relay-host); choose another`,
    );
  }
  readServices([{ text: text("*.relay.test"), source: "File 1" }], own);
});

Deno.test("a service's Authorization is the app's unless a bearer token may open it", () => {
  const staff = (rule: object) => ({
    policies: [{ name: "staff", any: [rule] }],
    services: [{ ...dashboard, policy: "staff" }],
  });
  const of = (file: object) => readAll(file).services[0]?.authorization;
  assert.equal(of(staff({ token: "ci" })), "culvert");
  assert.equal(of(staff({ address: "10.0.0.1" })), "app");
  const open = { ...dashboard, authorization: "culvert" };
  assert.equal(of({ services: [open] }), "culvert");
});

Deno.test("an open service is named in a warning", () => {
  const [warning] = read(dashboard).warnings;
  assert.match(warning!, /entry 1 \("dashboard"\): policy: "public" lets everybody in/);
  const many = Array.from({ length: 1_000 }, (_, at) => ({
    ...dashboard,
    name: `app-${at}`,
    hostnames: [`app-${at}.example.com`],
  }));
  const { warnings } = read(...many);
  assert.equal(warnings.length, 11);
  assert.match(warnings.at(-1)!, /^990 more services are open: policy: "public" lets everybody in/);
});

const entry = { id: "dev", token: "dev-token-0123456789", targetAddr: "a:1" };

function clusters(...entries: object[]) {
  return readClusters(JSON.stringify(entries), "Clusters").clusters;
}

Deno.test("a cluster's hostnames need a policy, and a policy hostnames", () => {
  const hostnames = ["hello.example.com"];
  assert.match(
    refusalOf(() => clusters({ ...entry, hostnames })),
    /entry 1 \("dev"\): policy: is missing: beside hostnames it must be "public"/,
  );
  assert.match(
    refusalOf(() => clusters({ ...entry, policy: "public" })),
    /policy: guards the entry's hostnames, and it has none/,
  );
  const [cluster] = clusters({ ...entry, hostnames, policy: "public" });
  assert.deepEqual(cluster?.claims, {
    hostnames: [{ name: "hello.example.com", port: undefined }],
    policy: "public",
  });
});

Deno.test("two clusters' hostnames must not overlap", () => {
  const with_ = (id: string, ...hostnames: string[]) => ({
    ...entry,
    id,
    token: `${id}-token-0123456789`,
    hostnames,
    policy: "public",
  });
  for (const [a, b] of [["a.test", "A.test"], ["*.test", "a.test"], ["a.test", "*.test"]]) {
    assert.match(
      refusalOf(() => clusters(with_("one", a!), with_("two", b!))),
      /entries 1 \("one"\) and 2 \("two"\) have overlapping hostnames/,
    );
  }
  assert.equal(clusters(with_("one", "*.a.test"), with_("two", "*.test", "a.test")).length, 2);
});

Deno.test("checkTogether knows policies of clusters, and services of clusters that nobody has", () => {
  const claiming = clusters({ ...entry, hostnames: ["a.test"], policy: "staff" });
  assert.match(
    refusalOf(() => checkTogether(claiming, read(), context)),
    /cluster "dev": policy: there is no policy "staff"/,
  );
  const warnings = checkTogether([], read(dashboard), context);
  assert.match(warnings[0]!, /"dashboard" is for cluster "dev", which is not among the clusters/);
});

Deno.test("checkTogether warns of a policy's own token where clusters have the policy", () => {
  const ids = ["dev", "test", "prod"];
  const callerPolicy = "reports";
  const named = clusters(
    ...ids.map((id) => ({ ...entry, id, token: `${id}-token-0123456789`, callerPolicy })),
  );
  const own = { token: "nightly", tokenSha256: "0a".repeat(32) };
  const check = (any: unknown[]) =>
    checkTogether(named, readAll({ policies: [{ name: callerPolicy, any }] }), context);
  assert.deepEqual(check([{ token: "ci" }, { address: "10.0.0.0/8" }]), []);
  assert.deepEqual(check([{ address: "10.0.0.0/8" }, own]), [
    'Cluster "dev" and 2 more: callerPolicy: the token "nightly" of policy "reports" opens services ' +
    "only, and not /tunnel/; to admit it there, put it into --caller-tokens, and leave out the " +
    "rule's tokenSha256",
  ]);
  const nested = { name: callerPolicy, all: [{ address: "10.0.0.0/8" }, { any: [own] }] };
  const [warning] = checkTogether(named.slice(0, 1), readAll({ policies: [nested] }), context);
  assert.match(warning!, /^Cluster "dev": callerPolicy: the token "nightly" of policy "reports"/);
});

Deno.test("a policy with methods or paths is for HTTP alone", () => {
  const policies = [{ name: "reads", any: [{ token: "ci", paths: ["/api/"] }] }];
  const faultOf = (more: object) =>
    refusalOf(() => readAll({ policies, services: [{ ...dashboard, policy: "reads", ...more }] }));
  const rest =
    "has a rule with paths, and there are no requests that could meet it; it can have rules without " +
    "methods and paths";
  const expected = `File 1: service "dashboard": policy "reads" ${rest}`;
  assert.equal(faultOf({ kind: "tcp" }), expected);
  assert.equal(faultOf({ kind: "tls" }), expected);
  assert.equal(faultOf({ kind: "tcp", listen: "127.0.0.1:15432" }), expected);
  const login = { host: "login.example.com", statusPolicy: "reads" };
  const provider = { name: "corp", kind: "oidc", issuer: "https://idp.test", clientId: "culvert" };
  assert.equal(
    refusalOf(() => readAll({ policies, login, providers: [provider] })),
    `File 1: login: statusPolicy: policy "reads" ${rest}`,
  );
  assert.equal(
    readAll({ policies, services: [{ ...dashboard, policy: "reads" }] }).services.length,
    1,
  );
});
