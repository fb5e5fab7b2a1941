/** Files that every handshake would fail with: refused at start, and what was in use stays. */
import { deepEqual, equal, match } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:tls";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { type Program, runProgram, startAgent, startRelay } from "../support/programs.ts";
import { splitAddress } from "../support/raw_connection.ts";
import { CLUSTER, secrets } from "../isolation/tunnel.ts";
import { SecretMount } from "./secret_mount.ts";

const read = (path: string) => Deno.readTextFile(path);
const refused = "Refused a changed configuration; the previous one stays in use";
const damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const utf16 = (text: string) => Uint8Array.from(`\xff\xfe${[...text].join("\0")}\0`, codeOf);
const codeOf = (character: string) => character.charCodeAt(0);

/** Waits for one more refused reload, and returns its reason. */
async function refusal(program: Program, change: () => Promise<void>): Promise<string> {
  return String((await program.logAfter(change, ({ message }) => message === refused)).reason);
}

/** Whose certificate a server shows in a handshake that succeeds. */
async function shownBy(address: string, caPath: string, pair?: KeyPairFiles): Promise<string> {
  const socket = connect({
    ...splitAddress(address),
    ca: await read(caPath),
    ...pair && { cert: await read(pair.certPath), key: await read(pair.keyPath) },
  });
  try {
    await within(once(socket, "secureConnect"), "the TLS handshake");
    return String(socket.getPeerCertificate().subject.CN);
  } finally {
    socket.destroy();
  }
}

Deno.test("a changed certificate, key or CA that no handshake succeeds with leaves the old one in use", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const relayPair = await own.issue("relay", "IP:127.0.0.1");
    const agentPair = await own.issue("agent", "DNS:agent");
    const names = "subjectAltName=IP:127.0.0.1";
    const textsOf = async ({ certPath, keyPath }: KeyPairFiles) => ({
      "tls.crt": await read(certPath),
      "tls.key": await read(keyPath),
    });
    const ca = await read(own.caPath);
    const good = { ...await textsOf(relayPair), "ca.crt": ca };
    const mount = await SecretMount.create(`${folder}/mount`, good);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
      args: [
        ...["--tls-cert", mount.path("tls.crt"), "--tls-key", mount.path("tls.key")],
        ...["--tls-client-ca", mount.path("ca.crt")],
      ],
    });
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    const critical = [names, "1.2.3.4.5.6=critical,DER:0500"];
    const cases = [
      [
        "secp256k1",
        await textsOf(await own.issueWith("k1", { key: curve, extensions: [names] })),
        /^Option --tls-cert .*secp256k1/,
      ],
      [
        "RSA of 1024 bits",
        await textsOf(
          await own.issueWith("r1", { key: ["-newkey", "rsa:1024"], extensions: [names] }),
        ),
        /^Option --tls-cert .*RSA of 1024 bits/,
      ],
      [
        "a critical extension",
        await textsOf(await own.issueWith("critical", { extensions: critical })),
        /^Option --tls-cert .*1\.2\.3\.4\.5\.6/,
      ],
      ["version 1", await textsOf(await own.issueVersion1("v1")), /^Option --tls-cert .*version 1/],
      ["a damaged CA of two", { "ca.crt": ca + damaged }, /^Option --tls-client-ca .*second cert/],
      ["an empty CA", { "ca.crt": "" }, /^Option --tls-client-ca .* is empty$/],
      ["an empty certificate", { "tls.crt": "" }, /^Option --tls-cert .* is empty$/],
    ] as const;
    for (const [what, files, says] of cases) {
      await t.step(what, async () => {
        match(await refusal(relay.program, () => mount.update({ ...good, ...files })), says);
        equal(await shownBy(relay.internalAddress, own.caPath, agentPair), "relay");
      });
    }
    await t.step("a byte order mark is no fault", async () => {
      const second = await textsOf(await own.issue("second", "IP:127.0.0.1"));
      await mount.update({
        "tls.crt": `\uFEFF${second["tls.crt"]}`,
        "tls.key": `\uFEFF${second["tls.key"]}`,
        "ca.crt": `\uFEFF${ca}`,
      });
      await relay.waitForLog(({ message }) => message === "Configuration reloaded");
      equal(await shownBy(relay.internalAddress, own.caPath, agentPair), "second");
    });
  });
});

Deno.test("an agent goes on with its CA when a damaged one takes its place", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const pair = await own.issue("relay", "IP:127.0.0.1");
    const caPath = `${folder}/server-ca.crt`;
    const ca = await read(own.caPath);
    await Deno.writeTextFile(caPath, `\uFEFF${ca}`);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
      args: ["--tls-cert", pair.certPath, "--tls-key", pair.keyPath],
    });
    const agentOf = (waitsForSession: boolean) =>
      startAgent({
        ...{ relayUrl: `wss://${relay.publicAddress}/connect`, token: secrets.token },
        ...{ target: "127.0.0.1:1", waitsForSession },
        args: ["--server-ca-cert", caPath, "--max-retry", "200ms"],
      });
    await using agent = await agentOf(true);
    const change = () => Deno.writeTextFile(caPath, ca + damaged);
    match(
      await refusal(agent.program, change),
      /^Option --server-ca-cert names .*, whose second certificate of 2 is damaged$/,
    );
    equal(agent.program.exitCode, undefined);
  });
});

Deno.test("files that can't be used are refused at start in one line", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const { certPath, keyPath } = await own.issue("relay", "IP:127.0.0.1");
    const ca = await read(own.caPath);
    let files = 0;
    const write = async (content: string | Uint8Array) => {
      const path = `${folder}/${files++}.pem`;
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(path, bytes);
      return path;
    };
    const clusters = JSON.stringify([{ id: CLUSTER, token: secrets.token, targetAddr: "t:1" }]);
    const relay = (...more: string[]) => [
      ...["--clusters", clusters, "--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"],
      ...["--tls-cert", certPath, "--tls-key", keyPath, ...more],
    ];
    const agent = (...more: string[]) => [
      ...["--server", "wss://relay.example/connect", "--token", secrets.token],
      ...["--health-addr=", "--sa-token-path=", ...more],
      // Else the default's file would be missing here.
      ...(more[0] === "--ca-cert" ? [] : ["--ca-cert="]),
    ];
    const damagedPath = await write(ca + damaged);
    const trusted = await write(ca.replaceAll("CERTIFICATE", "TRUSTED CERTIFICATE"));
    const utf16Path = await write(utf16(ca));
    const emptyPath = await write("");
    const directory = ["--directory", "redis://127.0.0.1:1", "--advertise", "https://127.0.0.1:0"];
    const token = ["--relay-token", "a-token-of-all-relays"];
    const cases = [
      [
        "relay.ts",
        relay("--tls-client-ca", damagedPath),
        "--tls-client-ca",
        /second cert.*damaged/,
      ],
      ["relay.ts", relay("--caller-ca", damagedPath), "--caller-ca", /second cert.*damaged/],
      [
        "relay.ts",
        relay(...directory, ...token, "--relay-ca", damagedPath),
        "--relay-ca",
        /second cert.*damaged/,
      ],
      [
        "agent.ts",
        agent("--server-ca-cert", damagedPath),
        "--server-ca-cert",
        /second cert.*damag/,
      ],
      ["agent.ts", agent("--ca-cert", damagedPath), "--ca-cert", /second certificate.*damaged/],
      [
        "agent.ts",
        agent("--proxy", "https://127.0.0.1:1", "--proxy-ca-cert", damagedPath),
        "--proxy-ca-cert",
        /second certificate of 2 is damaged/,
      ],
      ["agent.ts", agent("--server-ca-cert", trusted), "--server-ca-cert", /openssl x509 -in/],
      ["agent.ts", agent("--ca-cert", utf16Path), "--ca-cert", /UTF-16.*save it as UTF-8/],
      ["relay.ts", relay("--tls-client-ca", emptyPath), "--tls-client-ca", /which is empty/],
    ] as const;
    for (const [script, args, option, says] of cases) {
      await t.step(`${option}: ${says.source}`, async () => {
        const { code, stdout, stderr } = await runProgram(script, args);
        deepEqual({ code, stdout }, { code: 2, stdout: "" });
        match(stderr, says);
        match(stderr, new RegExp(`^(relay|agent): Option ${option} names "[^"]+", [^\\n]+\\n$`));
      });
    }
  });
});
