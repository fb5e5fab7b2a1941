import assert from "node:assert/strict";
import {
  decodeText,
  maxTextFileBytes,
  readText,
  TextFileError,
} from "../../lib/config/text_file.ts";
import { readClusters } from "../../lib/config/entries/clusters.ts";
import { parseAccessTcpOptions } from "../../lib/config/access_options.ts";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { parseKubeconfigOptions } from "../../lib/config/commands/kubeconfig_options.ts";
import {
  assertRefused,
  CERTIFICATE_PEM,
  PRIVATE_KEY_PEM,
  refusalOf,
  runOptions,
  ScratchDirectory,
} from "./support.ts";

const encoder = new TextEncoder();
const TOKEN = "QZQZQZQZQZQZQZQZ";
const CLUSTERS = JSON.stringify([{ id: "prod", token: TOKEN, targetAddr: "127.0.0.1:6443" }]);

/** Text in UTF-16, as PowerShell's `>` writes it or without a mark. */
function utf16(text: string, isBigEndian = false, mark = "\ufeff"): Uint8Array {
  const bytes: number[] = [];
  for (const unit of (mark + text).split("").map((char) => char.charCodeAt(0))) {
    bytes.push(...isBigEndian ? [unit >> 8, unit & 0xff] : [unit & 0xff, unit >> 8]);
  }
  return new Uint8Array(bytes);
}

function faultOf(bytes: Uint8Array): string {
  try {
    decodeText(bytes);
  } catch (error) {
    assert.ok(error instanceof TextFileError);
    return error.message;
  }
  assert.fail("it was read");
}

Deno.test("decodeText leaves out a byte order mark", () => {
  assert.equal(decodeText(encoder.encode("\ufeffabc")), "abc");
  assert.equal(decodeText(encoder.encode("abc\ufeff")), "abc\ufeff", "only the first is one");
  assert.equal(decodeText(new Uint8Array()), "");
});

Deno.test("decodeText recognises UTF-16 and UTF-32, with a mark or without", () => {
  const is16 = "is UTF-16; save it as UTF-8";
  for (const isBigEndian of [false, true]) {
    assert.equal(faultOf(utf16("[]\r\n", isBigEndian)), is16);
    assert.equal(faultOf(utf16(CLUSTERS, isBigEndian, "")), is16);
    assert.equal(faultOf(utf16("", isBigEndian)), is16);
    assert.equal(faultOf(utf16("größer", isBigEndian, "")), is16);
  }
  const utf32 = "is UTF-32; save it as UTF-8";
  assert.equal(faultOf(new Uint8Array([0xff, 0xfe, 0, 0, 0x5b, 0, 0, 0])), utf32);
  assert.equal(faultOf(new Uint8Array([0, 0, 0xfe, 0xff, 0, 0, 0, 0x5b])), utf32);
});

Deno.test("decodeText names the line that is not UTF-8, unless other bytes are to be replaced", () => {
  const latin1 = new Uint8Array([0x61, 0x0a, 0x62, 0xfc, 0x0a]);
  assert.equal(faultOf(latin1), "is not UTF-8, in line 2; save it as UTF-8");
  assert.equal(decodeText(latin1, { invalid: "replace" }), "a\nb\ufffd\n");
  assert.equal(decodeText(encoder.encode("a\ufffdb")), "a\ufffdb", "a character like any other");
});

Deno.test("readText ends at files that never do", () => {
  assert.throws(
    () => readText("/dev/zero"),
    (error) =>
      error instanceof TextFileError &&
      error.message === `must end within ${maxTextFileBytes} bytes`,
  );
});

/** Makes a pipe, and runs a shell command that has its path in `$1`. */
async function withPipe(command: string, run: (path: string) => void): Promise<void> {
  using scratch = new ScratchDirectory();
  const path = `${scratch.path}/pipe.json`;
  assert.ok((await new Deno.Command("mkfifo", { args: [path] }).output()).success);
  const writer = new Deno.Command("sh", { args: ["-c", command, "sh", path] }).spawn();
  try {
    run(path);
  } finally {
    await writer.status;
  }
}

Deno.test("a pipe that an option names and nobody writes to is refused", () =>
  withPipe("true", (path) => {
    const which = (option: string) =>
      `Option --${option} names ${JSON.stringify(path)}, ` +
      "which is a pipe that nobody writes to; give a regular file";
    assertRefused(() => parseRelayOptions(["--clusters", path], {}), which("clusters"));
    const agent = ["--server", "wss://relay/connect", "--token-file", path];
    assertRefused(() => parseAgentOptions(agent, {}), which("token-file"));
  }));

Deno.test("readText waits for the writer of a pipe, and for all that it writes", async () => {
  const slow = 'exec 3>"$1"; sleep 0.2; echo a >&3; sleep 0.2; echo b >&3';
  await withPipe(slow, (path) => assert.equal(readText(path), "a\nb\n"));
  const much = 'head -c 300000 /dev/zero | tr "\\0" x >"$1"';
  await withPipe(much, (path) => assert.equal(readText(path), "x".repeat(300_000)));
});

Deno.test("access reads a pipe with a token once, for all its connections", () =>
  withPipe('printf user-token-0123456789 >"$1"', (path) => {
    const args = ["https://pg.example.com", "--listen", "127.0.0.1:0", "--token-file", path];
    const { ports: [port] } = runOptions(parseAccessTcpOptions(args, {}));
    const read = () => port!.service.readToken();
    assert.deepEqual([read(), read()], Array(2).fill("user-token-0123456789"));
  }));

Deno.test("every file that an option names may have a byte order mark", () => {
  using scratch = new ScratchDirectory();
  const file = (name: string, text: string) => scratch.write(name, `\ufeff${text}`);
  const relay = runOptions(parseRelayOptions([
    ...["--clusters", file("clusters.json", CLUSTERS)],
    ...[
      "--caller-tokens",
      file("callers.json", `[{"name":"a","token":"${TOKEN}","clusters":["*"]}]`),
    ],
    ...["--tls-cert", file("tls.crt", CERTIFICATE_PEM)],
    ...["--tls-key", file("tls.key", PRIVATE_KEY_PEM)],
    ...["--directory", "redis://localhost:6379", "--advertise", "https://relay:8080"],
    ...["--relay-token-file", file("relays", `${TOKEN}\r\n`)],
  ], {}));
  assert.equal(relay.clusters[0]?.id, "prod");
  assert.equal(relay.tls?.certPem, CERTIFICATE_PEM);
  assert.equal(relay.tls?.keyPem, PRIVATE_KEY_PEM);
  assert.deepEqual(relay.directory?.tokens, [TOKEN]);
  const kubeconfig = runOptions(parseKubeconfigOptions([
    ...["dev", "--server", "https://relay:8080", "--ca", file("ca.crt", CERTIFICATE_PEM)],
    ...["--token-file", file("token", `${TOKEN}\n`)],
  ], {}));
  assert.equal(kubeconfig.access.tls?.ca?.pem, CERTIFICATE_PEM);
  assert.equal(kubeconfig.access.token, TOKEN);
});

Deno.test("every file that an option names is refused as what it is when it is UTF-16", () => {
  using scratch = new ScratchDirectory();
  const path = `${scratch.path}/file.txt`;
  Deno.writeFileSync(path, utf16(`${CLUSTERS}\r\n`));
  const clusters = ["--clusters", CLUSTERS, "--callers", "open"];
  const plain = (option: string) => [...clusters, `--${option}`, path];
  const relay = (argv: readonly string[]) => refusalOf(() => parseRelayOptions(argv, {}));
  const is16 = (option: string) =>
    `Option --${option} names ${JSON.stringify(path)}, which is UTF-16; save it as UTF-8`;
  const known = ["--clusters", CLUSTERS];
  assert.equal(relay(["--clusters", path]), is16("clusters"));
  assert.equal(relay([...known, "--caller-tokens", path]), is16("caller-tokens"));
  assert.equal(relay([...plain("tls-cert"), "--tls-key", path]), is16("tls-cert"));
  const redis = ["--directory", "redis://localhost:6379", "--advertise", "http://relay:8080"];
  assert.equal(relay([...plain("relay-token-file"), ...redis]), is16("relay-token-file"));
  const agent = ["--server", "wss://relay/connect", "--token", TOKEN];
  for (const [option, ...others] of [["server-ca-cert", "--plain-target"], ["ca-cert"]] as const) {
    const argv = [...agent, ...others, `--${option}`, path];
    const message = refusalOf(() => parseAgentOptions(argv, {}));
    assert.ok(message.startsWith(is16(option)), message);
  }
  const { warnings } = runOptions(
    parseAgentOptions([...agent, "--plain-target", "--sa-token-path", path], {}),
  );
  assert.deepEqual(warnings, [is16("sa-token-path")]);
});

Deno.test("a fault of JSON has its own line and column, behind a byte order mark and with any line ends", () => {
  for (const mark of ["", "\ufeff"]) {
    for (const end of ["\n", "\r\n", "\r"]) {
      const text = [`${mark}[`, '  {"id": "a"},', "  oops", "]"].join(end);
      assertRefused(
        () => readClusters(text, "Clusters file"),
        "Clusters file: it is not JSON at line 3, column 3; it must be a JSON array of clusters",
      );
    }
    assertRefused(
      () => readClusters(`${mark}[oops`, "Clusters file"),
      "Clusters file: it is not JSON at line 1, column 2; it must be a JSON array of clusters",
    );
  }
});
