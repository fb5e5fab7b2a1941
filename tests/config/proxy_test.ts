import assert from "node:assert/strict";
import { type AgentOptions, parseAgentOptions } from "../../lib/config/agent_options.ts";
import { isExempt } from "../../lib/config/no_proxy.ts";
import { formatProxy, type Proxy } from "../../lib/config/proxy.ts";
import {
  assertRefused,
  CERTIFICATE_PEM,
  refusalOf,
  runOptions,
  ScratchDirectory,
} from "./support.ts";

const WSS = "wss://relay.example.com/connect";
const basic = (text: string) => `Basic ${new TextEncoder().encode(text).toBase64()}`;

/** The proxy of an agent with these variables. */
function proxyWith(env: Record<string, string>, more: AgentArguments = {}): Proxy | undefined {
  return agentWith(env, more).proxy;
}

interface AgentArguments {
  readonly server?: string;
  readonly args?: readonly string[];
}

function agentWith(
  env: Record<string, string>,
  { server = WSS, args = [] }: AgentArguments = {},
): AgentOptions {
  const argv = ["-plain-target", "-sa-token-path=", "-allow-insecure-server", ...args];
  const all = { SERVER_URL: server, TOKEN: "QZQZQZQZQZQZQZQZ", ...env };
  return runOptions(parseAgentOptions(argv, all));
}

const plain = (hostname: string, port: number) => ({ isTls: false, hostname, port });

Deno.test("--proxy takes an HTTP proxy's URL, with credentials or without", async (t) => {
  const cases: readonly (readonly [string, Proxy])[] = [
    ["http://proxy:3128", plain("proxy", 3128)],
    ["http://proxy:3128/", plain("proxy", 3128)],
    ["HTTP://Proxy.Example", plain("proxy.example", 80)],
    ["proxy:3128", plain("proxy", 3128)],
    ["10.0.0.7", plain("10.0.0.7", 80)],
    ["http://[fd00::1]:3128", plain("fd00::1", 3128)],
    ["https://proxy", { isTls: true, hostname: "proxy", port: 443 }],
    [
      "http://user:pass@proxy:1",
      { ...plain("proxy", 1), authorization: basic("user:pass") },
    ],
    [
      "user:p%40ss%3A%2F%25@proxy:1",
      { ...plain("proxy", 1), authorization: basic("user:p@ss:/%") },
    ],
    [
      "http://J%C3%BCrgen:gr%C3%BC%C3%9Fe@proxy:1",
      { ...plain("proxy", 1), authorization: basic("Jürgen:grüße") },
    ],
    ["http://user@proxy:1", { ...plain("proxy", 1), authorization: basic("user:") }],
    ["http://:pass@proxy:1", { ...plain("proxy", 1), authorization: basic(":pass") }],
  ];
  for (const [url, expected] of cases) {
    await t.step(url, () => {
      assert.deepEqual(proxyWith({}, { args: ["--proxy", url] }), expected);
      assert.deepEqual(proxyWith({ PROXY: url }), expected);
      assert.deepEqual(proxyWith({ HTTPS_PROXY: url }), expected);
    });
  }
});

const EXPECTED =
  "must be the URL of an HTTP proxy, http://HOST:PORT or https://HOST:PORT, with credentials " +
  "as http://USER:PASSWORD@HOST:PORT";

Deno.test("a proxy that can't be used is refused in one line, which never shows it", async (t) => {
  const credentials =
    "must have its user name and password percent-encoded, and no colon in the name";
  const unencoded = (character: string, code: string): string =>
    `must not have "${character}" before its "@": in a user name or password, write ${code} for it`;
  const cases = [
    ["http://", EXPECTED],
    ["http://proxy:99999", EXPECTED],
    ["ftp://proxy:21", EXPECTED],
    ["http://proxy:3128/path", EXPECTED],
    ["http://user:hunter2/x@proxy:3128", unencoded("/", "%2F")],
    ["http://user:12#hunter2@proxy:3128", unencoded("#", "%23")],
    ["http://user:12?hunter2@proxy:3128", unencoded("?", "%3F")],
    ["http://DOMAIN\\user:hunter2@proxy:3128", unencoded("\\", "%5C")],
    ["DOMAIN\\user:hunter2@proxy:3128", unencoded("\\", "%5C")],
    ["http://user:hunter2%@proxy:3128", unencoded("%", "%25")],
    ["http://user:hunter2%zz@proxy:3128", unencoded("%", "%25")],
    ["http://us%3Aer:hunter2@proxy:3128", credentials],
    ["http://user:hunter2%0d%0aX:1@proxy:3128", credentials],
  ] as const;
  for (const [url, expected] of cases) {
    await t.step(url, () => {
      assertRefused(
        () => proxyWith({}, { args: ["--proxy", url] }),
        `Option --proxy ${expected}`,
      );
      assertRefused(() => proxyWith({ PROXY: url }), `Environment variable PROXY ${expected}`);
      assertRefused(
        () => proxyWith({ ALL_PROXY: url }),
        `Environment variable ALL_PROXY ${expected}`,
      );
    });
  }
});

Deno.test("a SOCKS proxy is refused as the agent's own, and left to other programs in their variables", () => {
  const socks = "socks5://user:hunter2@proxy:1080";
  const fault =
    "must not be a SOCKS proxy: the agent speaks with HTTP proxies, http:// or https://";
  assertRefused(() => proxyWith({}, { args: ["--proxy", socks] }), `Option --proxy ${fault}`);
  assertRefused(() => proxyWith({ PROXY: socks }), `Environment variable PROXY ${fault}`);
  const warning = (name: string) =>
    `Environment variable ${name} has no effect: it is a SOCKS proxy, and the agent uses HTTP proxies`;
  for (const name of ["ALL_PROXY", "all_proxy", "HTTPS_PROXY"]) {
    for (const url of [socks, "socks5h://proxy", "socks4://proxy:1", "SOCKS://proxy"]) {
      const { proxy, warnings } = agentWith({ [name]: url });
      assert.equal(proxy, undefined);
      assert.deepEqual(warnings, [warning(name)]);
    }
  }
  const { proxy, warnings } = agentWith({ HTTPS_PROXY: socks, ALL_PROXY: "http://proxy:1" });
  assert.deepEqual(proxy, plain("proxy", 1));
  assert.deepEqual(warnings, [warning("HTTPS_PROXY")]);
});

Deno.test("an entry of NO_PROXY that can match nothing is a warning that says why", async (t) => {
  const cases = [
    ["a;b", "has a semicolon; put commas between entries"],
    ["10.*", 'has "*" within it; give .example.com, or a network such as 10.0.0.0/8'],
    ["*example.com", 'has "*" within it; give .example.com, or a network such as 10.0.0.0/8'],
    ["relay.*.com", 'has "*" within it; give .example.com, or a network such as 10.0.0.0/8'],
    ["https://x", "is a URL; give the host alone"],
    ['"example.com"', "has quotes; leave them out"],
    ["'10.0.0.1", "has quotes; leave them out"],
    ["10.0.0.0/33", "is not a network such as 10.0.0.0/8"],
    ["10.0.0.0/255.0.0.0", "is not a network such as 10.0.0.0/8"],
    ["example.com/8", "is not a network such as 10.0.0.0/8"],
    ["10.0.0.256", "is not an IP address"],
    ["10.0.0", "is not an IP address"],
    ["10.0.0.0-10.0.0.9", "is not an IP address"],
    ["relay:port", "has an invalid port"],
    ["relay:99999", "has an invalid port"],
    ["b\u00fcro.example", "is not ASCII; write it as xn--…"],
    ["user@host", "is not a host name"],
    ["a..b", "is not a host name"],
    [".", "is not a host name"],
    ["[nonsense", "is not a host name"],
  ] as const;
  for (const [entry, why] of cases) {
    await t.step(entry, () => {
      const env = { HTTPS_PROXY: "http://proxy:1", NO_PROXY: `localhost,${entry}` };
      const { proxy, warnings } = agentWith(env);
      assert.deepEqual(proxy, plain("proxy", 1));
      const name = JSON.stringify(entry);
      assert.deepEqual(warnings, [
        `Environment variable NO_PROXY has the entry ${name}, which ${why}: it matches nothing`,
      ]);
      assert.deepEqual(agentWith({ NO_PROXY: entry }).warnings, [], "without a proxy, no matter");
    });
  }
  const good = "localhost,127.0.0.0/8,::1,[::1]:80,.svc,*.svc,a_b.example.,10.0.0.1:8080,fd00::/8";
  assert.deepEqual(agentWith({ HTTPS_PROXY: "http://proxy:1", no_proxy: good }).warnings, []);
  const many = Array.from({ length: 12 }, (_, index) => `${index}.*`).join(" ");
  const { warnings } = agentWith({ HTTPS_PROXY: "http://proxy:1", NO_PROXY: many });
  assert.equal(warnings.length, 6);
  assert.equal(warnings.at(-1), "Environment variable NO_PROXY has 7 more such entries");
});

Deno.test("the variables count by the relay's scheme, upper case first, ALL_PROXY last", () => {
  const all = {
    HTTPS_PROXY: "http://upper-https:1",
    https_proxy: "http://lower-https:2",
    HTTP_PROXY: "http://upper-http:3",
    http_proxy: "http://lower-http:4",
    ALL_PROXY: "http://upper-all:5",
    all_proxy: "http://lower-all:6",
  };
  const order = (server: string, env: Record<string, string>): string[] => {
    const proxy = proxyWith(env, { server });
    if (proxy === undefined) return [];
    const [name] = Object.entries(env).find(([, url]) => url === formatProxy(proxy))!;
    const { [name]: _used, ...rest } = env;
    return [name, ...order(server, rest)];
  };
  assert.deepEqual(order(WSS, all), ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
  assert.deepEqual(
    order("ws://relay.example.com/connect", all),
    ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
  );
  assert.deepEqual(proxyWith({ ...all, HTTPS_PROXY: "" })?.hostname, "lower-https");
  assert.deepEqual(proxyWith({ ...all, PROXY: "http://own:7" })?.hostname, "own");
});

Deno.test("--proxy counts whatever NO_PROXY says; none is no proxy at all", () => {
  const env = { HTTPS_PROXY: "http://proxy:1", NO_PROXY: "*" };
  assert.equal(proxyWith(env), undefined);
  assert.deepEqual(proxyWith(env, { args: ["--proxy", "http://own:2"] }), plain("own", 2));
  assert.equal(proxyWith({ HTTPS_PROXY: "http://proxy:1" }, { args: ["--proxy=none"] }), undefined);
  assert.equal(proxyWith({ HTTPS_PROXY: "http://proxy:1", PROXY: "none" }), undefined);
  assert.equal(proxyWith({ HTTPS_PROXY: "http://proxy:1", no_proxy: "*" }), undefined);
});

Deno.test("a relay on this machine is never asked of the environment's proxy", () => {
  const env = { HTTPS_PROXY: "http://proxy:1", HTTP_PROXY: "socks5://broken" };
  for (const host of ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"]) {
    assert.equal(proxyWith(env, { server: `wss://${host}:8443/connect` }), undefined, host);
    assert.equal(proxyWith(env, { server: `ws://${host}:8443/connect` }), undefined, host);
    const args = ["--proxy", "http://own:2"];
    const asked = proxyWith(env, { server: `wss://${host}/connect`, args });
    assert.deepEqual(asked, plain("own", 2), host);
  }
});

Deno.test("NO_PROXY: names, what is below them, addresses, networks, ports", async (t) => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["relay.example.com", "wss://relay.example.com/", true],
    ["relay.example.com", "wss://RELAY.example.com./", true],
    ["RELAY.Example.com.", "wss://relay.example.com/", true],
    ["example.com", "wss://relay.example.com/", true],
    ["example.com", "wss://example.com/", true],
    ["example.com", "wss://notexample.com/", false],
    ["example.com", "wss://example.com.evil/", false],
    [".example.com", "wss://relay.example.com/", true],
    [".example.com", "wss://example.com/", false],
    ["*.example.com", "wss://a.b.example.com/", true],
    ["*.example.com", "wss://example.com/", false],
    ["*", "wss://anything/", true],
    ["", "wss://relay/", false],
    [" , ,", "wss://relay/", false],
    ["other,relay", "wss://relay/", true],
    ["other, relay", "wss://relay/", true],
    ["other relay", "wss://relay/", true],
    ["relay:443", "wss://relay/", true],
    ["relay:443", "ws://relay/", false],
    ["relay:80", "ws://relay/", true],
    ["relay:8443", "wss://relay:8443/", true],
    ["relay:8443", "wss://relay/", false],
    ["example.com:8443", "wss://relay.example.com:8443/", true],
    ["10.0.0.7", "wss://10.0.0.7/", true],
    ["10.0.0.7", "wss://110.0.0.7/", false],
    ["0.0.7", "wss://10.0.0.7/", false],
    ["10.0.0.7:443", "wss://10.0.0.7/", true],
    ["10.0.0.7:444", "wss://10.0.0.7/", false],
    ["10.0.0.0/8", "wss://10.255.1.2/", true],
    ["10.0.0.0/8", "wss://11.0.0.1/", false],
    ["10.0.0.0/9", "wss://10.127.0.1/", true],
    ["10.0.0.0/9", "wss://10.128.0.1/", false],
    ["10.0.0.8/32", "wss://10.0.0.8/", true],
    ["0.0.0.0/0", "wss://192.0.2.1/", true],
    ["0.0.0.0/0", "wss://[2001:db8::1]/", false],
    ["10.0.0.0/33", "wss://10.0.0.0/", false],
    ["10.0.0.0/", "wss://10.0.0.0/", false],
    ["10.0.0.0/8", "wss://relay/", false],
    ["2001:db8::1", "wss://[2001:db8::1]/", true],
    ["2001:db8:0:0:0:0:0:1", "wss://[2001:db8::1]/", true],
    ["[2001:db8::1]", "wss://[2001:db8::1]/", true],
    ["[2001:db8::1]:443", "wss://[2001:db8::1]/", true],
    ["[2001:db8::1]:8443", "wss://[2001:db8::1]/", false],
    ["2001:db8::2", "wss://[2001:db8::1]/", false],
    ["2001:db8::/32", "wss://[2001:db8:ffff::1]/", true],
    ["2001:db8::/33", "wss://[2001:db8:ffff::1]/", false],
    ["fd00::/8", "wss://[fdab::1]/", true],
    ["::ffff:10.0.0.1", "wss://[::ffff:a00:1]/", true],
    ["[nonsense", "wss://relay/", false],
    ["relay:port", "wss://relay/", false],
  ];
  for (const [noProxy, url, isDirect] of cases) {
    await t.step(`${noProxy} and ${url}: ${isDirect ? "direct" : "through the proxy"}`, () => {
      assert.equal(isExempt(new URL(url), noProxy), isDirect);
      const env = { HTTPS_PROXY: "http://p:1", HTTP_PROXY: "http://p:1", NO_PROXY: noProxy };
      assert.equal(proxyWith(env, { server: url }) === undefined, isDirect);
    });
  }
});

Deno.test("--proxy-ca-cert is read for an https:// proxy", () => {
  using scratch = new ScratchDirectory();
  const caPath = scratch.write("ca.crt", CERTIFICATE_PEM);
  const args = ["--proxy", "https://proxy", "--proxy-ca-cert", caPath];
  assert.deepEqual(agentWith({}, { args }).proxyCa, { path: caPath, pem: CERTIFICATE_PEM });
  const message = refusalOf(() =>
    proxyWith({ HTTPS_PROXY: "https://proxy" }, { args: ["--proxy-ca-cert", "/no/such.crt"] })
  );
  assert.match(message, /^Option --proxy-ca-cert names "\/no\/such\.crt", which cannot be read/);
});

Deno.test("--proxy-file holds what --proxy takes, and comes before the environment", async (t) => {
  using scratch = new ScratchDirectory();
  const env = { HTTPS_PROXY: "http://other:1", NO_PROXY: "*" };
  const file = (text: string) => ({ PROXY_FILE: scratch.write("proxy", text), ...env });
  const credentials = { authorization: basic("user:hunter2") };
  const cases: readonly (readonly [string, Proxy | undefined])[] = [
    ["http://user:hunter2@proxy:3128", { ...plain("proxy", 3128), ...credentials }],
    ["proxy:3128\r\n", plain("proxy", 3128)],
    ["none\n", undefined],
  ];
  for (const [text, proxy] of cases) {
    await t.step(JSON.stringify(text), () => assert.deepEqual(proxyWith(file(text)), proxy));
  }
  const options = agentWith(file("http://proxy:1\n"));
  assert.equal(options.proxyFile?.text, "http://proxy:1\n");
  const bad = ["", "\n", "http://hunter2:1\nhttp://b:1", "ftp://user:hunter2@proxy", " none"];
  for (const text of bad) {
    await t.step(`not ${JSON.stringify(text)}`, () => {
      const message = refusalOf(() => agentWith(file(text)));
      assert.match(message, /^Environment variable PROXY_FILE: what was read must be the URL of /);
      assert.doesNotMatch(message, /hunter2/);
    });
  }
  const caPath = scratch.write("ca.crt", CERTIFICATE_PEM);
  const { proxyCa } = agentWith({ ...file("none"), PROXY_CA_CERT: caPath });
  assert.deepEqual(proxyCa, { path: caPath, pem: CERTIFICATE_PEM }, "an https:// one may follow");
  const both = { ...file("none"), PROXY: "http://proxy:1" };
  assert.equal(
    refusalOf(() => agentWith(both)),
    "Environment variable PROXY_FILE can't go with --proxy; give one of them",
  );
  assert.match(
    refusalOf(() => agentWith({ PROXY_FILE: "/no/such" })),
    /^Environment variable PROXY_FILE names "\/no\/such", which .*there is no such file/,
  );
});

Deno.test("formatProxy shows no credentials", () => {
  const shown = formatProxy(proxyWith({ PROXY: "https://user:hunter2@[fd00::1]" })!);
  assert.equal(shown, "https://[fd00::1]:443");
});
