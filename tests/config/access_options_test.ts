import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  parseAccessHttpOptions,
  parseAccessOptions,
  parseAccessServicesOptions,
  parseAccessTcpOptions,
} from "../../lib/config/access_options.ts";
import { ConfigError } from "../../lib/config/config_error.ts";

const listen = ["--listen", "127.0.0.1:5432"];
const withToken = { CULVERT_TOKEN: "user-token-0123456789" };

function tcpService(argv: readonly string[], env: Record<string, string> = {}) {
  const parsed = parseAccessTcpOptions(argv, env);
  ok(parsed.kind === "run");
  return { ...parsed.options.ports[0]!.service, warnings: parsed.options.warnings };
}

function fault(run: () => unknown): string {
  let message = "";
  throws(run, (error) => {
    ok(error instanceof ConfigError, String(error));
    message = error.message;
    return true;
  });
  equal(message.split("\n").length, 1, message);
  return message;
}

Deno.test("a service is a hostname or a URL", () => {
  const cases = [
    ["pg.example.com", "https://pg.example.com", "/.culvert/tcp", "pg.example.com", 443],
    ["pg.example.com:8443", "https://pg.example.com:8443", "/.culvert/tcp", "pg.example.com", 8443],
    ["https://PG.example.com/", "https://pg.example.com", "/.culvert/tcp", "pg.example.com", 443],
    ["http://localhost:80", "http://localhost", "/.culvert/tcp", "localhost", 80],
    ["http://pg.localhost:8080", "http://pg.localhost:8080", "/.culvert/tcp", "localhost", 8080],
    ["http://[::1]:8080/tunnel-tcp/pg", "http://[::1]:8080", "/tunnel-tcp/pg", "::1", 8080],
  ] as const;
  for (const [text, origin, tcpPath, hostname, port] of cases) {
    const service = tcpService([text, ...listen]);
    deepEqual(
      [service.origin, service.tcpPath, service.address],
      [origin, tcpPath, { hostname, port }],
      text,
    );
  }
});

Deno.test("what is no service is refused in one line", () => {
  const wrong = [
    ...["", "pg example", "ftp://pg.example.com", "https://user:password@pg.example.com"],
    ...["https://pg.example.com/path", "https://pg.example.com?x=1", "https://pg.example.com/#x"],
    ...["https://pg.example.com/tunnel-tcp/", "https://pg.example.com/tunnel-tcp/a/b", "a:b:c"],
  ];
  for (const text of wrong) {
    const message = fault(() => parseAccessTcpOptions([text, ...listen], {}));
    ok(/^Argument HOSTNAME (?:must be a service's hostname|is required)/.test(message), message);
    ok(!message.includes("password"), message);
  }
});

Deno.test("a token over http:// off loopback is refused, wherever it comes from", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "user-token-0123456789\n");
    for (const url of ["http://pg.example.com", "http://10.0.0.1:8080/tunnel-tcp/pg"]) {
      const fromFile = [url, ...listen, "--token-file", file];
      for (
        const run of [
          () => parseAccessTcpOptions([url, ...listen], withToken),
          () => parseAccessTcpOptions(fromFile, {}),
          () => parseAccessTcpOptions([url, "--stdio"], withToken),
        ]
      ) {
        ok(/ would show the token to everybody on the way; use https:\/\//.test(fault(run)));
      }
    }
    const http = ["http://dash.example.com", ...listen];
    ok(/would show the token/.test(fault(() => parseAccessHttpOptions(http, withToken))));
    ok(
      /would show the token/.test(fault(() => parseAccessServicesOptions(["http://x"], withToken))),
    );
    const away = ["http://pg.localhost", ...listen, "--connect", "192.0.2.1:80"];
    ok(/would show the token/.test(fault(() => parseAccessTcpOptions(away, withToken))));
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("http:// is for this machine: by its name, its address, or --connect", () => {
  for (
    const url of ["http://localhost", "http://127.0.0.1:81", "http://[::1]", "http://a.localhost"]
  ) {
    deepEqual(tcpService([url, ...listen], withToken).warnings, []);
  }
  const here = ["http://pg.example.com", ...listen, "--connect", "127.0.0.1:8080"];
  const service = tcpService(here, withToken);
  deepEqual(service.address, { hostname: "127.0.0.1", port: 8080 });
  equal(service.origin, "http://pg.example.com");
  const [warning] = tcpService(["http://pg.example.com", ...listen]).warnings;
  equal(warning, "http://pg.example.com: what is sent can be read on the way");
});

Deno.test("a token file is read again for each connection, and a wrong one is found at start", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "first-token-0123456789\n");
    const { readToken } = tcpService(
      ["pg.example.com", ...listen, "--token-file", file],
      withToken,
    );
    equal(readToken(), "first-token-0123456789");
    await Deno.writeTextFile(file, "second-token-0123456789");
    equal(readToken(), "second-token-0123456789");
    await Deno.writeTextFile(file, "");
    const run = () =>
      parseAccessTcpOptions(["pg.example.com", ...listen, "--token-file", file], {});
    equal(fault(run), "Option --token-file: what was read holds no token");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("options that don't go together are refused", () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["pg.example.com"], /^Give either --listen ADDRESS or --stdio$/],
    [["pg.example.com", ...listen, "--stdio"], /^Give either --listen/],
    [listen, /^Argument HOSTNAME is required/],
    [["--file", "x.yaml", ...listen], /^Option --listen can't go with --file/],
    [["pg.example.com", "--file", "x.yaml"], /HOSTNAME can't go with --file/],
    [["--file", "x.yaml", "--stdio"], /^Option --stdio can't go with --file/],
    [["pg.example.com", ...listen, "--client-cert", "x"], /needs --client-key as well/],
  ];
  for (const [argv, says] of cases) {
    ok(says.test(fault(() => parseAccessTcpOptions(argv, {}))), String(says));
  }
  const open = ["dash.example.com", "--listen", ":8080"];
  ok(/must be a loopback address/.test(fault(() => parseAccessHttpOptions(open, {}))));
  const internal = ["http://127.0.0.1/tunnel-tcp/pg", ...listen];
  ok(/must be a service's hostname/.test(fault(() => parseAccessHttpOptions(internal, {}))));
  ok(/^Give a command: tcp, http, services/.test(fault(() => parseAccessOptions([], {}))));
});

Deno.test("a wrong file of services is refused by file, entry and key", async (t) => {
  const file = await Deno.makeTempFile();
  const entry = "{service: pg.example.com, listen: '127.0.0.1:5432'}";
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /must be an object with the key "services"/],
    ["services: [", /it is not YAML or JSON at line 1/],
    ["services: []", /must name a service/],
    ["services: [{listen: ':1'}]", /entry 1: service must be a service's hostname/],
    ["services: [{service: pg, listen: nowhere}]", /entry 1: listen must be an address/],
    [
      `services: [${entry}, {service: b, listen: ':2', conect: x}]`,
      /entry 2: .*did you mean "connect"/,
    ],
    ["services: [{service: pg, listen: ':1', connect: pg}]", /entry 1: connect must be HOST:PORT/],
    [`services: [${entry}, ${entry}]`, /entry 2: listen is that of entry 1/],
    ["services: [{service: pg, listen: ':1', tokenFile: /nowhere}]", /entry 1: tokenFile/],
    ["services: [{service: pg, service: b, listen: ':1'}]", /it has a key twice at line 1/],
  ];
  try {
    for (const [text, says] of cases) {
      await t.step(text || "empty", async () => {
        await Deno.writeTextFile(file, text);
        const message = fault(() => parseAccessTcpOptions(["--file", file], {}));
        ok(message.includes(file), message);
        ok(says.test(message), message);
      });
    }
  } finally {
    await Deno.remove(file);
  }
});
