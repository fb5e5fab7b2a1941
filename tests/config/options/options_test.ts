import assert from "node:assert/strict";
import fc from "fast-check";
import {
  boolean,
  choice,
  duration,
  hostName,
  integer,
  listenAddress,
  listOf,
  number,
  parsedBy,
  path,
  targetAddress,
} from "../../../lib/config/options/kinds.ts";
import type { OptionTable, Program } from "../../../lib/config/options/option_table.ts";
import { type Environment, parseOptions } from "../../../lib/config/options/options.ts";
import { assertRefused, refusalOf, runOptions } from "../support.ts";

const text = { placeholder: "TEXT", schema: parsedBy((text) => text, "") };

const heading = { group: "Options", description: "Does something" };

const table = {
  addr: { ...heading, name: "addr", env: "ADDR", kind: listenAddress, default: ":80" },
  target: { ...heading, name: "target", env: "TARGET", kind: targetAddress },
  health: {
    ...heading,
    name: "health-addr",
    env: "HEALTH",
    kind: listenAddress,
    default: ":81",
    whenEmpty: "none",
  },
  name: { ...heading, name: "name", env: "NAME", kind: text, isRequired: true },
  secret: {
    ...heading,
    name: "secret",
    env: "SECRET",
    kind: { placeholder: "TEXT", schema: parsedBy((text) => text || undefined, "must be there") },
    isSecret: true,
  },
  verbose: { ...heading, name: "verbose", env: "VERBOSE", kind: boolean, default: "false" },
  level: { ...heading, name: "level", env: "LEVEL", kind: choice("LEVEL", ["low", "high"]) },
  waitMs: { ...heading, name: "wait", env: "WAIT", kind: duration({ min: "0" }), default: "1m30s" },
  stepMs: { ...heading, name: "step", env: "STEP", kind: duration({ min: "1ms" }) },
  count: { ...heading, name: "count", env: "COUNT", kind: integer({ min: 1, max: 9 }) },
  bytes: { ...heading, name: "bytes", env: "BYTES", kind: integer({ min: 0 }) },
  rate: { ...heading, name: "rate", env: "RATE", kind: number({ min: 0 }), default: "0" },
  file: { ...heading, name: "file", env: "FILE", kind: path },
  hosts: { ...heading, name: "host", env: "HOSTS", kind: listOf(hostName), isRepeatable: true },
} as const satisfies OptionTable;

const DEFAULTS = {
  addr: { hostname: "", port: 80 },
  target: undefined,
  health: { hostname: "", port: 81 },
  name: "n",
  secret: undefined,
  verbose: false,
  level: undefined,
  waitMs: 90_000,
  stepMs: undefined,
  count: undefined,
  bytes: undefined,
  rate: 0,
  file: undefined,
  hosts: undefined,
};

const program: Program<typeof table> = {
  name: "prog",
  version: "1.2.3",
  usage: "--name TEXT",
  summary: "Does nothing.",
  options: table,
  examples: [],
  exitCodes: [],
};

function parse(argv: readonly string[], env: Environment = {}) {
  return parseOptions(program, argv, env);
}

/** The values of a run with the required option set. */
function values(argv: readonly string[], env: Environment = {}) {
  return runOptions(parse(argv, { NAME: "n", ...env })).values;
}

Deno.test("parseOptions gives each default, read like any other value", () => {
  assert.deepEqual(values([]), DEFAULTS);
});

Deno.test("parseOptions takes one and two dashes, with the value beside or behind =", () => {
  const forms = [["-name", "v"], ["--name", "v"], ["-name=v"], ["--name=v"]];
  for (const argv of forms) assert.equal(values(argv).name, "v", argv.join(" "));
});

Deno.test("parseOptions takes any value after = and any but an option as the next argument", () => {
  assert.equal(values(["-name=a=b"]).name, "a=b");
  assert.equal(values(["-name==\n"]).name, "=\n");
  assert.equal(values(["-name", "-v"]).name, "-v");
  assert.equal(values(["-name", "--"]).name, "--");
  assert.equal(values(["-name=--count"]).name, "--count");
  assert.equal(values(["-name", "-"]).name, "-");
});

Deno.test("parseOptions takes booleans as Go does", () => {
  const cases: [string[], boolean][] = [
    [["-verbose"], true],
    [["--verbose"], true],
    [["-verbose=true"], true],
    [["--verbose=T"], true],
    [["-verbose=1"], true],
    [["-verbose=false"], false],
    [["-verbose=0"], false],
    [["-verbose=FALSE"], false],
    [["-verbose", "-count", "3"], true],
  ];
  for (const [argv, expected] of cases) {
    assert.equal(values(argv).verbose, expected, argv.join(" "));
  }
  assert.equal(values([], { VERBOSE: "true" }).verbose, true);
  assert.equal(values(["-verbose=false"], { VERBOSE: "true" }).verbose, false);
});

Deno.test("parseOptions prefers the command line, then the environment, then the default", () => {
  const source = fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined });
  fc.assert(fc.property(source, source, (onLine, inEnv) => {
    const argv = onLine === undefined ? [] : ["-addr", `:${onLine}`];
    const env = inEnv === undefined ? {} : { ADDR: `:${inEnv}` };
    const { values: read, origins } = runOptions(parse(argv, { NAME: "n", ...env }));
    assert.equal(read.addr.port, onLine ?? inEnv ?? 80);
    const origin = onLine !== undefined
      ? "Option --addr"
      : inEnv !== undefined
      ? "Environment variable ADDR"
      : "Default of option --addr";
    assert.equal(origins.addr, origin);
  }));
});

Deno.test("parseOptions refuses an option with one value that is given twice", () => {
  const cases = [["-count", "1", "--count=2"], ["--verbose", "-verbose=false"], [
    "-name=a",
    "-name=a",
  ]];
  for (const argv of cases) {
    const name = argv[0]!.replace(/^-+|=.*/g, "");
    assertRefused(() => parse(argv), `Option --${name} is given twice; keep one`);
  }
});

Deno.test("parseOptions names an unknown option behind JSON, and behind a secret", () => {
  const message = "Unknown option --admin-addr. Run prog --help";
  assertRefused(() => parse(["-secret", "[]", "--admin-addr", "x"]), message);
  assertRefused(() => parse(["-secret", '{"a": 1}', "--admin-addr=x"]), message);
  assertRefused(() => parse(["-secret=s", "--admin-addr", "x"]), message);
  assertRefused(
    () => parse(["-secret", "[]", "-admin-addr", "x"]),
    "Unknown option -admin-addr. Run prog --help",
  );
});

Deno.test("parseOptions joins the lists of an option that may be given several times", () => {
  assert.deepEqual(values(["-host", "a", "--host=b, c"]).hosts, ["a", "b", "c"]);
  assert.deepEqual(values(["--host=b"], { HOSTS: "a" }).hosts, ["b"], "the command line wins");
  assert.deepEqual(values([], { HOSTS: "a,b" }).hosts, ["a", "b"]);
  assertRefused(
    () => values(["--host", "a", "--host", "b:1"]),
    "Option --host has entry 2, which must be a host name or an IP address, without a port, " +
      'but is "a,b:1"',
  );
});

Deno.test("parseOptions does not look at an environment variable that the command line beats", () => {
  assert.equal(values(["-count", "1"], { COUNT: "wrong" }).count, 1);
});

Deno.test("parseOptions reads each kind of value", () => {
  const argv = ["-target=[::1]:1", "-secret=s", "-level=HIGH", "-wait=0", "-step=2h", "-count=9"];
  assert.deepEqual(values([...argv, "-bytes=0", "-rate=0.5", "-file=a b/c.pem", "-addr=h:0"]), {
    ...DEFAULTS,
    addr: { hostname: "h", port: 0 },
    target: { hostname: "::1", port: 1 },
    secret: "s",
    level: "high",
    waitMs: 0,
    stepMs: 7_200_000,
    count: 9,
    bytes: 0,
    rate: 0.5,
    file: "a b/c.pem",
  });
});

Deno.test("parseOptions takes an empty value as a choice of its own only where it is one", () => {
  assert.equal(values(["-health-addr", ""]).health, undefined);
  assert.equal(values(["-health-addr="]).health, undefined);
  assert.equal(values([], { HEALTH: "" }).health, undefined);
  assert.equal(values([], { ADDR: "" }).addr.port, 80, "empty counts as not set");
  assert.equal(values(["-file="]).file, undefined);
  assert.equal(values(["-file="], { FILE: "x" }).file, undefined, "the command line wins");
});

Deno.test("parseOptions takes an environment variable that ends with a line break", () => {
  assert.equal(values([], { COUNT: "3\n" }).count, 3);
  assert.equal(values([], { COUNT: "3\r\n" }).count, 3);
});

Deno.test("parseOptions gives help and version, whatever else is there after them", () => {
  for (const flag of ["-h", "--h", "-help", "--help"]) {
    assert.equal(parse([flag, "--nonsense"]).kind, "help", flag);
    assert.equal(parse(["-count", "wrong", flag]).kind, "help", `wrong value, then ${flag}`);
  }
  for (const flag of ["-version", "--version"]) {
    assert.deepEqual(parse([flag]), { kind: "version", text: "culvert prog 1.2.3" }, flag);
  }
});

Deno.test("parseOptions refuses an unknown option and names the nearest", () => {
  const cases: [string, string][] = [
    ["--verbsoe", "Unknown option --verbsoe; did you mean --verbose? Run prog --help"],
    ["-cuont=3", "Unknown option -cuont; did you mean --count? Run prog --help"],
    ["--Name", "Unknown option --Name; did you mean --name? Run prog --help"],
    ["--hepl", "Unknown option --hepl; did you mean --help? Run prog --help"],
    ["--frobnicate", "Unknown option --frobnicate. Run prog --help"],
    ["--constructor", "Unknown option --constructor. Run prog --help"],
  ];
  for (const [argument, message] of cases) {
    assertRefused(() => parse([argument]), message);
    assertRefused(() => parse(["-count", "1", argument]), message);
  }
  assertRefused(
    () => parse(["-secret", "s", "--verbsoe"]),
    "Unknown option --verbsoe; did you mean --verbose? Run prog --help",
  );
});

Deno.test("parseOptions refuses a missing value", () => {
  assertRefused(() => parse(["-count"]), "Option --count needs a value: --count NUMBER");
  for (const next of ["-level", "--level=low", "--help", "--version"]) {
    const name = next.replace(/^-+|=.*/g, "");
    assertRefused(
      () => parse(["--count", next]),
      `Option --count needs a value, but --${name} follows; ` +
        "write --count=NUMBER if the value begins with a dash",
    );
  }
});

Deno.test("parseOptions refuses a required option that is missing or empty", () => {
  const message = "Option --name is required: give --name TEXT or the environment variable NAME";
  assertRefused(() => parse([]), message);
  assertRefused(() => parse([], { NAME: "" }), message);
  assertRefused(() => parse(["-name="], { NAME: "n" }), message);
});

Deno.test("parseOptions refuses a wrong value, and says where it is and what would be right", () => {
  const listen = "must be an address to listen on such as :8080, 127.0.0.1:8080 or [::1]:8080";
  const target =
    "must be HOST:PORT such as kubernetes.default.svc:443, 10.0.0.1:6443 or [fd00::1]:6443";
  const unit = "must be a duration with its unit (30s, 1m30s, 500ms) of";
  const cases: [string[], string][] = [
    [["-addr", "8080"], `Option --addr ${listen}, but is "8080"`],
    [["-addr", ""], `Option --addr ${listen}, but is ""`],
    [["-addr", ":65536"], `Option --addr ${listen}, but is ":65536"`],
    [["-target", "host"], `Option --target ${target}, but is "host"`],
    [["-target", ":443"], `Option --target ${target}, but is ":443"`],
    [["-verbose=maybe"], 'Option --verbose must be true or false, but is "maybe"'],
    [["-verbose="], 'Option --verbose must be true or false, but is ""'],
    [["-level", "mid"], 'Option --level must be one of low, high, but is "mid"'],
    [["-wait", "60"], `Option --wait ${unit} at most 596h, or 0, but is "60"`],
    [["-wait", "-5s"], `Option --wait ${unit} at most 596h, or 0, but is "-5s"`],
    [["-wait", "597h"], `Option --wait ${unit} at most 596h, or 0, but is "597h"`],
    [["-step", "0"], `Option --step ${unit} at least 1ms and at most 596h, but is "0"`],
    [["-count", "0"], 'Option --count must be a whole number from 1 to 9, but is "0"'],
    [["-count", "10"], 'Option --count must be a whole number from 1 to 9, but is "10"'],
    [["-count", "1.5"], 'Option --count must be a whole number from 1 to 9, but is "1.5"'],
    [["-count", "0x1"], 'Option --count must be a whole number from 1 to 9, but is "0x1"'],
    [["-bytes", "-1"], 'Option --bytes must be a whole number of at least 0, but is "-1"'],
    [
      ["-bytes", "9007199254740992"],
      'Option --bytes must be a whole number of at least 0, but is "9007199254740992"',
    ],
    [["-rate", "fast"], 'Option --rate must be a number of at least 0, but is "fast"'],
    [["-rate", "NaN"], 'Option --rate must be a number of at least 0, but is "NaN"'],
    [
      ["-rate", "x".repeat(100)],
      `Option --rate must be a number of at least 0, but is "${"x".repeat(80)}…"`,
    ],
  ];
  for (const [argv, message] of cases) assertRefused(() => values(argv), message);
  assertRefused(
    () => values([], { COUNT: "many" }),
    'Environment variable COUNT must be a whole number from 1 to 9, but is "many"',
  );
});

Deno.test("parseOptions refuses the contents of a file in place of its path, and hides them", () => {
  for (const contents of ["-----BEGIN PRIVATE KEY-----", "two\nlines"]) {
    assertRefused(
      () => values([], { FILE: contents }),
      "Environment variable FILE must be the path of a file, not the file's contents",
    );
  }
});

Deno.test("parseOptions hides what looks like a credential in a wrong value", () => {
  const begin = /^Option --target must be HOST:PORT such as \S+, \S+ or \S+/.source;
  const shown = (value: string) => refusalOf(() => values(["-target", value]));
  assert.match(shown("https://user:password@host:443"), new RegExp(`${begin}$`));
  assert.match(shown("https://host?token=abc"), new RegExp(`${begin}, but is "https://host\\?…"$`));
});

Deno.test("parseOptions refuses an argument without an option, and does not show it", () => {
  const rest = "a value needs its option before it, and quotes when it contains spaces. " +
    "Run prog --help";
  const cases: [string[], string][] = [
    [["stray"], `Unexpected argument 1: ${rest}`],
    [["-count", "1", "stray"], `Unexpected argument 3 after --count: ${rest}`],
    [["-secret=first", "second"], `Unexpected argument 2 after --secret: ${rest}`],
    [["-verbose", "stray"], `Unexpected argument 2 after --verbose: ${rest}`],
    [["--", "stray"], `Unexpected argument 1: ${rest}`],
    [["-"], `Unexpected argument 1: ${rest}`],
    [[""], `Unexpected argument 1: ${rest}`],
    [["---count=1"], `Unexpected argument 1: ${rest}`],
    [["-secret=first", "-second"], `Unexpected argument 2 after --secret: ${rest}`],
    [["--=x"], `Unexpected argument 1: ${rest}`],
    [["-1"], `Unexpected argument 1: ${rest}`],
  ];
  for (const [argv, message] of cases) assertRefused(() => values(argv), message);
});

Deno.test("parseOptions gives help and version for these words, too", () => {
  assert.equal(parse(["help"]).kind, "help");
  assert.equal(parse(["help", "-name", "n"]).kind, "help");
  assert.equal(parse(["version"]).kind, "version");
});

Deno.test("parseOptions tells who mistypes these words how that is done", () => {
  const cases: [string[], string][] = [
    [["HELP", "-name", "n"], "--help"],
    [["hlep"], "--help"],
    [["versoin"], "--version"],
  ];
  for (const [argv, meant] of cases) {
    assertRefused(
      () => values(argv),
      `Unexpected argument 1; did you mean prog ${meant}?`,
    );
  }
  assert.match(refusalOf(() => values(["-count", "1", "help"])), /^Unexpected argument 3 after/);
});

Deno.test("parseOptions tells how to give a boolean its value", () => {
  assertRefused(
    () => values(["-verbose", "false"]),
    'Unexpected argument "false" after --verbose; write --verbose=false',
  );
});

Deno.test("parseOptions lets -- end the options when nothing follows", () => {
  assert.equal(values(["-count", "1", "--"]).count, 1);
});

Deno.test("parseOptions never shows the value of a secret option, however it is given", () => {
  const message = "Unknown option that begins with --secret; write --secret TEXT. Run prog --help";
  assertRefused(() => values(["-secretQZQZ"]), message);
  assertRefused(() => values(["--secretQZ=QZ"]), message);
  const secret = fc.string({ unit: fc.constantFrom(..."QZ7-= \n"), minLength: 3, maxLength: 20 });
  const context = fc.constantFrom<(secret: string) => string[]>(
    (secret) => [`-secretx${secret}`],
    (secret) => [`-secret=x`, `y${secret}`],
    (secret) => ["-secret", ...`x ${secret}`.split(" "), "-"],
    (secret) => [`-secert=${secret}`],
    (secret) => [`-secret`, secret, "-count=wrong"],
  );
  fc.assert(fc.property(secret.filter((s) => /QZ|ZQ|77/.test(s)), context, (secret, argvOf) => {
    assert.doesNotMatch(refusalOf(() => values(argvOf(secret))), /QZ|ZQ|77/);
  }));
});

Deno.test("parseOptions gives a result or one line for any arguments and environment", () => {
  const word = fc.oneof(
    fc.constantFrom("-count", "--name", "-verbose", "-h", "--", "-", "=", "-addr=:1", "-version"),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const env = fc.dictionary(fc.constantFrom("NAME", "COUNT", "ADDR", "FILE"), fc.string());
  fc.assert(fc.property(fc.array(word, { maxLength: 6 }), env, (argv, env) => {
    try {
      assert.ok(["help", "version", "run"].includes(parse(argv, env).kind));
    } catch {
      refusalOf(() => parse(argv, env));
    }
  }));
});

Deno.test("parseOptions names the dashes of copied text", () => {
  for (const argument of ["\u2013name", "\u2014name=x", "\u2212count"]) {
    assertRefused(
      () => parse(["--name", "a", argument], {}),
      'Argument 3 begins with a dash that is not "-", as copied text often has; ' +
        "type the option's dashes again",
    );
  }
});

Deno.test("a program of commands alone tells them, in its help and to who asks for another", () => {
  const commands = [{ word: "list", title: "List all" }, { word: "show", title: "Show one" }];
  const parts = { ...program, usage: "COMMAND [options]", options: {}, commands };
  const help = parseOptions(parts, ["help"], {});
  assert.ok(help.kind === "help");
  assert.match(help.text, /\n {2}prog list {2}List all\n {2}prog show {2}Show one\n/);
  assertRefused(
    () => parseOptions(parts, ["remove"], {}),
    "Unexpected argument 1: neither an option nor a command. Commands are list, show. Run prog --help",
  );
  assertRefused(
    () => parseOptions(parts, ["lsit"], {}),
    "Unexpected argument 1; did you mean prog list?",
  );
});
